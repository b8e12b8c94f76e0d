import test, { type ExecutionContext } from 'ava';
import { createKey, dekId, freeKey, openArena, type SlotHandle } from '../../src/crypto/native.ts';
import type { KekCondition, RefusalScope } from '../../src/upstream/failure.ts';
import {
  hasLifecycle,
  type KekDescription,
  type KekLifecycle,
  type Upstream,
  type WrappedDek,
} from '../../src/upstream/provider.ts';
import { live, wrapContext } from './upstream-context.ts';
import { type Backend, fails } from './upstream-contract.ts';

const DAY_MS = 86_400_000;
const CONTEXT = wrapContext({ 'dekd:key': 'orders', 'dekd:id': '00', tenant: 'acme' });
const OTHER_TENANT = wrapContext({ 'dekd:key': 'orders', 'dekd:id': '00', tenant: 'umbrella' });
const OPERATOR = 'uid 2001';
const CUSTODIANS = ['uid 3001', 'uid 3002'] as const;

interface Run {
  readonly upstream: Upstream & KekLifecycle;
  readonly kek: string;
  readonly dek: SlotHandle;
  /** By the KEK, in CONTEXT, before anything was changed. */
  readonly wrapped: WrappedDek;
  /** The states that onKekChange told of `kek`. */
  readonly told: string[];
}

/** What every provider with a lifecycle must do. Registers ava tests; `setUp` is called for each. */
export function lifecycleContract(provider: string, setUp: () => Promise<Backend>): void {
  const contract = (title: string, check: (t: ExecutionContext, run: Run) => Promise<void>): void => {
    test(`${provider}, lifecycle: ${title}`, async (t) => {
      openArena({ size: 1 << 20, lock: 'best-effort' });
      const { upstream, kek, tearDown } = await setUp();
      t.teardown(() => tearDown());
      if (!hasLifecycle(upstream)) throw new Error(`${provider} has no lifecycle`);
      const dek = createKey('dek');
      t.teardown(() => freeKey(dek));
      const told: string[] = [];
      const wrapped = await upstream.wrap(kek, dek, CONTEXT, live());
      upstream.onKekChange = ({ uri, state }) => told.push(`${uri === kek} ${state}`);
      await check(t, { upstream, kek, dek, wrapped, told });
    });
  };
  stateContract(contract);
  deletionContract(contract);
  scopeContract(contract);
}

type Contract = (title: string, check: (t: ExecutionContext, run: Run) => Promise<void>) => void;

function stateContract(contract: Contract): void {
  contract('a disabled KEK refuses everything until it is enabled', async (t, run) => {
    t.is((await run.upstream.changeKek(run.kek, 'disable', OPERATOR)).state, 'disabled');
    await refuses(t, run, 'disabled', ['wrap', 'unwrap']);
    await t.throwsAsync(run.upstream.rotateKek(run.kek, 'uid 2001'), { name: 'DekdError', message: /is disabled/ });
    t.is((await run.upstream.changeKek(run.kek, 'enable', CUSTODIANS[0])).state, 'active');
    await serves(t, run);
    t.deepEqual(run.told, ['true disabled', 'true active']);
  });

  contract('an archived KEK only unwraps until it is enabled', async (t, run) => {
    t.is((await run.upstream.changeKek(run.kek, 'archive', CUSTODIANS[0])).state, 'archived');
    await refuses(t, run, 'archived', ['wrap']);
    freeKey(await run.upstream.unwrap(run.kek, run.wrapped, CONTEXT, live()));
    await run.upstream.changeKek(run.kek, 'enable', CUSTODIANS[0]);
    await serves(t, run);
  });

  contract('wanting the state that already is does nothing', async (t, run) => {
    await run.upstream.changeKek(run.kek, 'enable', CUSTODIANS[0]);
    await run.upstream.cancelKekDeletion(run.kek, CUSTODIANS[0]);
    t.deepEqual(run.told, []);
    await run.upstream.changeKek(run.kek, 'disable', OPERATOR);
    await run.upstream.changeKek(run.kek, 'disable', OPERATOR);
    t.deepEqual(run.told, ['true disabled']);
  });

  contract('a transition that is not allowed has the reason of the present state', async (t, run) => {
    await run.upstream.changeKek(run.kek, 'disable', OPERATOR);
    const error = await t.throwsAsync(run.upstream.changeKek(run.kek, 'archive', CUSTODIANS[0]), { name: 'DekdError' });
    t.is((error as unknown as { reason: string }).reason, 'KEY_DISABLED');
    t.regex(error?.message ?? '', /disabled → archived is not allowed; /);
  });

  contract('a rotation is told, and leaves one version that wraps', async (t, run) => {
    const told: KekDescription[] = [];
    run.upstream.onKekChange = (description) => told.push(description);
    const rotated = await run.upstream.rotateKek(run.kek, 'uid 2001');
    t.deepEqual(told, [rotated]);
    t.is(rotated.versions.filter(({ state }) => state === 'active').length, 1);
    t.is(rotated.versions.at(-1)?.state, 'active');
    await serves(t, run);
  });

  contract('every KEK is listed by its name', async (t, run) => {
    const listed = await run.upstream.listKeks();
    const names = listed.map(({ name }) => name);
    t.deepEqual(names, [...names].sort());
    const own = listed.find(({ kek }) => kek.uri === run.kek);
    t.deepEqual(own?.kek, await run.upstream.describe(run.kek, live()));
  });
}

function deletionContract(contract: Contract): void {
  contract('a deletion takes two custodians and can be cancelled', async (t, run) => {
    const ask = (by: string) =>
      run.upstream.scheduleKekDeletion(run.kek, { by, waitingPeriodMs: 30 * DAY_MS, custodians: 2 });
    for (const description of [await ask(CUSTODIANS[0]), await ask(CUSTODIANS[0])]) {
      t.is(description.state, 'active');
      t.like(description.deletion, { requestedBy: [CUSTODIANS[0]], waitingPeriodMs: 30 * DAY_MS, at: undefined });
    }
    await serves(t, run);
    const scheduled = await ask(CUSTODIANS[1]);
    t.is(scheduled.state, 'pending-deletion');
    t.deepEqual(scheduled.deletion?.requestedBy, [...CUSTODIANS]);
    t.true(scheduled.deletion!.at! > Date.now() + 29 * DAY_MS);
    await refuses(t, run, 'pending-deletion', ['wrap', 'unwrap']);
    await t.throwsAsync(run.upstream.changeKek(run.kek, 'enable', CUSTODIANS[0]), {
      name: 'DekdError',
      message: /pending-deletion → active is not allowed/,
    });
    const cancelled = await run.upstream.cancelKekDeletion(run.kek, CUSTODIANS[1]);
    t.is(cancelled.state, 'disabled');
    t.is(cancelled.deletion, undefined);
    await run.upstream.changeKek(run.kek, 'enable', CUSTODIANS[0]);
    await serves(t, run);
  });

  contract('a waiting period that is too short, too long or not the first one is refused', async (t, run) => {
    const ask = (by: string, days: number) =>
      run.upstream.scheduleKekDeletion(run.kek, { by, waitingPeriodMs: days * DAY_MS, custodians: 2 });
    for (const days of [0, 6, 31]) {
      await t.throwsAsync(ask(CUSTODIANS[0], days), { name: 'DekdError', message: /7 to 30 days are allowed/ });
    }
    await ask(CUSTODIANS[0], 7);
    await t.throwsAsync(ask(CUSTODIANS[1], 8), { name: 'DekdError', message: /uid 3001 asked .* after 7 days/ });
    t.is((await run.upstream.describe(run.kek, live())).state, 'active');
  });
}

function scopeContract(contract: Contract): void {
  contract('a disabled partition refuses its DEKs and no others', async (t, run) => {
    const partition = new Map([['tenant', 'acme']]);
    await run.upstream.changePartition(run.kek, 'orders', partition, 'disable', OPERATOR);
    await refuses(t, run, 'disabled', ['wrap', 'unwrap'], 'access');
    const other = await run.upstream.wrap(run.kek, run.dek, OTHER_TENANT, live());
    freeKey(await run.upstream.unwrap(run.kek, other, OTHER_TENANT, live()));
    await run.upstream.changePartition(run.kek, 'carts', partition, 'enable', CUSTODIANS[0]);
    await refuses(t, run, 'disabled', ['wrap', 'unwrap'], 'access');
    await run.upstream.changePartition(run.kek, 'orders', partition, 'enable', CUSTODIANS[0]);
    await serves(t, run);
  });

  contract('a KEK that does not exist cannot be changed', async (t, { upstream }) => {
    const missing = upstream.resolve('local:nobody');
    const partition = new Map([['tenant', 'acme']]);
    for (const call of [
      upstream.rotateKek(missing, 'uid 2001'),
      upstream.changeKek(missing, 'disable', OPERATOR),
      upstream.scheduleKekDeletion(missing, { by: OPERATOR, waitingPeriodMs: 7 * DAY_MS, custodians: 2 }),
      upstream.cancelKekDeletion(missing, OPERATOR),
      upstream.changePartition(missing, 'orders', partition, 'disable', OPERATOR),
    ]) {
      const error = await t.throwsAsync(call, { name: 'DekdError' });
      t.is((error as unknown as { reason: string }).reason, 'KEY_NOT_FOUND');
    }
  });

  contract('a backup has bytes, and changes nothing', async (t, run) => {
    t.true((await run.upstream.backup()).length > 0);
    t.deepEqual(run.told, []);
    await serves(t, run);
  });
}

async function serves(t: ExecutionContext, { upstream, kek, dek, wrapped }: Run): Promise<void> {
  for (const one of [wrapped, await upstream.wrap(kek, dek, CONTEXT, live())]) {
    const again = await upstream.unwrap(kek, one, CONTEXT, live());
    t.deepEqual(dekId(again), dekId(dek));
    freeKey(again);
  }
}

async function refuses(
  t: ExecutionContext,
  { upstream, kek, dek, wrapped }: Run,
  condition: KekCondition,
  uses: readonly ('wrap' | 'unwrap')[],
  scope: RefusalScope = 'kek',
): Promise<void> {
  const calls = {
    wrap: () => upstream.wrap(kek, dek, CONTEXT, live()),
    unwrap: () => upstream.unwrap(kek, wrapped, CONTEXT, live()),
  };
  for (const use of uses) {
    const failure = await fails(t, calls[use](), 'refused', scope);
    t.is(failure?.condition, condition);
  }
}
