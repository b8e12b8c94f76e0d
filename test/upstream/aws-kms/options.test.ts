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
