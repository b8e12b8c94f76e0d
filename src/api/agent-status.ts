import { systemClock } from '../keyring/clock.ts';
import type { Kek } from '../keyring/kek.ts';
import type { Keyring } from '../keyring/keyring.ts';
import { adminDenied } from './admin-request.ts';
import type { DrillFacts, MemoryFacts, RevocationsFacts, UpstreamFacts } from './administration.ts';
import type { Call } from './call.ts';
import { DekPage } from './dek-page.ts';
import { kekHealth, kekStatus, lastFailure, namedKeks } from './kek-status.ts';
import { keyCounts } from './key-counts.ts';
import { keyState } from './key-state.ts';
import type { Parts } from './parts.ts';
import { timestamp } from './time.ts';

/** Of the 4 MiB that clients take: DEKs get at most half, and the head and the upstreams need some. */
const MAX_DEKS_BYTES = 2 * 1024 * 1024;
const MAX_BODY_BYTES = 4 * 1024 * 1024 - 64 * 1024;
/** More than the longest DEK takes: with thousands of keys every page still has some. */
const MIN_DEKS_BYTES = 32 * 1024;
/** Longest KeyStatus, and KekStatus in it, without names. */
const KEY_BYTES = 1_280;
const KEK_BYTES = 128;

interface GetStatusRequest {
  max_deks: number;
  page_token: string;
}

/** What the agent holds and how its upstreams are, of the keys that the caller may see; never a key byte. */
export function agentStatus(request: GetStatusRequest, call: Call, parts: Parts): object {
  if (!parts.policy.mayAdmin(call.principal, 'GetStatus')) throw adminDenied('GetStatus', call);
  const { administration, keyrings, policy } = parts;
  const visible = policy.visibleKeys(call.principal).flatMap((name) => keyrings.byName(name) ?? []);
  const page = new DekPage(request.max_deks, request.page_token, bytesForDeks(visible), keyrings);
  const tellsNames = mayHearNames(call, parts);
  const keks = policy.administers(call.principal)
    ? keyrings.keks()
    : [...new Set(visible.flatMap(({ options }) => namedKeks(options).map(({ kek }) => kek)))];
  return {
    version: administration.version,
    node_version: process.version,
    profile: administration.profile,
    started_at: timestamp(administration.startedAtMs),
    as_of: timestamp(systemClock.wallMs()),
    memory: memoryStatus(administration.memory()),
    upstreams: shownUpstreams(call, visible, parts).map((upstream) => ({
      ...upstreamStatus(upstream, keks),
      warnings: tellsNames ? upstream.warnings : [],
    })),
    keys: visible.map((keyring) => keyStatus(keyring, page)),
    warnings: [...administration.warnings, ...(tellsNames ? administration.configurationWarnings : [])],
    next_page_token: page.nextToken,
    // How many there are, when they change and their text's hash tell of other keys, too.
    revocations: tellsNames && administration.revocations ? revocationsStatus(administration.revocations) : undefined,
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
    free_raw: String(slots - slotsUsed),
  };
}

function revocationsStatus({ file, entries, changedAt, sha256, lookedAt }: RevocationsFacts): object {
  return { file, entries, changed_at: timestamp(changedAt), sha256, looked_at: timestamp(lookedAt) };
}

/** What the keys themselves leave. */
function bytesForDeks(visible: readonly Keyring[]): number {
  let bytes = MAX_BODY_BYTES;
  for (const { options } of visible) {
    bytes -= KEY_BYTES;
    for (const { kek } of namedKeks(options)) bytes -= KEK_BYTES + kek.uri.length + kek.upstreamName.length;
  }
  return Math.min(MAX_DEKS_BYTES, Math.max(MIN_DEKS_BYTES, bytes));
}

/** Those of the visible keys; who holds a rule for the agent as a whole sees all. */
function shownUpstreams(
  call: Call,
  visible: readonly Keyring[],
  { administration, policy }: Parts,
): readonly UpstreamFacts[] {
  if (policy.administers(call.principal)) return administration.upstreams;
  const names = new Set(visible.flatMap(({ options }) => namedKeks(options).map(({ kek }) => kek.upstreamName)));
  return administration.upstreams.filter(({ name }) => names.has(name));
}

/** Warnings of the configuration name keys, those of upstreams KEKs: for who may see every key, or has a rule for the agent as a whole. */
function mayHearNames({ principal }: Call, { policy }: Parts): boolean {
  return policy.administers(principal) || policy.seesEveryKey(principal);
}

/** Of the upstream's KEKs, as far as the caller may see their keys, the first state that is not ok, since an operator looks for what is wrong, and the latest failure. */
function upstreamStatus({ name, type, breaker, drill, childPids }: UpstreamFacts, keks: readonly Kek[]): object {
  const mine = keks.filter((kek) => kek.upstreamName === name);
  const called = mine.filter((kek) => kek.health.state !== 'unknown');
  const shown = called.find((kek) => kek.health.state !== 'ok') ?? called[0];
  const [failedLast] = mine.toSorted((a, b) => (b.health.failedAtMs ?? 0) - (a.health.failedAtMs ?? 0));
  return {
    upstream: name,
    type,
    ...kekHealth(shown),
    ...lastFailure(failedLast),
    calls: String(mine.reduce((sum, kek) => sum + kek.calls, 0)),
    failures: String(mine.reduce((sum, kek) => sum + kek.failures, 0)),
    breaker,
    drill: drill && drillStatus(drill),
    child_pids: childPids,
  };
}

function drillStatus({ failureClass, endsAt }: DrillFacts): object {
  return { failure_class: failureClass, ends_at: timestamp(endsAt) };
}

function keyStatus(keyring: Keyring, page: DekPage): object {
  const { options, counters } = keyring;
  const missing = keyring.encrypting.missingRecipients();
  return {
    key: options.name,
    state: keyState(keyring),
    cache_mode: options.cache.mode,
    keks: namedKeks(options).map((kek) => kekStatus(kek, missing)),
    deks: page.take(keyring),
    ...keyCounts(keyring.counts()),
    counters: Object.fromEntries(Object.entries(counters).map(([name, count]) => [name, String(count)])),
  };
}
