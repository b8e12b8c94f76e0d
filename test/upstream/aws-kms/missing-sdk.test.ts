import { registerHooks } from 'node:module';
import test from 'ava';
import { open } from '../../../src/upstream/aws-kms/provider.ts';

let failure = {};

// In a file of its own: from here on this thread cannot load the SDK.
registerHooks({
  resolve: (specifier, context, next) => {
    if (!specifier.startsWith('@aws-sdk/')) return next(specifier, context);
    throw Object.assign(new Error(`Cannot find package '${specifier}'`), failure);
  },
});

test.serial('without the SDK the agent does not start, and names the packages to install', async (t) => {
  failure = { code: 'ERR_MODULE_NOT_FOUND' };
  await t.throwsAsync(async () => open({ type: 'aws-kms' }, {}), {
    name: 'DekdError',
    message:
      'type aws-kms needs the AWS SDK, which is not installed beside dekd: npm install @aws-sdk/client-kms @aws-sdk/credential-providers',
  });
});

test.serial('nor does it where the SDK lies out of reach, and names the place', async (t) => {
  failure = { code: 'ERR_ACCESS_DENIED', resource: '/outer/node_modules/@aws-sdk/client-kms/package.json' };
  await t.throwsAsync(async () => open({ type: 'aws-kms' }, {}), {
    name: 'DekdError',
    message: /may not read \(\/outer\/node_modules\/@aws-sdk\/client-kms\/package\.json\): npm install @aws-sdk/,
  });
});
