import { CreateKeyCommand, type KMSClient, RotateKeyOnDemandCommand } from '@aws-sdk/client-kms';
import test from 'ava';
import { awsKms } from '../../../src/upstream/aws-kms/options.ts';
import { ChildUpstream } from '../../../src/upstream/child/child-upstream.ts';
import { upstreamContract } from '../../contract/upstream-contract.ts';
import { installation, missing } from '../../counterparts/counterpart.ts';
import { startLocalStack } from '../../counterparts/localstack/start.ts';
import { onDemand } from '../../counterparts/on-demand.ts';
import { ANY_CREDENTIALS, adminClient, optionsFor, setEnvironment } from './world.ts';

setEnvironment(ANY_CREDENTIALS);

const localStack = onDemand('localstack', startLocalStack);

// Through a real child process, as an agent has it. moto cannot pass: it says AccessDeniedException for a foreign KEK.
if (installation('localstack') === undefined) {
  test('aws-kms: the contract of upstreams', (t) => missing(t, 'localstack'));
} else {
  upstreamContract('aws-kms', async () => {
    const { endpoint } = (await localStack())!;
    const admin = adminClient(endpoint);
    const kek = await createKey(admin);
    const upstream = await ChildUpstream.open({
      facts: awsKms,
      options: optionsFor(endpoint, { warmChild: false }),
      onWarning: () => undefined,
    });
    return {
      upstream,
      kek,
      otherKek: await createKey(admin),
      missingKek: `${kek.slice(0, -12)}000000000000`,
      missingVersion: undefined,
      bindsContext: true,
      rotate: async () => {
        await admin.send(new RotateKeyOnDemandCommand({ KeyId: kek.slice('aws-kms:'.length) }));
      },
      tearDown: async () => {
        admin.destroy();
        await upstream.close();
      },
    };
  });
}

async function createKey(admin: KMSClient): Promise<string> {
  const { KeyMetadata } = await admin.send(new CreateKeyCommand({}));
  return `aws-kms:${KeyMetadata!.Arn}`;
}
