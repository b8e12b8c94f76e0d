/**
 * What a miss costs over the same call made by the vendor's client in the process that needs the key: an unwrap through a child process, compiled
 * as it is published, against @aws-sdk/client-kms, pkcs11js and Node's own HTTP in this one, to the real services on loopback. Call by call in turn,
 * never two at once, so that nothing but the way differs. On loopback OpenBao and SoftHSM answer in a fraction of a millisecond, which no service
 * behind a network does, and two more processes to wake are a good part of that: those rows are for information, and beside them stand an OpenBao that
 * is 2 ms away and a SoftHSM that takes 2 ms for a decryption, in both ways. For information are those of a caller's whole Decrypt over the agent's
 * socket, too, each of a DEK that is not held (cache mode `none`): to the call they add gRPC and the keyring. Beside each stands what a message
 * to a bare Node process and back takes, which no child process can do better than.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DecryptCommand, KMSClient } from '@aws-sdk/client-kms';
import { encodePairs } from '../../src/crypto/context.ts';
import type { ChildUpstreamOptions, ProviderFacts } from '../../src/upstream/child/child-provider.ts';
import type { ChildUpstream } from '../../src/upstream/child/child-upstream.ts';
import type { WrappedDek } from '../../src/upstream/provider.ts';
import { startToxiproxy, type Toxiproxy } from '../../test/counterparts/toxiproxy/start.ts';
import { createClient } from '../../test/helpers/client.ts';
import { startAgent } from '../agent.ts';
import { buildProgram, compileModules } from '../compiled.ts';
import {
  type Aws,
  CREDENTIALS,
  type Hsm,
  PIN,
  REGION,
  type Service,
  startAws,
  startHsm,
  startVault,
  type Vault,
} from '../counterparts.ts';
import { type BenchmarkResult, median, type Row, row } from '../result.ts';
import { stopServer } from './load.ts';

/** With WARM_UP under the 1,000 after which a child is replaced. */
const CALLS = 300;
/** Until V8 has compiled what they run: in the agent and the child that takes some hundred calls. */
const WARM_UP = 600;
const BOUND = '≤ 1.3';
/** Of a service in the same region. */
const NETWORK_MS = 2;
const PAIRS = new Map([
  ['dekd:key', 'orders'],
  ['tenant', 'acme'],
]);
const CONTEXT = { pairs: PAIRS, encoded: encodePairs(PAIRS) };
const SIGNAL = new AbortController().signal;

interface VaultSettings {
  readonly addresses: string[];
  readonly login: { readonly token: { readonly file: string } };
}

type Native = typeof import('../../src/crypto/native.ts');
type Children = typeof import('../../src/upstream/child/child-upstream.ts');
/** The same call, made here. */
type InProcess = (wrapped: WrappedDek) => Promise<unknown>;

export async function run(): Promise<BenchmarkResult> {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-bench-'));
  try {
    const program = join(directory, 'program');
    mkdirSync(program);
    compileModules(directory);
    buildProgram(program);
    const bench = await Bench.load(directory);
    const rows = [...(await bench.aws()), ...(await bench.vault()), ...(await bench.hsm())];
    return { name: 'a miss : the same call in process, p50', rows };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

class Bench {
  readonly #directory: string;
  readonly #native: Native;
  readonly #children: Children;

  static async load(directory: string): Promise<Bench> {
    const load = (path: string) => import(join(directory, 'dist', 'src', path));
    const native = (await load('crypto/native.js')) as Native;
    native.openArena({ size: 1 << 20, lock: 'best-effort' });
    return new Bench(directory, native, (await load('upstream/child/child-upstream.js')) as Children);
  }

  private constructor(directory: string, native: Native, children: Children) {
    this.#directory = directory;
    this.#native = native;
    this.#children = children;
  }

  async aws(): Promise<Row[]> {
    const service = await startAws();
    const { endpoint } = service;
    try {
      const upstream = await this.#open('aws-kms', 'awsKms', {
        type: 'aws-kms',
        endpoint,
        region: REGION,
        aliases: [],
      });
      return await this.#compare('aws-kms (LocalStack)', service, upstream, inProcessAws(service), BOUND);
    } finally {
      await service.stop();
    }
  }

  async vault(): Promise<Row[]> {
    const service = await startVault();
    const toxiproxy = await startToxiproxy();
    try {
      const far = await throughNetwork(service, toxiproxy);
      const rows: Row[] = [];
      for (const [name, one, bound] of [
        ['vault-transit (OpenBao)', service, ''],
        [`vault-transit (OpenBao, ${NETWORK_MS} ms away)`, far, BOUND],
      ] as const) {
        const { login, addresses } = one.settings as VaultSettings;
        const options = { type: 'vault-transit', addresses, login: { method: 'token', file: login.token.file } };
        const upstream = await this.#open('vault-transit', 'vaultTransit', options);
        rows.push(...(await this.#compare(name, one, upstream, inProcessVault(one), bound)));
      }
      return rows;
    } finally {
      await toxiproxy.stop();
      await service.stop();
    }
  }

  async hsm(): Promise<Row[]> {
    const service = await startHsm();
    const { softHsm, settings } = service;
    const { pin } = settings as { pin: { file: string } };
    try {
      const options = {
        type: 'pkcs11',
        modulePath: softHsm.interposer,
        libraryParameters: softHsm.parameters,
        pin,
      };
      const inProcess = inProcessHsm(service);
      const rows: Row[] = [];
      for (const [name, control, bound] of [
        ['pkcs11 (SoftHSM)', [], ''],
        ['pkcs11 (SoftHSM, 2 ms a decryption)', ['C_Decrypt network'], BOUND],
      ] as const) {
        softHsm.control(...control);
        const upstream = await this.#open('pkcs11', 'pkcs11', options);
        rows.push(...(await this.#compare(name, service, upstream, inProcess, bound)));
      }
      return rows;
    } finally {
      await service.stop();
    }
  }

  async #open(folder: string, facts: string, options: object): Promise<ChildUpstream<ChildUpstreamOptions>> {
    const module = await import(join(this.#directory, 'dist', 'src', 'upstream', folder, 'options.js'));
    return this.#children.ChildUpstream.open({
      facts: module[facts] as ProviderFacts,
      options: { ...options, maxCalls: 1_000_000 } as unknown as ChildUpstreamOptions,
      onWarning: (warning) => process.stderr.write(`${warning}\n`),
    });
  }

  async #compare(
    name: string,
    service: Service,
    upstream: ChildUpstream<ChildUpstreamOptions>,
    inProcess: InProcess,
    bound: string,
  ): Promise<Row[]> {
    const dek = this.#native.createKey('dek');
    const wrapped = await upstream.wrap(service.kek, dek, CONTEXT, { signal: SIGNAL });
    this.#native.freeKey(dek);
    const here = () => inProcess(wrapped);
    const unwrap = await inTurn(async () => {
      this.#native.freeKey(await upstream.unwrap(service.kek, wrapped, CONTEXT, { signal: SIGNAL }));
    }, here);
    await upstream.close();
    return [
      row(name, ...unwrap, 'ms', bound),
      row(`${name}: a bare message to a process and back`, ...(await echoed(here)), 'ms'),
      row(`${name}: a caller's whole Decrypt`, ...(await this.#decrypt(service, here)), 'ms'),
    ];
  }

  async #decrypt(service: Service, here: () => Promise<unknown>): Promise<[number, number]> {
    const place = mkdtempSync(join(this.#directory, 'agent-'));
    const agent = await startAgent(join(this.#directory, 'program'), place, new Map([['one', service]]), {
      mode: 'none',
    });
    const client = createClient(join(place, 'agent.sock'), 'dekd.v1.KeyAgent');
    const { message } = await client.call('Encrypt', { key: 'one', plaintext: Buffer.alloc(256) });
    const medians = await inTurn(() => client.call('Decrypt', { ciphertext: message.ciphertext }), here);
    client.close();
    await stopServer(agent);
    return medians;
  }
}

/** Medians of two ways, call by call in turn. */
async function inTurn(one: () => Promise<unknown>, other: () => Promise<unknown>): Promise<[number, number]> {
  const times: [number[], number[]] = [[], []];
  for (let call = 0; call < WARM_UP + CALLS; call++) {
    const pair = [await timed(one), await timed(other)] as const;
    if (call < WARM_UP) continue;
    times[0].push(pair[0]);
    times[1].push(pair[1]);
  }
  return [median(times[0]), median(times[1])];
}

function inProcessAws({ endpoint, arn }: Aws): InProcess {
  const client = new KMSClient({ region: REGION, endpoint, credentials: CREDENTIALS, maxAttempts: 1 });
  return (wrapped) =>
    client.send(
      new DecryptCommand({
        KeyId: arn,
        CiphertextBlob: wrapped.bytes,
        EncryptionContext: Object.fromEntries(PAIRS),
      }),
    );
}

/** What is sent to another process comes back at once: no child answers sooner, whatever it does. */
async function echoed(inProcess: () => Promise<unknown>): Promise<[number, number]> {
  const code = 'const s = new (require("node:net").Socket)({ fd: 3 }); s.on("data", (data) => s.write(data));';
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'inherit', 'inherit', 'pipe'] });
  const channel = child.stdio[3] as Socket;
  const message = Buffer.alloc(300);
  const medians = await inTurn(() => {
    channel.write(message);
    return once(channel, 'data');
  }, inProcess);
  child.kill();
  return medians;
}

async function throughNetwork(service: Vault, toxiproxy: Toxiproxy): Promise<Vault> {
  const proxy = await toxiproxy.proxy('vault', new URL(service.address).host);
  await proxy.delay(NETWORK_MS);
  const address = `http://${proxy.host}`;
  return { ...service, address, settings: { ...service.settings, addresses: [address] } };
}

/** There is no vendor's client for Node; Node's HTTP with a connection that stays open is the least that one could do. */
function inProcessVault({ address, token }: Vault): InProcess {
  const agent = new Agent({ keepAlive: true });
  const associated = Buffer.from(CONTEXT.encoded).toString('base64');
  return (wrapped) =>
    new Promise((resolve, reject) => {
      const body = JSON.stringify({
        ciphertext: Buffer.from(wrapped.bytes).toString('latin1'),
        associated_data: associated,
      });
      const headers = { 'x-vault-token': token, 'content-type': 'application/json', 'content-length': body.length };
      const sent = request(`${address}/v1/transit/decrypt/orders`, { method: 'POST', agent, headers }, (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk));
        response.on('end', () => resolve(Buffer.from(JSON.parse(text).data.plaintext, 'base64')));
      });
      sent.on('error', reject);
      sent.end(body);
    });
}

/** pkcs11js's asynchronous call, which does not block the process: what an application that serves others must use. */
function inProcessHsm({ softHsm }: Hsm): InProcess {
  // Not by its name: types are checked where it could not be compiled, too.
  const name: string = 'pkcs11js';
  const pkcs11js = createRequire(import.meta.url)(name);
  const module = new pkcs11js.PKCS11();
  module.load(softHsm.interposer);
  module.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK, libraryParameters: `${softHsm.parameters} ` });
  const [slot] = module.C_GetSlotList(true);
  const session = module.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION);
  module.C_Login(session, pkcs11js.CKU_USER, PIN);
  module.C_FindObjectsInit(session, [{ type: pkcs11js.CKA_LABEL, value: 'orders' }]);
  const [key] = module.C_FindObjects(session, 1);
  module.C_FindObjectsFinal(session);
  const aad = Buffer.from(CONTEXT.encoded);
  return (wrapped) => {
    const bytes = Buffer.from(wrapped.bytes);
    const iv = bytes.subarray(0, 12);
    const parameter = { type: pkcs11js.CK_PARAMS_AES_GCM_v240, iv, ivBits: 96, aad, tagBits: 128 };
    module.C_DecryptInit(session, { mechanism: pkcs11js.CKM_AES_GCM, parameter }, key);
    return module.C_DecryptAsync(session, bytes.subarray(12), Buffer.alloc(48));
  };
}

async function timed(call: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await call();
  return performance.now() - startedMs;
}
