import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { createKey, dekId, freeKey, openArena, type SlotHandle } from '../../../src/crypto/native.ts';
import { ChildUpstream } from '../../../src/upstream/child/child-upstream.ts';
import type { UpstreamFailure } from '../../../src/upstream/failure.ts';
import { type Pkcs11Options, pkcs11 } from '../../../src/upstream/pkcs11/options.ts';
import type { KekDescription, UpstreamCallOptions, WrapContext, WrappedDek } from '../../../src/upstream/provider.ts';
import { live, wrapContext } from '../../contract/upstream-context.ts';
import type { Backend } from '../../contract/upstream-contract.ts';
import { aesKey, type Command, requireSoftHsm, type SoftHsm, startSoftHsm } from '../../counterparts/softhsm/start.ts';

export const PIN = 'correct horse';
export const TOKEN = 'hsm-a';
export const KEK = `pkcs11:object=orders;token=${TOKEN}`;
export const CONTEXT: WrapContext = wrapContext({ 'dekd:key': 'orders', tenant: 'acme' });
export const ALL = ['ENCRYPT', 'DECRYPT', 'WRAP', 'UNWRAP'] as const;
export const FRESH = { ...live(), fresh: true };

/** One after the other: each starts processes, and their time to start is bounded. */
export function hsmTest(title: string, check: (t: ExecutionContext) => Promise<void>): void {
  test.serial(title, async (t) => {
    if (requireSoftHsm(t)) await check(t);
  });
}

/** For upstreams on a token that is there already, and that others use too: making one takes processes. */
export function shared(hsm: SoftHsm): SoftHsm {
  return { ...hsm, initialize: () => '', administer: () => undefined, stop: () => undefined };
}

/**
 * Upstreams for the contract suite on one token with the KEKs `orders` and `carts`. They are opened one after the other: a dozen processes that
 * start at once may take longer than a child has for its start.
 */
export function contractBackends(start: () => SoftHsm): (t: ExecutionContext) => Promise<Backend> {
  let made: SoftHsm | undefined;
  let last: Promise<unknown> = Promise.resolve();
  test.after.always(() => made?.stop());
  const open = async (t: ExecutionContext): Promise<Backend> => {
    if (made === undefined) {
      made = start();
      made.initialize(TOKEN, PIN);
      made.administer(TOKEN, PIN, aesKey('orders', ALL), aesKey('carts', ALL, '02'));
    }
    const world = await World.open(t, { hsm: shared(made) });
    return {
      upstream: world.upstream,
      kek: KEK,
      otherKek: `pkcs11:object=carts;token=${TOKEN}`,
      missingKek: `pkcs11:object=nobody;token=${TOKEN}`,
      missingVersion: undefined,
      bindsContext: true,
      rotate: undefined,
      tearDown: () => world.upstream.close(),
    };
  };
  return (t) => {
    const opened = last.then(() => open(t));
    last = opened.catch(() => undefined);
    return opened;
  };
}

/** A token with one KEK, `orders`, and an upstream on it, in a child process as the agent has it. */
export class World {
  readonly hsm: SoftHsm;
  readonly warnings: string[] = [];
  readonly #t: ExecutionContext;
  readonly #options: Pkcs11Options;
  #upstream: ChildUpstream<Pkcs11Options> | undefined;
  #tokenDirectory = '';

  static async open(
    t: ExecutionContext,
    {
      options = {},
      commands = [aesKey('orders', ALL)],
      hsm = startSoftHsm(),
    }: { options?: Partial<Pkcs11Options>; commands?: Command[]; hsm?: SoftHsm } = {},
  ): Promise<World> {
    openArena({ size: 1 << 20, lock: 'best-effort' });
    const world = new World(t, hsm, options);
    world.#tokenDirectory = world.hsm.initialize(TOKEN, PIN);
    if (commands.length > 0) world.administer(...commands);
    await world.reopen();
    return world;
  }

  private constructor(t: ExecutionContext, hsm: SoftHsm, options: Partial<Pkcs11Options>) {
    this.#t = t;
    this.hsm = hsm;
    this.writePin(PIN);
    this.#options = {
      type: 'pkcs11',
      modulePath: this.hsm.interposer,
      libraryParameters: this.hsm.parameters,
      pin: { file: this.#pinFile },
      warmChild: false,
      ...options,
    };
    t.teardown(async () => {
      await this.#upstream?.close();
      this.hsm.stop();
    });
  }

  get #pinFile(): string {
    return join(this.hsm.directory, 'pin');
  }

  get upstream(): ChildUpstream<Pkcs11Options> {
    return this.#upstream!;
  }

  /** In which SoftHSM keeps the token. */
  get tokenDirectory(): string {
    return this.#tokenDirectory;
  }

  async reopen(): Promise<void> {
    await this.#upstream?.close();
    this.#upstream = await ChildUpstream.open({
      facts: pkcs11,
      options: this.#options,
      onWarning: (warning) => this.warnings.push(warning),
    });
  }

  writePin(pin: string): void {
    const written = `${this.#pinFile}.${Math.random()}`;
    writeFileSync(written, `${pin}\n`, { mode: 0o600 });
    // Others may read it just now.
    renameSync(written, this.#pinFile);
  }

  administer(...commands: Command[]): void {
    this.hsm.administer(TOKEN, PIN, ...commands);
  }

  dek(): SlotHandle {
    const dek = createKey('dek');
    this.#t.teardown(() => freeKey(dek));
    return dek;
  }

  wrap(dek: SlotHandle, kek = KEK, options: UpstreamCallOptions = live()): Promise<WrappedDek> {
    return this.upstream.wrap(kek, dek, CONTEXT, options);
  }

  /** Its dek_id; the DEK itself is freed. */
  async unwrap(wrapped: WrappedDek, kek = KEK, options: UpstreamCallOptions = live()): Promise<Buffer> {
    const dek = await this.upstream.unwrap(kek, wrapped, CONTEXT, options);
    const id = dekId(dek);
    freeKey(dek);
    return id;
  }

  describe(kek = KEK): Promise<KekDescription> {
    return this.upstream.describe(kek, live());
  }

  /** Asserts that a DEK comes back. */
  async roundTrips(kek = KEK): Promise<WrappedDek> {
    const dek = this.dek();
    const wrapped = await this.wrap(dek, kek);
    this.#t.deepEqual(await this.unwrap(wrapped, kek), dekId(dek));
    return wrapped;
  }
}

export function count(world: World, ...functions: string[]): number[] {
  const calls = world.hsm.calls();
  return functions.map((name) => calls.filter((call) => call === name).length);
}

export async function settledAs(call: () => Promise<unknown>, failureClass: string): Promise<UpstreamFailure> {
  for (const until = Date.now() + 10_000; ; await setTimeout(50)) {
    const failure = (await call().catch((error: unknown) => error)) as UpstreamFailure;
    if (failure.class === failureClass || Date.now() > until) return failure;
  }
}

export function tampered(bytes: Uint8Array): Buffer {
  const changed = Buffer.from(bytes);
  changed[changed.length >> 1]! ^= 1;
  return changed;
}

/** What a call gives once its child is back: tried again for `patienceMs` while no process is there for it. */
export async function settled<Result>(call: () => Promise<Result>, patienceMs = 10_000): Promise<Result> {
  for (const until = Date.now() + patienceMs; ; await setTimeout(50)) {
    try {
      return await call();
    } catch (error) {
      if (Date.now() > until) throw error;
    }
  }
}
