import test from 'ava';
import { rootKeySource } from '../../src/cli/root-key-flags.ts';

test('each flag names its source', (t) => {
  t.deepEqual(rootKeySource({ rootKey: 'a' }), { file: 'a' });
  t.deepEqual(rootKeySource({ credential: 'a' }), { credential: 'a' });
  t.deepEqual(rootKeySource({ passphraseFile: 'a' }), { passphrase: { file: 'a' } });
  t.deepEqual(rootKeySource({ passphraseCredential: 'a' }), { passphrase: { credential: 'a' } });
});

test('none and several are refused with the names of all', (t) => {
  const names = '--root-key FILE, --credential NAME, --passphrase-file FILE, --passphrase-credential NAME';
  t.throws(() => rootKeySource({}), { name: 'CliError', message: `give one of ${names}` });
  t.throws(() => rootKeySource({ rootKey: 'a', credential: 'b' }), { message: `give one of ${names}, not several` });
  t.throws(() => rootKeySource({ passphraseFile: 'a', passphraseCredential: 'b' }, 'old-'), {
    message: /^give one of --old-root-key FILE, --old-credential NAME, .*, not several$/,
  });
});
