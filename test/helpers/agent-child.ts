// An agent as `dekd --config FILE` runs it, with what the command itself must never offer:
//   --ordinary-memory   the arena is locked memory that /proc/PID/mem shows, not memfd_secret
//   --record FILE       keeps all buffers of src/ and native/ (recorded-buffers.ts); on SIGUSR2 it writes `recorded: JSON` to standard error
//   --plant-cipher FILE keeps a cipher of OpenSSL alive, AES-256-GCM with the bytes of FILE as its key
//   --plant FILE        keeps the bytes of FILE in its own memory: raw, in hex and in base64, each a string or Buffer of its own
import { createCipheriv } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { recordBuffers } from './recorded-buffers.ts';

const { values } = parseArgs({
  options: {
    config: { type: 'string' },
    'ordinary-memory': { type: 'boolean' },
    plant: { type: 'string' },
    'plant-cipher': { type: 'string' },
    record: { type: 'string' },
  },
});
if (values.record !== undefined) {
  const report = await recordBuffers(values.record);
  process.on('SIGUSR2', () => process.stderr.write(`recorded: ${JSON.stringify(report())}\n`));
}
const { loadConfig } = await import('../../src/config/load.ts');
const { openArena } = await import('../../src/crypto/native.ts');
const { startDaemon } = await import('../../src/daemon/daemon.ts');
const { createLogger } = await import('../../src/telemetry/logger.ts');
const config = loadConfig(values.config ?? '');
if (values['ordinary-memory']) {
  // The daemon's own call finds the arena open and takes it as it is.
  openArena({ size: config.memory.sizeBytes, lock: 'required', avoidSecretMemory: true });
}
const planted = values.plant === undefined ? [] : plant(readFileSync(values.plant));
const cipher = values['plant-cipher'] === undefined ? undefined : liveCipher(readFileSync(values['plant-cipher']));
const daemon = await startDaemon(config, { logger: createLogger(config.log.level), version: 'test' });
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  // Named here so that what was planted lives as long as the process.
  process.once(
    signal,
    () => void daemon.stop().then(() => process.exit(planted.length === 1 || cipher?.destroyed ? 1 : 0)),
  );
}

/** Used once, so that OpenSSL has set up all that it needs; the key itself is zeroed. */
function liveCipher(key: Buffer) {
  const cipher = createCipheriv('aes-256-gcm', key, Buffer.alloc(12));
  cipher.update(Buffer.alloc(4096));
  key.fill(0);
  return cipher;
}

/** Buffer by Buffer, so that each form is found for itself and none inside another. */
function plant(key: Buffer): (Buffer | string)[] {
  const inBase64 = [0, 1, 2].map((offset) => Buffer.concat([Buffer.alloc(offset), key, Buffer.alloc(2)]));
  return [
    key,
    flat(key.toString('hex')),
    key.toString('hex').toUpperCase(),
    ...inBase64.map((bytes) => flat(bytes.toString('base64'))),
  ];
}

/** V8 may keep a string as pieces of others; reading it as a number makes it one piece. */
function flat(text: string): string {
  Number(text);
  return text;
}
