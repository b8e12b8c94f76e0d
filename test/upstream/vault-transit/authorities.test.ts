import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import test from 'ava';
import { followAuthorities } from '../../../src/upstream/vault-transit/authorities.ts';
import { fails } from '../../contract/upstream-contract.ts';
import { CONTEXT, call, DEK, issueToken, makeKek, openProvider, policyOf, Servers, writePolicy } from './world.ts';

const servers = new Servers();
test.after.always(() => servers.stop());

function caFile(t: { teardown(end: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-ca-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'ca.pem');
  writeFileSync(file, rootCertificates[0]!);
  return file;
}

test('the file is read when it changed, and what is no certificate changes nothing', (t) => {
  const file = caFile(t);
  const authorities = followAuthorities(file);
  const first = authorities();
  t.is(authorities(), first);
  writeFileSync(file, 'half of a file');
  t.is(authorities(), first);
  rmSync(file);
  t.is(authorities(), first);
  symlinkSync(file, file);
  t.is(authorities(), first);
  t.throws(() => followAuthorities(file), { name: 'DekdError', message: /cannot be read by uid .*ELOOP/ });
  rmSync(file);
  writeFileSync(file, `${rootCertificates[1]}\n`);
  t.is(authorities().toString(), `${rootCertificates[1]}\n`);
  t.throws(() => followAuthorities(`${file}.none`), { message: /cannot be read by uid/ });
});

test('a server with a certificate of another authority is reached as soon as the file has that', async (t) => {
  const bao = await servers.get({ tls: true });
  const { name, kek } = await makeKek(bao);
  await writePolicy(bao, 'ca', policyOf(name));
  const { file } = await issueToken(t, bao, 'ca');
  const ca = caFile(t);
  const provider = await openProvider(t, { addresses: [bao.address], ca, login: { method: 'token', file } });
  const failure = await fails(t, provider.wrap(kek, DEK, CONTEXT, call()), 'unreachable');
  t.regex(String(failure?.message), /CERT|SIGNATURE/);
  writeFileSync(ca, readFileSync(bao.caFile!));
  t.is((await provider.wrap(kek, DEK, CONTEXT, call())).kekVersion, '1');
  // What was trusted before is no more: a connection that is kept open says nothing of it.
  writeFileSync(ca, rootCertificates[0]!);
  await fails(t, provider.wrap(kek, DEK, CONTEXT, call()), 'unreachable');
});
