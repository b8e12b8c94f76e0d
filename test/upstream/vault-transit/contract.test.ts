import test, { type ExecutionContext } from 'ava';
import { ChildUpstream } from '../../../src/upstream/child/child-upstream.ts';
import { type VaultTransitOptions, vaultTransit } from '../../../src/upstream/vault-transit/options.ts';
import { type Backend, upstreamContract } from '../../contract/upstream-contract.ts';
import { hasOpenBao, requireOpenBao } from '../../counterparts/openbao/start.ts';
import { makeAppRole, makeKek, policyOf, Servers, succeeds, writePolicy } from './world.ts';

const servers = new Servers();
test.after.always(() => servers.stop());

/** In a child process, as the agent has it, with no right that docs/upstreams/vault-transit.md does not ask for. */
async function setUp(t: ExecutionContext): Promise<Backend> {
  const bao = await servers.get();
  const { kek, name } = await makeKek(bao);
  const { kek: otherKek, name: otherName } = await makeKek(bao);
  await writePolicy(bao, name, policyOf(name, otherName, 'missing'));
  const { login } = await makeAppRole(t, bao, name);
  const options: VaultTransitOptions = { type: 'vault-transit', addresses: [bao.address], login, warmChild: false };
  const upstream = await ChildUpstream.open({ facts: vaultTransit, options, onWarning: (warning) => t.log(warning) });
  return {
    upstream,
    kek,
    otherKek,
    missingKek: 'vault-transit:transit/keys/missing',
    missingVersion: '99',
    missingVersionIs: 'invalid',
    ofVersion: (wrapped, kekVersion) => ({
      ...wrapped,
      kekVersion,
      bytes: Buffer.from(
        Buffer.from(wrapped.bytes)
          .toString('latin1')
          .replace(/^vault:v\d+:/, `vault:v${kekVersion}:`),
      ),
    }),
    bindsContext: true,
    rotate: async () => {
      await succeeds(bao, 'POST', `transit/keys/${name}/rotate`);
    },
    tearDown: () => upstream.close(),
  };
}

if (hasOpenBao) upstreamContract('vault-transit', setUp);
else test('the contract of upstreams, on OpenBao', (t) => void requireOpenBao(t));
