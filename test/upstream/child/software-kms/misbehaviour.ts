import { spawnSync } from 'node:child_process';
import { closeSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { DekdError } from '../../../../src/errors.ts';
import { encodeFrame } from '../../../../src/upstream/child/frames.ts';
import { UpstreamFailure } from '../../../../src/upstream/failure.ts';
import type { SoftwareKmsOptions } from './options.ts';

const CONTROL_FD = 3;
const KEY_FD = 4;
/** Tests of these make one call each, to a child of its own. */
const FIRST_ID = 1;
const FOR_EVER = new Promise<never>(() => undefined);

/** What a KEK of that name does before it answers, or instead. */
export async function misbehave(name: string, signal: AbortSignal): Promise<void> {
  if (Object.hasOwn(MISBEHAVIOURS, name)) await MISBEHAVIOURS[name]!(signal);
}

const MISBEHAVIOURS: Readonly<Record<string, (signal: AbortSignal) => unknown>> = {
  // Ways to end.
  crash: () => process.abort(),
  exit: () => process.exit(3),
  throw: () => {
    process.nextTick(() => fail('Zm9vYmFyMDEyMzQ1Njc4OWFiY2RlZkFCQ0RFRg0123'));
    return FOR_EVER;
  },
  reject: () => {
    void Promise.reject(new TypeError('nobody listens'));
    return FOR_EVER;
  },
  'close-control': () => {
    closeSync(CONTROL_FD);
    return FOR_EVER;
  },
  // Ways to keep others waiting.
  hang: () => {
    for (;;);
  },
  never: () => FOR_EVER,
  late: async (signal) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    await setTimeout(50);
  },
  slow: () => setTimeout(300),
  // Ways to answer wrongly.
  garbage: () => writeSync(CONTROL_FD, 'GET / HTTP/1.1\r\n\r\n'),
  'no-json': () => writeSync(CONTROL_FD, Buffer.from('00000003ff2020', 'hex')),
  flood: () => {
    for (;;) writeSync(CONTROL_FD, Buffer.concat([Buffer.from('0000ffff', 'hex'), Buffer.alloc(65_535, ' ')]));
  },
  twice: () => {
    writeSync(KEY_FD, packet(FIRST_ID, 32));
    writeSync(CONTROL_FD, encodeFrame({ id: FIRST_ID, ok: {} }));
  },
  'wrong-id': () => writeSync(CONTROL_FD, encodeFrame({ id: 4711, ok: {} })),
  'no-answer': () => writeSync(CONTROL_FD, encodeFrame({ id: FIRST_ID, ok: 'yes' })),
  'no-key': () => writeSync(CONTROL_FD, encodeFrame({ id: FIRST_ID, ok: {} })),
  'short-key': () => keyAndAnswer(packet(FIRST_ID, 31)),
  'long-key': () => keyAndAnswer(packet(FIRST_ID, 33)),
  'key-of-another': () => keyAndAnswer(packet(FIRST_ID + 1, 32)),
  'strange-failure': () =>
    writeSync(CONTROL_FD, encodeFrame({ id: FIRST_ID, failure: { class: 'refused-for-ever', message: 'x' } })),
  // Things for the log.
  chatter: () =>
    writeSync(2, `debug: token hvs.CAESIJ${'xY3'.repeat(20)} \u001b[2Jof ${'x'.repeat(2_000)}\nsecond line\n`),
  'error-flood': () => {
    for (;;) writeSync(2, `${'x'.repeat(1_000)}\n`);
  },
  gulp: () => {
    const rows: object[] = [];
    for (;;) rows.push({ row: [rows.length] });
  },
  throttled: () => {
    throw new UpstreamFailure('throttled', 'too many\nrequests', { retryAfterMs: 1_500 });
  },
  unknown: () => {
    throw new TypeError('not an UpstreamFailure');
  },
};

/** What Node's permission model keeps this process from, by name. */
export function denied(): string[] {
  const attempts: Readonly<Record<string, () => unknown>> = {
    addons: () => process.dlopen({ exports: {} }, '/nonexistent.node'),
    'read a file': () => readFileSync('/etc/hostname'),
    'start a process': () => spawnSync('true'),
    'start a thread': () => new Worker('0', { eval: true }),
    'write a file': () => writeFileSync('/tmp/dekd-test-must-not-exist', ''),
  };
  return Object.keys(attempts).filter((name) => {
    try {
      attempts[name]!();
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ERR_ACCESS_DENIED';
    }
    return false;
  });
}

export async function openBadly(how: NonNullable<SoftwareKmsOptions['opening']>): Promise<void> {
  switch (how) {
    case 'problem':
      throw new DekdError('INVALID_REQUEST', 'the package softkms is not installed: npm install softkms');
    case 'unknown':
      throw new TypeError('the SDK does not load');
    case 'failure':
      throw new UpstreamFailure('unauthenticated', 'no credential');
    case 'crash':
      process.abort();
      break;
    case 'hang':
      await FOR_EVER;
      break;
    case 'garbage':
      writeSync(CONTROL_FD, encodeFrame({ ready: 'yes' }));
  }
}

function keyAndAnswer(bytes: Buffer): void {
  writeSync(KEY_FD, bytes);
  writeSync(CONTROL_FD, encodeFrame({ id: FIRST_ID, ok: {} }));
}

function packet(id: number, keyBytes: number): Buffer {
  const bytes = Buffer.alloc(8 + keyBytes, 7);
  bytes.writeBigUInt64BE(BigInt(id));
  return bytes;
}

function fail(message: string): never {
  throw new Error(message);
}
