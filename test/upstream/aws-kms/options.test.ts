import test from 'ava';
import { awsKms, credentialFiles } from '../../../src/upstream/aws-kms/options.ts';

test('the child reads the files that the credential chain reads, and no others', (t) => {
  t.deepEqual(credentialFiles({ HOME: '/home/dekd' }), ['/home/dekd/.aws']);
  const environment = {
    HOME: '/home/dekd',
    AWS_WEB_IDENTITY_TOKEN_FILE: '/var/run/secrets/token',
    AWS_SHARED_CREDENTIALS_FILE: '/etc/aws/credentials',
    AWS_CONFIG_FILE: '',
  };
  t.deepEqual(credentialFiles(environment), ['/home/dekd/.aws', '/etc/aws/credentials', '/var/run/secrets/token']);
  t.true(awsKms.readPaths({ type: 'aws-kms' }).length >= 1);
});

test('the child sees no variable that is not of AWS, but HOME', (t) => {
  t.deepEqual(
    awsKms.environment.filter((name) => !name.startsWith('AWS_')),
    ['HOME'],
  );
  // Addresses come from the configuration.
  t.deepEqual(
    awsKms.environment.filter((name) => name.includes('ENDPOINT_URL')),
    [],
  );
});

test('each region is an endpoint that fails by itself; a given address is one for all', (t) => {
  const key = (region: string) => `aws-kms:arn:aws:kms:${region}:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab`;
  const multiRegion = 'aws-kms:arn:aws:kms::111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab';
  const options = { type: 'aws-kms', region: 'eu-north-1' } as const;
  t.is(awsKms.endpoint?.(key('eu-west-1'), options), 'eu-west-1');
  t.is(awsKms.endpoint?.(key('us-east-1'), options), 'us-east-1');
  t.is(awsKms.endpoint?.(multiRegion, options), 'eu-north-1');
  const endpoint = 'https://vpce-1.kms.eu-west-1.vpce.amazonaws.com';
  t.is(awsKms.endpoint?.(key('us-east-1'), { ...options, endpoint }), endpoint);
});
