import { registerHooks } from 'node:module';
import test from 'ava';
import { open } from '../../../src/upstream/aws-kms/provider.ts';

// In a file of its own: from here on this thread cannot load the SDK.
registerHooks({
  resolve: (specifier, context, next) => {
    if (!specifier.startsWith('@aws-sdk/')) return next(specifier, context);
    throw Object.assign(new Error(`Cannot find package '${specifier}'`), { code: 'ERR_MODULE_NOT_FOUND' });
  },
});

test('without the SDK the agent does not start, and names the packages to install', async (t) => {
  await t.throwsAsync(async () => open({ type: 'aws-kms' }, {}), {
    name: 'DekdError',
    message:
      'type aws-kms needs the AWS SDK, which is not installed beside dekd: npm install @aws-sdk/client-kms @aws-sdk/credential-providers',
  });
});
