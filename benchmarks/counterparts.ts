import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { installation } from '../test/counterparts/counterpart.ts';
import { startLocalStack } from '../test/counterparts/localstack/start.ts';
import { startOpenBao } from '../test/counterparts/openbao/start.ts';
import { aesKey, hasSoftHsm, type SoftHsm, startSoftHsm } from '../test/counterparts/softhsm/start.ts';

export const TOKEN = 'hsm-a';
export const PIN = 'correct horse';
/** LocalStack takes any. */
export const CREDENTIALS = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'of-no-account' };
export const REGION = 'eu-west-1';

/** A real service with one KEK. */
export interface Service {
  readonly kek: string;
  /** As the configuration has it. */
  readonly settings: object;
  stop(): Promise<void>;
}

export interface Vault extends Service {
  readonly address: string;
  readonly token: string;
}

export interface Aws extends Service {
  readonly endpoint: string;
  readonly arn: string;
}

export interface Hsm extends Service {
  readonly softHsm: SoftHsm;
}

/** OpenBao with a KEK `orders` and a token in a file. Throws when it is not installed. */
export async function startVault(): Promise<Vault> {
  required('openbao');
  const bao = await startOpenBao();
  await bao.call('POST', 'sys/mounts/transit', { type: 'transit' });
  await bao.call('POST', 'transit/keys/orders', {});
  const file = join(bao.directory, 'token');
  writeFileSync(file, bao.rootToken, { mode: 0o600 });
  return {
    kek: 'vault-transit:transit/keys/orders',
    settings: { type: 'vault-transit', addresses: [bao.address], login: { token: { file } } },
    address: bao.address,
    token: bao.rootToken,
    stop: () => bao.stop(),
  };
}

/** LocalStack with one KEK; the environment then has credentials for it. Throws when it is not installed. */
export async function startAws(): Promise<Aws> {
  const localStack = await startLocalStack(required('localstack'));
  const { endpoint } = localStack;
  process.env['AWS_ACCESS_KEY_ID'] = CREDENTIALS.accessKeyId;
  process.env['AWS_SECRET_ACCESS_KEY'] = CREDENTIALS.secretAccessKey;
  process.env['AWS_EC2_METADATA_DISABLED'] = 'true';
  const admin = new KMSClient({ region: REGION, endpoint, credentials: CREDENTIALS });
  const { KeyMetadata } = await admin.send(new CreateKeyCommand({}));
  admin.destroy();
  const arn = KeyMetadata!.Arn!;
  return {
    kek: `aws-kms:${arn}`,
    settings: { type: 'aws-kms', endpoint, region: REGION },
    endpoint,
    arn,
    stop: () => localStack.stop(),
  };
}

/** SoftHSM with a token and a KEK `orders`. Throws when it is not installed. */
export async function startHsm(): Promise<Hsm> {
  if (!hasSoftHsm) throw new Error('SoftHSM is not there: test/counterparts/softhsm/install.sh');
  const softHsm = startSoftHsm();
  softHsm.initialize(TOKEN, PIN);
  softHsm.administer(TOKEN, PIN, aesKey('orders', ['ENCRYPT', 'DECRYPT']));
  const directory = mkdtempSync(join(tmpdir(), 'dekd-pin-'));
  const file = join(directory, 'pin');
  writeFileSync(file, PIN, { mode: 0o600 });
  return {
    kek: `pkcs11:object=orders;token=${TOKEN}`,
    settings: {
      type: 'pkcs11',
      module_path: softHsm.interposer,
      library_parameters: softHsm.parameters,
      pin: { file },
    },
    softHsm,
    stop: async () => {
      softHsm.stop();
      rmSync(directory, { recursive: true });
    },
  };
}

function required(name: string): string {
  const directory = installation(name);
  if (directory === undefined) throw new Error(`${name} is not there: test/counterparts/${name}/install.sh`);
  return directory;
}
