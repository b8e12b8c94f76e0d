import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { CreateKeyCommand } from '@aws-sdk/client-kms';
import type { Counterpart } from '../counterparts/counterpart.ts';
import { installation } from '../counterparts/counterpart.ts';
import { startLocalStack } from '../counterparts/localstack/start.ts';
import { startMoto } from '../counterparts/moto/start.ts';
import { type DurableOpenBao, startDurableOpenBao } from '../counterparts/openbao/durable.ts';
import { aesKey, type SoftHsm, startSoftHsm } from '../counterparts/softhsm/start.ts';
import { startToxiproxy, type ToxicProxy, type Toxiproxy } from '../counterparts/toxiproxy/start.ts';
import { keyConfig, makePlace, type Place, type Teardown } from '../helpers/place.ts';
import { ANY_CREDENTIALS, adminClient, setEnvironment } from '../upstream/aws-kms/world.ts';

/** Each upstream has one KEK, and two keys on it: one of its name with a long grace, and `NAME-brief` with a short one. */
export const UPSTREAMS = ['vault', 'localstack', 'moto', 'hsm'] as const;
export type UpstreamName = (typeof UPSTREAMS)[number];
export const BRIEF = '-brief';

/** An AWS KMS that can be killed. */
export interface AwsService {
  readonly proxy: ToxicProxy;
  readonly counterpart: Counterpart;
}

export interface Hsm {
  readonly softHsm: SoftHsm;
  readonly tokenDirectory: string;
}

/** The real services, the TCP ones behind toxiproxy, and a place whose agent uses all of them. */
export interface OutageWorld {
  readonly vault: { readonly proxy: ToxicProxy; readonly bao: DurableOpenBao };
  readonly localstack: AwsService;
  readonly moto: AwsService;
  readonly hsm: Hsm;
  /** `host:port` of a service that answers every call as AWS does when it throttles. */
  readonly throttlingAws: string;
  readonly place: Place;
}

export interface Ages {
  readonly ttlMs: number;
  readonly graceMs: number;
  readonly briefGraceMs: number;
}

const PIN = 'correct horse';
const TOKEN = 'hsm-a';
const REGION = 'eu-west-1';

/** Starts everything; it ends with `t`. */
export async function startOutageWorld(t: Teardown, ages: Ages): Promise<OutageWorld> {
  setEnvironment(ANY_CREDENTIALS);
  const toxiproxy = await startToxiproxy();
  t.teardown(() => toxiproxy.stop());
  const [vault, localstack, moto, throttlingAws] = await Promise.all([
    startVault(t, toxiproxy),
    startAws(t, toxiproxy, 'localstack', startLocalStack),
    startAws(t, toxiproxy, 'moto', (directory) => startMoto(directory)),
    startThrottlingAws(t),
  ]);
  const hsm = startHsm(t);
  const place = makePlace(t);
  const keks = {
    vault: await makeVaultKek(vault.bao),
    localstack: await makeAwsKek(localstack.endpoint),
    moto: await makeAwsKek(moto.endpoint),
    hsm: `pkcs11:object=orders;token=${TOKEN}`,
  };
  const upstreams = {
    vault: {
      type: 'vault-transit',
      addresses: [`http://${vault.proxy.host}`],
      login: { token: { file: await issueToken(vault.bao, place) } },
    },
    localstack: { type: 'aws-kms', endpoint: `http://${localstack.proxy.host}`, region: REGION },
    moto: { type: 'aws-kms', endpoint: `http://${moto.proxy.host}`, region: REGION },
    hsm: {
      type: 'pkcs11',
      module_path: hsm.softHsm.interposer,
      library_parameters: hsm.softHsm.parameters,
      pin: { file: pinFile(hsm.softHsm) },
    },
  };
  const plenty = { rate: 10_000, burst: 100_000 };
  place.configure({
    upstreams,
    keys: keyConfigs(keks, ages),
    memory: { lock: 'best-effort', size: '2MiB' },
    // A thousand DEKs at once are a start, and no quota is tried here.
    limits: { upstream_calls: { per_principal: plenty, per_key: plenty } },
  });
  return { vault, localstack, moto, hsm, throttlingAws, place };
}

function keyConfigs(keks: Record<UpstreamName, string>, { ttlMs, graceMs, briefGraceMs }: Ages): object {
  const config = (upstream: UpstreamName, grace: number): object =>
    keyConfig(upstream, {
      recipients: [{ upstream, kek: keks[upstream], role: 'authority' }],
      partition_by: ['tenant'],
      cache: { ttl: `${ttlMs}ms`, grace: `${grace}ms`, max_deks: 2_000 },
    });
  return Object.fromEntries(
    UPSTREAMS.flatMap((upstream) => [
      [upstream, config(upstream, graceMs)],
      [`${upstream}${BRIEF}`, config(upstream, briefGraceMs)],
    ]),
  );
}

async function startVault(t: Teardown, toxiproxy: Toxiproxy): Promise<OutageWorld['vault']> {
  const bao = await startDurableOpenBao();
  t.teardown(() => bao.stop());
  return { bao, proxy: await toxiproxy.proxy('vault', new URL(bao.address).host) };
}

async function makeVaultKek({ call }: DurableOpenBao): Promise<string> {
  await call('POST', 'sys/mounts/transit', { type: 'transit' });
  await call('POST', 'transit/keys/orders');
  return 'vault-transit:transit/keys/orders';
}

/** With the rights that docs/upstreams/vault-transit.md names, for longer than any run. */
async function issueToken({ call }: DurableOpenBao, place: Place): Promise<string> {
  const paths = {
    'transit/encrypt/orders': 'update',
    'transit/decrypt/orders': 'update',
    'transit/keys/orders': 'read',
  };
  const policy = Object.entries(paths).map(([path, right]) => `path "${path}" { capabilities = ["${right}"] }`);
  await call('PUT', 'sys/policies/acl/orders', { policy: policy.join('\n') });
  const made = await call('POST', 'auth/token/create', { policies: ['orders'], ttl: '4h' });
  const file = join(place.directory, 'vault-token');
  writeFileSync(file, made.auth.client_token, { mode: 0o600 });
  return file;
}

async function startAws(
  t: Teardown,
  toxiproxy: Toxiproxy,
  name: 'localstack' | 'moto',
  start: (directory: string) => Promise<Counterpart & { readonly endpoint: string }>,
): Promise<AwsService & { readonly endpoint: string }> {
  const counterpart = await start(installation(name) ?? '');
  t.teardown(() => counterpart.stop());
  const { endpoint } = counterpart;
  return { counterpart, endpoint, proxy: await toxiproxy.proxy(name, new URL(endpoint).host) };
}

async function makeAwsKek(endpoint: string): Promise<string> {
  const admin = adminClient(endpoint, REGION);
  // moto tells no usage of a key that was made without one.
  const { KeyMetadata } = await admin.send(new CreateKeyCommand({ KeyUsage: 'ENCRYPT_DECRYPT' }));
  admin.destroy();
  return `aws-kms:${KeyMetadata!.Arn}`;
}

function startHsm(t: Teardown): Hsm {
  const softHsm = startSoftHsm();
  t.teardown(() => softHsm.stop());
  const tokenDirectory = softHsm.initialize(TOKEN, PIN);
  softHsm.administer(TOKEN, PIN, aesKey('orders', ['ENCRYPT', 'DECRYPT']));
  return { softHsm, tokenDirectory };
}

function pinFile({ directory }: SoftHsm): string {
  const file = join(directory, 'pin');
  writeFileSync(file, PIN, { mode: 0o600 });
  return file;
}

/** Neither LocalStack nor moto can be made to throttle. The answer is that of KMS's documentation (developer guide, "Throttling AWS KMS requests"). */
async function startThrottlingAws(t: Teardown): Promise<string> {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(400, { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-requestid': 'throttled' });
    response.end('{"__type":"ThrottlingException","message":"Rate exceeded"}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}
