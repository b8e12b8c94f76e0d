import { systemClock } from '../keyring/clock.ts';
import type { Kek } from '../keyring/kek.ts';
import type { Keyring } from '../keyring/keyring.ts';
import { adminDenied } from './admin-request.ts';
import type { MemoryFacts, UpstreamFacts } from './administration.ts';
import type { Call } from './call.ts';
import { DekPage } from './dek-page.ts';
import { keyState } from './key-state.ts';
import type { Parts } from './parts.ts';
import { timestamp } from './time.ts';

interface GetStatusRequest {
  max_deks: number;
  page_token: string;
}

/** What the agent holds and how its upstreams are, of the keys that the caller may see; never a key byte. */
export function agentStatus(request: GetStatusRequest, call: Call, parts: Parts): object {
  if (!parts.policy.mayAdmin(call.principal, 'GetStatus')) throw adminDenied('GetStatus', call);
  const page = new DekPage(request.max_deks, request.page_token, parts.keyrings);
  const { administration, keyrings, policy } = parts;
  const visible = policy.visibleKeys(call.principal).flatMap((name) => keyrings.byName(name) ?? []);
  const tellsNames = mayHearNames(call, parts);
  return {
    version: administration.version,
    node_version: process.version,
    profile: administration.profile,
    started_at: timestamp(administration.startedAtMs),
    as_of: timestamp(systemClock.wallMs()),
    memory: memoryStatus(administration.memory()),
    upstreams: shownUpstreams(call, visible, parts).map((upstream) => ({
      upstream: upstream.name,
      type: upstream.type,
      warnings: tellsNames ? upstream.warnings : [],
      ...health(upstream.name, keyrings.keks()),
    })),
    keys: visible.map((keyring) => keyStatus(keyring, page)),
    warnings: [...administration.warnings, ...(tellsNames ? administration.configurationWarnings : [])],
    next_page_token: page.nextToken,
  };
}

function memoryStatus({ kind, size, requested, slots, slotsUsed, sealed, maxSealed, free }: MemoryFacts): object {
  return {
    kind,
    size: String(size),
    requested: String(requested),
    slots: String(slots),
    slots_used: String(slotsUsed),
    sealed: String(sealed),
    max_sealed: String(maxSealed),
    free: String(free),
  };
}

/** Those of the visible keys; who holds a rule for the agent as a whole sees all. */
function shownUpstreams(
  call: Call,
  visible: readonly Keyring[],
  { administration, policy }: Parts,
): readonly UpstreamFacts[] {
  if (policy.administers(call.principal)) return administration.upstreams;
  const names = new Set(
    visible.flatMap(({ options: { recipients, decryptWith } }) => [
      ...recipients.map(({ kek }) => kek.upstreamName),
      ...decryptWith.map(({ upstreamName }) => upstreamName),
    ]),
  );
  return administration.upstreams.filter(({ name }) => names.has(name));
}

/** Warnings of the configuration name keys, those of upstreams KEKs: for who may see every key, or has a rule for the agent as a whole. */
function mayHearNames({ principal }: Call, { policy }: Parts): boolean {
  return policy.administers(principal) || policy.seesEveryKey(principal);
}

/** Of the upstream's KEKs the worst state, since an operator looks for what is wrong. */
function health(name: string, keks: readonly Kek[]): object {
  const mine = keks.filter((kek) => kek.upstreamName === name);
  const called = mine.filter((kek) => kek.health.state !== 'unknown');
  const worst = called.find((kek) => kek.health.state !== 'ok') ?? called[0];
  const instant = (bootMs: number): object => timestamp(systemClock.wallMs() - (systemClock.bootMs() - bootMs));
  return {
    state: worst?.health.state ?? '',
    as_of: worst === undefined ? undefined : instant(worst.health.atMs),
    since: worst === undefined ? undefined : instant(worst.health.sinceMs),
    calls: String(mine.reduce((sum, kek) => sum + kek.calls, 0)),
    failures: String(mine.reduce((sum, kek) => sum + kek.failures, 0)),
  };
}

function keyStatus(keyring: Keyring, page: DekPage): object {
  return {
    key: keyring.options.name,
    state: keyState(keyring),
    cache_mode: keyring.options.cache.mode,
    ...page.take(keyring),
    counters: Object.fromEntries(Object.entries(keyring.counters).map(([name, count]) => [name, String(count)])),
  };
}
