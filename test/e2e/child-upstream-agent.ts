// What an agent does with an upstream in child processes, and nothing else: DEKs that it makes are wrapped and unwrapped, some calls are given
// up, some end their child. It writes a line of JSON (Report) when it is done, uses its child up on SIGUSR2, and ends with its standard input.
//   --ordinary-memory   the arena is locked memory that /proc/PID/mem shows, not memfd_secret
//   --hold              keeps the DEKs that came back
//   --end-children      makes the calls that end their child
import { setTimeout } from 'node:timers/promises';
import { arenaStatus, createKey, dekId, freeKey, hardenProcess, openArena } from '../../src/crypto/native.ts';
import { openInChild } from '../../src/upstream/child/open-in-child.ts';
import type { Upstream, WrappedDek } from '../../src/upstream/provider.ts';
import { live, wrapContext } from '../contract/upstream-context.ts';
import { kekNamed, softwareKms } from '../upstream/child/software-kms/options.ts';

export interface Report {
  /** base64 */
  readonly wrapped: readonly string[];
  /** Held in the arena now. */
  readonly slotsUsed: number;
  readonly memoryKind: string;
  readonly heapMib: number;
}

const DEKS = 6;
const MAX_CALLS = 100;
const KEK = kekNamed('orders');
const CONTEXT = wrapContext({ 'dekd:key': 'orders' });
const ENDS = ['short-key', 'long-key', 'key-of-another', 'twice', 'hang'];

hardenProcess();
const avoidSecretMemory = process.argv.includes('--ordinary-memory');
openArena({ size: 1 << 20, lock: 'required', avoidSecretMemory });
const upstream = await openInChild(softwareKms)('vault', { type: 'vault-transit', maxCalls: MAX_CALLS });
const wrapped = await wrapAndUnwrap();
if (process.argv.includes('--end-children')) await endChildren();
// A call that was given up may still bring its DEK.
await setTimeout(500);
const { slotsUsed, kind: memoryKind } = arenaStatus();
const heapMib = process.memoryUsage().heapUsed / 2 ** 20;
process.stdout.write(`${JSON.stringify({ wrapped, slotsUsed, memoryKind, heapMib } satisfies Report)}\n`);
let usedUp: Promise<void> | undefined;
process.on('SIGUSR2', () => {
  usedUp = useUp();
});
process.stdin.resume().once('end', () => void end());

async function wrapAndUnwrap(): Promise<string[]> {
  const all: string[] = [];
  for (let count = 0; count < DEKS; count++) {
    const dek = createKey('dek');
    const one = await upstream.wrap(KEK, dek, CONTEXT, live());
    const again = await upstream.unwrap(KEK, one, CONTEXT, live());
    if (!dekId(again).equals(dekId(dek))) throw new Error('another DEK came back');
    await giveUpTooLate(one);
    freeKey(dek);
    if (!process.argv.includes('--hold')) freeKey(again);
    all.push(Buffer.from(one.bytes).toString('base64'));
  }
  return all;
}

/** The answer, with its DEK, lies in the channels already: nobody has read it. */
async function giveUpTooLate(one: WrappedDek): Promise<void> {
  const control = new AbortController();
  const call = upstream.unwrap(KEK, one, CONTEXT, { signal: control.signal });
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  control.abort();
  await call.then(
    () => Promise.reject(new Error('the call was not given up')),
    () => undefined,
  );
}

async function end(): Promise<void> {
  await usedUp;
  await upstream.close();
  process.exit(0);
}

async function useUp(): Promise<void> {
  for (let count = 0; count < MAX_CALLS; count++) await upstream.describe(KEK, live());
}

async function endChildren(): Promise<void> {
  const dek = createKey('dek');
  for (const name of ENDS) {
    const kek = kekNamed(name);
    await ready(upstream);
    const { signal } = live();
    const calls = [0, 1, 2].map(() => upstream.wrap(KEK, dek, CONTEXT, live()));
    const bytes = Buffer.alloc(60);
    const bad = upstream.unwrap(kek, { kekVersion: '1', algorithm: 5, bytes }, CONTEXT, {
      signal: name === 'hang' ? AbortSignal.timeout(100) : signal,
    });
    await Promise.allSettled([...calls, bad.then(freeKey)]);
  }
  freeKey(dek);
}

/** After a failure the next child is started in a moment. */
async function ready(upstream: Upstream): Promise<void> {
  for (const end = Date.now() + 20_000; ; await setTimeout(20)) {
    try {
      await upstream.describe(KEK, live());
      return;
    } catch (error) {
      if (Date.now() > end) throw error;
    }
  }
}
