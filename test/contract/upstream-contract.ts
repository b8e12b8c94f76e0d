import test, { type ExecutionContext } from 'ava';
import { createKey, dekId, freeKey, openArena, type SlotHandle } from '../../src/crypto/native.ts';
import { type FailureClass, type RefusalScope, UpstreamFailure } from '../../src/upstream/failure.ts';
import type { Upstream, WrapContext, WrappedDek } from '../../src/upstream/provider.ts';
import { live, wrapContext } from './upstream-context.ts';

/** One provider set up for the suite: a real service, or `local`. */
export interface Backend {
  readonly upstream: Upstream;
  /** KEKs that exist, in normal form. */
  readonly kek: string;
  readonly otherKek: string;
  /** One of the same service that does not exist. */
  readonly missingKek: string;
  /** Version that `kek` does not have; undefined where the service hides its versions. */
  readonly missingVersion: string | undefined;
  /** Where only who made the ciphertext can have named such a version. Default: a refusal of the version. */
  readonly missingVersionIs?: 'invalid';
  /** A wrapped DEK that says it is of another version, where its bytes say that too. Default: only `kekVersion` says it. */
  readonly ofVersion?: (wrapped: WrappedDek, version: string) => WrappedDek;
  /** Whether a wrong context is found by the wrap itself; where it has no AAD, dek_id does the binding. */
  readonly bindsContext: boolean;
  /** A new version of `kek`; undefined where the suite may not rotate. */
  readonly rotate: (() => Promise<void>) | undefined;
  /** Called once, also after a failure; `upstream` may be closed already. */
  readonly tearDown: () => Promise<void>;
}

interface Run {
  readonly backend: Backend;
  readonly dek: SlotHandle;
  readonly context: WrapContext;
  readonly wrapped: WrappedDek;
}

/** What every provider must do, whatever is behind it. Registers ava tests; `setUp` is called for each. */
export function upstreamContract(provider: string, setUp: (t: ExecutionContext) => Promise<Backend>): void {
  const contract = (title: string, check: (t: ExecutionContext, run: Run) => Promise<void>): void => {
    test(`${provider}: ${title}`, async (t) => {
      openArena({ size: 1 << 20, lock: 'best-effort' });
      const backend = await setUp(t);
      t.teardown(() => backend.tearDown());
      const dek = createKey('dek');
      t.teardown(() => freeKey(dek));
      const context = wrapContext({ 'dekd:key': 'orders', 'dekd:id': dekId(dek).toString('hex'), tenant: 'acme' });
      const wrapped = await backend.upstream.wrap(backend.kek, dek, context, live());
      await check(t, { backend, dek, context, wrapped });
    });
  };
  wrappingContract(contract);
  refusalContract(contract);
  endingContract(contract);
}

type Contract = (title: string, check: (t: ExecutionContext, run: Run) => Promise<void>) => void;

function wrappingContract(contract: Contract): void {
  contract('a wrapped DEK unwraps to the same DEK', async (t, { backend, dek, context, wrapped }) => {
    const again = await backend.upstream.unwrap(backend.kek, wrapped, context, live());
    t.teardown(() => freeKey(again));
    t.deepEqual(dekId(again), dekId(dek));
    t.not(again, dek);
  });

  contract('two wraps of one DEK differ and both unwrap', async (t, { backend, dek, context, wrapped }) => {
    const second = await backend.upstream.wrap(backend.kek, dek, context, live());
    t.notDeepEqual(second.bytes, wrapped.bytes);
    const again = await backend.upstream.unwrap(backend.kek, second, context, live());
    t.teardown(() => freeKey(again));
    t.deepEqual(dekId(again), dekId(dek));
  });

  contract('a DEK wrapped before a rotation unwraps after it', async (t, { backend, dek, context, wrapped }) => {
    if (backend.rotate === undefined) {
      t.log('skipped: this provider gives the suite no way to rotate');
      t.pass();
      return;
    }
    await backend.rotate();
    const old = await backend.upstream.unwrap(backend.kek, wrapped, context, live());
    t.teardown(() => freeKey(old));
    t.deepEqual(dekId(old), dekId(dek));
    const rewrapped = await backend.upstream.wrap(backend.kek, dek, context, live());
    if (backend.missingVersion !== undefined) t.not(rewrapped.kekVersion, wrapped.kekVersion);
    const fresh = await backend.upstream.unwrap(backend.kek, rewrapped, context, live());
    t.teardown(() => freeKey(fresh));
    t.deepEqual(dekId(fresh), dekId(dek));
  });

  contract('describe tells state, URI and the version that wraps', async (t, { backend, wrapped }) => {
    const description = await backend.upstream.describe(backend.kek, live());
    t.is(description.uri, backend.kek);
    t.is(description.state, 'active');
    if (backend.missingVersion === undefined) return;
    const version = description.versions.find(({ version }) => version === wrapped.kekVersion);
    t.is(version?.state, 'active');
    t.true(Number.isSafeInteger(version?.createdAt));
  });

  contract('a KEK in normal form resolves to itself', async (t, { backend }) => {
    t.is(backend.upstream.resolve(backend.kek), backend.kek);
    t.throws(() => backend.upstream.resolve('nonsense'), { name: 'DekdError', message: /^kek: "nonsense"/ });
  });
}

function refusalContract(contract: Contract): void {
  contract('another context is invalid', async (t, { backend, context, wrapped }) => {
    if (!backend.bindsContext) {
      t.log('skipped: this wrap has no associated data; dek_id does the binding');
      t.pass();
      return;
    }
    for (const pairs of [{ tenant: 'umbrella' }, { more: 'pairs' }]) {
      const other = wrapContext({ ...Object.fromEntries(context.pairs), ...pairs });
      await fails(t, backend.upstream.unwrap(backend.kek, wrapped, other, live()), 'invalid');
    }
    await fails(t, backend.upstream.unwrap(backend.kek, wrapped, wrapContext({}), live()), 'invalid');
  });

  contract('a wrapped DEK with any bit changed is invalid', async (t, { backend, context, wrapped }) => {
    for (const index of [0, wrapped.bytes.length >> 1, wrapped.bytes.length - 1]) {
      const bytes = Uint8Array.from(wrapped.bytes);
      bytes[index]! ^= 0x01;
      await fails(t, backend.upstream.unwrap(backend.kek, { ...wrapped, bytes }, context, live()), 'invalid');
    }
  });

  contract('a wrapped DEK of another length is invalid', async (t, { backend, context, wrapped }) => {
    const longer = Buffer.concat([wrapped.bytes, Buffer.alloc(1)]);
    for (const bytes of [wrapped.bytes.subarray(0, -1), wrapped.bytes.subarray(0, 1), longer]) {
      await fails(t, backend.upstream.unwrap(backend.kek, { ...wrapped, bytes }, context, live()), 'invalid');
    }
  });

  contract('a wrapped DEK of another algorithm is invalid', async (t, { backend, context, wrapped }) => {
    for (const algorithm of [0, wrapped.algorithm === 1 ? 2 : 1, 255]) {
      await fails(t, backend.upstream.unwrap(backend.kek, { ...wrapped, algorithm }, context, live()), 'invalid');
    }
  });

  contract("another KEK does not open a KEK's DEK", async (t, { backend, context, wrapped }) => {
    await fails(t, backend.upstream.unwrap(backend.otherKek, wrapped, context, live()), 'invalid');
  });

  contract('a KEK that does not exist is refused', async (t, { backend, dek, context, wrapped }) => {
    const { upstream, missingKek } = backend;
    await fails(t, upstream.wrap(missingKek, dek, context, live()), 'refused', 'kek');
    await fails(t, upstream.unwrap(missingKek, wrapped, context, live()), 'refused', 'kek');
    await fails(t, upstream.describe(missingKek, live()), 'refused', 'kek');
  });

  contract(
    'a version that the KEK does not have is refused, or told to be forged',
    async (t, { backend, context, wrapped }) => {
      if (backend.missingVersion === undefined) {
        t.log('skipped: this service hides its versions');
        t.pass();
        return;
      }
      const foreign = backend.ofVersion?.(wrapped, backend.missingVersion) ?? {
        ...wrapped,
        kekVersion: backend.missingVersion,
      };
      const unwrapped = backend.upstream.unwrap(backend.kek, foreign, context, live());
      if (backend.missingVersionIs === 'invalid') await fails(t, unwrapped, 'invalid');
      else await fails(t, unwrapped, 'refused', 'version');
      for (const kekVersion of ['', '\u0000', 'latest', '9'.repeat(1000)]) {
        await fails(t, backend.upstream.unwrap(backend.kek, { ...wrapped, kekVersion }, context, live()), 'invalid');
      }
    },
  );
}

function endingContract(contract: Contract): void {
  contract('a call whose signal is aborted is unreachable', async (t, { backend, dek, context, wrapped }) => {
    const { upstream, kek } = backend;
    const aborted = { signal: AbortSignal.abort() };
    await fails(t, upstream.wrap(kek, dek, context, aborted), 'unreachable');
    await fails(t, upstream.unwrap(kek, wrapped, context, aborted), 'unreachable');
    await fails(t, upstream.describe(kek, aborted), 'unreachable');
  });

  contract('a closed upstream is unreachable, and closes twice', async (t, { backend, dek, context, wrapped }) => {
    const { upstream, kek } = backend;
    await upstream.close();
    await fails(t, upstream.wrap(kek, dek, context, live()), 'unreachable');
    await fails(t, upstream.unwrap(kek, wrapped, context, live()), 'unreachable');
    await fails(t, upstream.describe(kek, live()), 'unreachable');
    await upstream.close();
  });
}

/** Asserts that a call ends in an UpstreamFailure of this class and scope. */
export async function fails(
  t: ExecutionContext,
  call: Promise<unknown>,
  failureClass: FailureClass,
  scope?: RefusalScope,
): Promise<UpstreamFailure | undefined> {
  const failure = await t.throwsAsync(call, { instanceOf: UpstreamFailure });
  t.is(failure?.class, failureClass, failure?.message);
  t.is(failure?.scope, scope);
  return failure;
}
