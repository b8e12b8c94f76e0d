import test from 'ava';
import { formatLocalKek, parseKekReference, parseLocalKek } from '../../src/upstream/uri.ts';

test('every type of upstream has a scheme of its name', (t) => {
  for (const type of ['local', 'aws-kms', 'gcp-kms', 'azure-keyvault', 'vault-transit', 'pkcs11'] as const) {
    t.deepEqual(parseKekReference(`${type}:a:b/c`), { type, rest: 'a:b/c' });
  }
});

test('a reference without a known scheme is refused with the schemes', (t) => {
  for (const reference of ['', ':', ':orders', 'orders', 'LOCAL:orders', 'toString:orders', 'awskms:x', ' local:x']) {
    const error = t.throws(() => parseKekReference(reference), { name: 'DekdError' });
    t.is(
      error?.message,
      `kek: ${JSON.stringify(reference)} has no known scheme; a KEK is written with one of ` +
        'local:, aws-kms:, gcp-kms:, azure-keyvault:, vault-transit:, pkcs11:',
    );
  }
  const error = t.throws(() => parseKekReference('x'.repeat(100_000)));
  t.true(error!.message.length < 500);
});

test('a local KEK is a name, in a store or not', (t) => {
  t.deepEqual(parseLocalKek('local:orders'), { storeId: undefined, name: 'orders' });
  t.deepEqual(parseLocalKek('local:0123456789abcdef/orders'), { storeId: '0123456789abcdef', name: 'orders' });
  t.is(formatLocalKek('0123456789abcdef', 'orders'), 'local:0123456789abcdef/orders');
});

test('what is not a local KEK is refused', (t) => {
  for (const reference of [
    'local:',
    'local:/orders',
    'local:.orders',
    'local:or ders',
    'local:orders\n',
    `local:${'a'.repeat(129)}`,
    'local:0123456789ABCDEF/orders',
    'local:0123456789abcde/orders',
    'local:0123456789abcdef/',
    'local:0123456789abcdef/or/ders',
    'local://orders',
    'local:%6frders',
    'vault-transit:orders',
  ]) {
    t.throws(
      () => parseLocalKek(reference),
      { name: 'DekdError', message: /is not a KEK of a local upstream; write/ },
      reference,
    );
  }
});
