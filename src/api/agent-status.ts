import { systemClock } from '../keyring/clock.ts';
import { rotationOverdue } from '../keyring/decide.ts';
import type { Dek } from '../keyring/dek.ts';
import type { Kek } from '../keyring/kek.ts';
import type { Keyring } from '../keyring/keyring.ts';
import { adminDenied } from './admin-keys.ts';
import type { UpstreamFacts } from './administration.ts';
import type { Call } from './call.ts';
import type { Parts } from './parts.ts';
import { duration, timestamp } from './time.ts';

/** What the agent holds and how its upstreams are, of the keys that the caller may see; never a key byte. */
export function agentStatus(_request: object, call: Call, parts: Parts): object {
  if (!parts.policy.mayAdmin(call.principal, 'GetStatus')) throw adminDenied('GetStatus', call);
  const { administration, keyrings, policy } = parts;
  const visible = policy.visibleKeys(call.principal).flatMap((name) => keyrings.byName(name) ?? []);
  const upstreams = shownUpstreams(call, visible, parts);
  const memory = administration.memory();
  return {
    version: administration.version,
    node_version: process.version,
    profile: administration.profile,
    started_at: timestamp(administration.startedAtMs),
    as_of: timestamp(systemClock.wallMs()),
    memory: {
      kind: memory.kind,
      size: String(memory.size),
      requested: String(memory.requested),
      slots: String(memory.slots),
      slots_used: String(memory.slotsUsed),
    },
    upstreams: upstreams.map((upstream) => ({
      upstream: upstream.name,
      type: upstream.type,
      warnings: upstream.warnings,
      ...health(upstream.name, keyrings.keks()),
    })),
    keys: visible.map((keyring) => keyStatus(keyring, parts)),
    warnings: administration.warnings,
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

/** Of the upstream's KEKs the worst state, since an operator looks for what is wrong. */
function health(name: string, keks: readonly Kek[]): object {
  const mine = keks.filter((kek) => kek.upstreamName === name);
  const called = mine.filter((kek) => kek.health.state !== 'unknown');
  const worst = called.find((kek) => kek.health.state !== 'ok') ?? called[0];
  const ageMs = worst === undefined ? 0 : systemClock.bootMs() - worst.health.atMs;
  return {
    state: worst?.health.state ?? '',
    as_of: worst === undefined ? undefined : timestamp(systemClock.wallMs() - ageMs),
    calls: String(mine.reduce((sum, kek) => sum + kek.calls, 0)),
    failures: String(mine.reduce((sum, kek) => sum + kek.failures, 0)),
  };
}

function keyStatus(keyring: Keyring, parts: Parts): object {
  return {
    key: keyring.options.name,
    cache_mode: keyring.options.cache.mode,
    deks: [...keyring.all()].map((dek) => dekStatus(dek, parts)),
    counters: Object.fromEntries(Object.entries(keyring.counters).map(([name, count]) => [name, String(count)])),
  };
}

function dekStatus(dek: Dek, parts: Parts): object {
  const nowMs = systemClock.bootMs();
  return {
    dek_id: dek.id.toString('hex'),
    class: dek.place,
    partition: Object.fromEntries(dek.partition),
    age: duration(nowMs - dek.loadedAtMs),
    verification_age: duration(nowMs - dek.verifiedAtMs),
    verified_by: dek.verifiedBy,
    messages: String(dek.messages),
    bytes: String(dek.bytes),
    rotation_overdue: dek.place === 'encrypting' && rotationOverdue(dek, nowMs),
    refusal_pending: parts.keyrings.refusalPending(dek),
  };
}
