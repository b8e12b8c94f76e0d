import test from 'ava';
import { keyState } from '../../src/api/key-state.ts';
import type { Keyring } from '../../src/keyring/keyring.ts';

function keyring(state: Keyring['state'], ...conditions: (readonly [role: string, condition: string | undefined])[]) {
  const recipients = conditions.map(([role, condition]) => ({ role, kek: { health: { condition } } }));
  return { state, options: { recipients } } as unknown as Keyring;
}

test('what is known of the KEKs’ life stands before what an upstream last answered', (t) => {
  t.is(keyState(keyring('active')), 'KEY_STATE_ACTIVE');
  t.is(keyState(keyring('disabled', ['authority', 'missing'])), 'KEY_STATE_DISABLED');
  t.is(keyState(keyring('pending-deletion')), 'KEY_STATE_PENDING_DELETION');
  t.is(keyState(keyring('archived')), 'KEY_STATE_ARCHIVED');
  t.is(keyState(keyring('destroyed')), 'KEY_STATE_DESTROYED');
});

test('where nothing is known, what the authorities last said; a standby’s word does not count', (t) => {
  t.is(keyState(keyring('active', ['standby', 'disabled'], ['authority', undefined])), 'KEY_STATE_ACTIVE');
  t.is(keyState(keyring('active', ['authority', undefined], ['authority', 'disabled'])), 'KEY_STATE_DISABLED');
  t.is(keyState(keyring('active', ['authority', 'missing'])), 'KEY_STATE_UNSPECIFIED');
});
