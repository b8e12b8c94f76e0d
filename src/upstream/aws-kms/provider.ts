import type {
  DecryptCommandOutput,
  DescribeKeyCommandOutput,
  EncryptCommandOutput,
  KMSClient,
} from '@aws-sdk/client-kms';
import { secretBuffer } from '../../crypto/secret-buffer.ts';
import { DekdError } from '../../errors.ts';
import type { ChildCall, ChildProvider, OpenProvider } from '../child/child-provider.ts';
import { hiddenPackage } from '../child/packages.ts';
import { UpstreamFailure } from '../failure.ts';
import type { KekDescription, KekState, WrapContext, WrappedDek } from '../provider.ts';
import { refuseAlias } from './alias.ts';
import { type Credentials, type Kms, makeClient } from './client.ts';
import { Connections } from './connections.ts';
import { classify, INVALID_STATE, isKmsAnswer, type Operation, stateFailure } from './errors.ts';
import type { AwsKmsOptions } from './options.ts';
import { type KeyArn, keyArn } from './uri.ts';

/** dek-block: the service's own ciphertext, bytes as given. */
const SERVICE_CIPHERTEXT = 1;
const DEK_BYTES = 32;
/** Decrypt takes no longer one: https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html */
const MAX_CIPHERTEXT_BYTES = 6_144;

/** AWS KMS through the vendor's SDK. Loads it; asks KMS only for the aliases of the configuration, to refuse them. */
export const open: OpenProvider<AwsKmsOptions> = async (options, environment) => {
  const { kms, credentials } = await loadSdk();
  const connections = new Connections((region) => makeClient(kms, credentials, options, region));
  const provider = new AwsKmsProvider(kms, connections, options);
  const { aliases: [alias] = [] } = options;
  if (alias === undefined) return provider;
  try {
    throw await refuseAlias(kms, connections, alias, options.region ?? environment['AWS_REGION']);
  } finally {
    await provider.close();
  }
};

class AwsKmsProvider implements ChildProvider {
  readonly warnings: readonly string[];
  readonly #kms: Kms;
  readonly #connections: Connections<KMSClient>;
  readonly #region: string | undefined;
  #closed = false;

  constructor(kms: Kms, connections: Connections<KMSClient>, options: AwsKmsOptions) {
    this.#kms = kms;
    this.#connections = connections;
    this.#region = options.region;
    const addresses = new Set([options.endpoint, options.stsEndpoint]);
    const inClear = [...addresses].filter((address) => address?.startsWith('http:'));
    this.warnings = inClear.map((address) => `DEKs and credentials go to ${address} without TLS; that is for tests`);
  }

  async wrap(kek: string, dek: Uint8Array, context: WrapContext, call: ChildCall): Promise<WrappedDek> {
    const answer = await this.#call('wrap', kek, call, async (client, { arn }) => {
      const EncryptionContext = Object.fromEntries(context.pairs);
      const command = new this.#kms.EncryptCommand({ KeyId: arn, Plaintext: dek, EncryptionContext });
      return checked(arn, await client.send(command, { abortSignal: call.signal }));
    });
    const bytes = answer.CiphertextBlob;
    if (bytes === undefined || bytes.length === 0 || bytes.length > MAX_CIPHERTEXT_BYTES) {
      throw new UpstreamFailure('unreachable', `wrap with ${kek}: the answer has no ciphertext of a possible length`);
    }
    return { kekVersion: '', algorithm: SERVICE_CIPHERTEXT, bytes };
  }

  async unwrap(kek: string, wrapped: WrappedDek, context: WrapContext, call: ChildCall): Promise<Uint8Array> {
    const { kekVersion, algorithm, bytes } = wrapped;
    const impossible = bytes.length === 0 || bytes.length > MAX_CIPHERTEXT_BYTES;
    if (impossible || kekVersion !== '' || algorithm !== SERVICE_CIPHERTEXT) {
      throw new UpstreamFailure('invalid', `unwrap with ${kek}: KMS never gave out such a ciphertext`);
    }
    const answer = await this.#call('unwrap', kek, call, async (client, { arn }) => {
      const EncryptionContext = Object.fromEntries(context.pairs);
      const command = new this.#kms.DecryptCommand({ KeyId: arn, CiphertextBlob: bytes, EncryptionContext });
      return checked(arn, await client.send(command, { abortSignal: call.signal }));
    });
    return takeDek(kek, answer);
  }

  async describe(kek: string, call: ChildCall): Promise<KekDescription> {
    const metadata = await this.#call('describe', kek, call, (client, key) => this.#keyMetadata(client, key, call));
    const { KeySpec: spec, KeyUsage: usage, KeyState: keyState } = metadata;
    if (spec !== 'SYMMETRIC_DEFAULT' || usage !== 'ENCRYPT_DECRYPT') {
      const text = `${kek} is a key of spec ${spec} for ${usage}; dekd needs SYMMETRIC_DEFAULT for ENCRYPT_DECRYPT`;
      throw new UpstreamFailure('unreachable', text);
    }
    return { uri: kek, state: kekState(kek, keyState), versions: [], labels: new Map() };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#connections.retireAll();
  }

  /** One call of KMS, its error classified. */
  async #call<Answer>(
    operation: Operation,
    kek: string,
    call: ChildCall,
    send: (client: KMSClient, key: KeyArn) => Promise<Answer>,
  ): Promise<Answer> {
    if (this.#closed) throw new UpstreamFailure('unreachable', 'the upstream is closed');
    try {
      const key = keyArn(kek, this.#region);
      if (call.fresh) this.#connections.renew(key.region);
      return await this.#connections.run(key.region, (client) =>
        send(client, key).catch(async (error: unknown) => {
          throw await this.#failure(operation, { kek, key, client }, error, call);
        }),
      );
    } catch (error) {
      throw classify(operation, kek, error);
    }
  }

  async #failure(
    operation: Operation,
    { kek, key, client }: { kek: string; key: KeyArn; client: KMSClient },
    error: unknown,
    call: ChildCall,
  ): Promise<UpstreamFailure> {
    if (isKmsAnswer(error) && error.name === INVALID_STATE) {
      const metadata = await this.#keyMetadata(client, key, call).catch(() => undefined);
      return stateFailure(kek, metadata?.KeyState);
    }
    const failure = classify(operation, kek, error);
    // The SDK keeps credentials until they expire by their own account; others may lie in their place already.
    if (failure.class === 'unauthenticated') this.#connections.retire(key.region, client);
    return failure;
  }

  async #keyMetadata(client: KMSClient, { arn }: KeyArn, call: ChildCall): Promise<KeyMetadata> {
    const command = new this.#kms.DescribeKeyCommand({ KeyId: arn });
    const { KeyMetadata: metadata } = await client.send(command, { abortSignal: call.signal });
    if (metadata?.Arn !== arn) throw new UpstreamFailure('unreachable', `the answer describes another key than ${arn}`);
    return metadata;
  }
}

type KeyMetadata = NonNullable<DescribeKeyCommandOutput['KeyMetadata']>;

function kekState(kek: string, state: string | undefined): KekState {
  if (state === 'Enabled' || state === 'Updating') return 'active';
  const { condition } = stateFailure(kek, state);
  if (condition === 'disabled' || condition === 'pending-deletion') return condition;
  throw stateFailure(kek, state);
}

/** KMS says which key it used. Another one is not what was asked for, whatever it opened. */
function checked<Answer extends EncryptCommandOutput | DecryptCommandOutput>(arn: string, answer: Answer): Answer {
  if (answer.KeyId === arn) return answer;
  if ('Plaintext' in answer) answer.Plaintext?.fill(0);
  throw new UpstreamFailure('unreachable', `the answer comes from another key than ${arn}`);
}

/** The SDK's own copy lies in a buffer that it shares: it is zeroed. The base64 text that it came from is not to be had; the child's end frees it. */
function takeDek(kek: string, { Plaintext: plaintext }: DecryptCommandOutput): Uint8Array {
  if (plaintext === undefined)
    throw new UpstreamFailure('unreachable', `unwrap with ${kek}: the answer has no plaintext`);
  try {
    if (plaintext.length !== DEK_BYTES) {
      throw new UpstreamFailure('invalid', `unwrap with ${kek}: what KMS decrypted is no DEK: it has another length`);
    }
    const dek = secretBuffer(DEK_BYTES);
    dek.set(plaintext);
    return dek;
  } finally {
    plaintext.fill(0);
  }
}

async function loadSdk(): Promise<{ kms: Kms; credentials: Credentials }> {
  try {
    const [kms, credentials] = await Promise.all([
      import('@aws-sdk/client-kms'),
      import('@aws-sdk/credential-providers'),
    ]);
    return { kms, credentials };
  } catch (error) {
    const isMissing = (error as { code?: unknown }).code === 'ERR_MODULE_NOT_FOUND';
    const problem = isMissing ? 'is not installed beside dekd' : hiddenPackage(error);
    if (problem === undefined) throw error;
    const text = `type aws-kms needs the AWS SDK, which ${problem}: npm install @aws-sdk/client-kms @aws-sdk/credential-providers`;
    throw new DekdError('INVALID_REQUEST', text, { cause: error });
  }
}
