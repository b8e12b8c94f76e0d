import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { secretBuffer } from '../../../../src/crypto/secret-buffer.ts';
import type { ChildCall, ChildProvider, OpenProvider } from '../../../../src/upstream/child/child-provider.ts';
import { UpstreamFailure } from '../../../../src/upstream/failure.ts';
import type { KekDescription, WrapContext, WrappedDek } from '../../../../src/upstream/provider.ts';
import { denied, misbehave, openBadly } from './misbehaviour.ts';
import type { SoftwareKmsOptions } from './options.ts';

const ALGORITHM = 5;
const KEKS = /\/(orders|invoices|slow)$/;

export const open: OpenProvider<SoftwareKmsOptions> = async (options, environment) => {
  if (options.opening !== undefined) await openBadly(options.opening);
  return new SoftwareKms(options, environment);
};

class SoftwareKms implements ChildProvider {
  readonly warnings: readonly string[];
  readonly #options: SoftwareKmsOptions;

  constructor(options: SoftwareKmsOptions, environment: Readonly<Record<string, string | undefined>>) {
    this.#options = options;
    this.warnings = [`environment: ${Object.keys(environment).sort().join(' ')}`];
  }

  async wrap(kek: string, dek: Uint8Array, context: WrapContext, call: ChildCall): Promise<WrappedDek> {
    await this.#begin(kek, call);
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', keyOf(kek), nonce).setAAD(context.encoded);
    const bytes = Buffer.concat([nonce, cipher.update(dek), cipher.final(), cipher.getAuthTag()]);
    return { kekVersion: '1', algorithm: ALGORITHM, bytes };
  }

  async unwrap(kek: string, wrapped: WrappedDek, context: WrapContext, call: ChildCall): Promise<Uint8Array> {
    await this.#begin(kek, call);
    const { kekVersion, algorithm, bytes } = wrapped;
    if (algorithm !== ALGORITHM || bytes.length !== 60 || !/^[0-9]{1,9}$/.test(kekVersion)) throw invalid();
    if (kekVersion !== '1') throw new UpstreamFailure('refused', `no version ${kekVersion}`, { scope: 'version' });
    const decipher = createDecipheriv('aes-256-gcm', keyOf(kek), bytes.subarray(0, 12)).setAAD(context.encoded);
    decipher.setAuthTag(bytes.subarray(44));
    const dek = secretBuffer(32);
    try {
      dek.set(decipher.update(bytes.subarray(12, 44)));
      decipher.final();
    } catch {
      throw invalid();
    }
    return dek;
  }

  async describe(kek: string, call: ChildCall): Promise<KekDescription> {
    await this.#begin(kek, call);
    const versions = [{ version: '1', state: 'active', createdAt: 1_700_000_000_000 }] as const;
    const labels = new Map([
      ['fresh', String(call.fresh)],
      ['denied', denied().join(', ')],
    ]);
    return { uri: kek, state: 'active', versions, labels };
  }

  async close(): Promise<void> {}

  async #begin(kek: string, { signal }: ChildCall): Promise<void> {
    await misbehave(kek.slice(kek.lastIndexOf('/') + 1), signal);
    if (!KEKS.test(kek)) throw new UpstreamFailure('refused', `no KEK ${kek}`, { scope: 'kek', condition: 'missing' });
    if (this.#options.service !== undefined) await (await fetch(this.#options.service, { signal })).arrayBuffer();
  }
}

function keyOf(kek: string): Buffer {
  return createHash('sha256').update(kek).digest();
}

function invalid(): UpstreamFailure {
  return new UpstreamFailure('invalid', 'the wrapped DEK does not open');
}
