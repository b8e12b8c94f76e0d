import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Outcome, runProgram } from './program.ts';
import type { Tap } from './tap.ts';

const VERSION = 'v1.9.3';
const AGENT = 'dekd.v1.KeyAgent';
const HEALTH = 'grpc.health.v1.Health';

/** grpcurl knows dekd only through reflection: no proto file is given to it. */
export async function grpcurlChecks(tap: Tap, agentSocket: string, adminSocket: string): Promise<void> {
  const command = await findGrpcurl();
  if (command === undefined) {
    tap.missing('grpcurl', `go install github.com/fullstorydev/grpcurl/cmd/grpcurl@${VERSION}`);
    return;
  }
  const run = async (socket: string, ...args: string[]): Promise<Outcome> => {
    const flags = args.filter((arg) => arg.startsWith('{')).flatMap((data) => ['-d', data]);
    const words = args.filter((arg) => !arg.startsWith('{'));
    return runProgram(command, ['-plaintext', ...flags, `unix://${socket}`, ...words]);
  };
  const output = async (socket: string, ...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await run(socket, ...args);
    assert.equal(status, 0, stderr);
    return stdout;
  };
  const answer = async (socket: string, ...args: string[]) => JSON.parse(await output(socket, ...args));
  const check = (name: string, body: () => Promise<void>) => tap.check(`grpcurl: ${name}`, body);

  await check('list names the services of each socket', async () => {
    assert.deepEqual((await output(agentSocket, 'list')).trim().split('\n'), [AGENT, HEALTH]);
    assert.deepEqual((await output(adminSocket, 'list')).trim().split('\n'), ['dekd.v1.KeyAdmin', HEALTH]);
  });
  await check('describe shows every service and message', async () => {
    const all = await output(agentSocket, 'describe');
    assert.match(all, /rpc Encrypt \( \.dekd\.v1\.EncryptRequest \) returns \( \.dekd\.v1\.EncryptResponse \)/);
    assert.match(
      await output(agentSocket, 'describe', 'dekd.v1.EncryptRequest'),
      /map<string, string> encryption_context = 3;/,
    );
    assert.match(await output(agentSocket, 'describe', 'dekd.v1.EncryptBatchResponse'), /message Result/);
    assert.match(await output(agentSocket, 'describe', 'google.rpc.ErrorInfo'), /map<string, string> metadata = 3;/);
    assert.match(await output(agentSocket, 'describe', 'google.protobuf.Timestamp'), /int64 seconds = 1;/);
    assert.match(await output(adminSocket, 'describe', 'dekd.v1.KeyAdmin'), /rpc CreateKey/);
  });
  await check('Encrypt and Decrypt', async () => {
    const context = { tenant: 'acme', table: 'orders' };
    const request = { key: 'default', plaintext: btoa('hello'), encryption_context: context };
    const { ciphertext } = await answer(agentSocket, JSON.stringify(request), `${AGENT}/Encrypt`);
    assert.equal(Buffer.from(ciphertext, 'base64').toString('latin1', 0, 4), 'dekd');
    const opened = await answer(
      agentSocket,
      JSON.stringify({ ciphertext, encryption_context: context }),
      `${AGENT}/Decrypt`,
    );
    assert.equal(atob(opened.plaintext), 'hello');
  });
  await check('an error shows its details', async () => {
    const { status, stderr } = await run(
      agentSocket,
      JSON.stringify({ ciphertext: btoa('no envelope') }),
      `${AGENT}/Decrypt`,
    );
    assert.equal(status, 64 + 3);
    assert.match(stderr, /"reason": "INVALID_CIPHERTEXT"/);
    assert.match(stderr, /"domain": "dekd"/);
  });
  await check('DescribeKey and GetStatus: enums, durations, 64-bit counts', async () => {
    const key = await answer(agentSocket, '{"key":"default"}', `${AGENT}/DescribeKey`);
    assert.equal(key.state, 'KEY_STATE_ACTIVE');
    assert.equal(key.ttl, '300s');
    assert.equal(key.encryptingDeks, '1');
    assert.equal((await answer(adminSocket, 'dekd.v1.KeyAdmin/GetStatus')).profile, 'development');
  });
  await check('health', async () => {
    for (const service of ['', AGENT]) {
      const { status } = await answer(agentSocket, JSON.stringify({ service }), `${HEALTH}/Check`);
      assert.equal(status, 'SERVING');
    }
    assert.equal((await run(agentSocket, '{"service":"nobody"}', `${HEALTH}/Check`)).status, 64 + 5);
  });
}

async function findGrpcurl(): Promise<string | undefined> {
  if ((await runProgram('grpcurl', ['-version'])).status === 0) return 'grpcurl';
  const { stdout } = await runProgram('go', ['env', 'GOPATH']);
  const path = join(stdout.trim() || '/nonexistent', 'bin', 'grpcurl');
  return existsSync(path) ? path : undefined;
}
