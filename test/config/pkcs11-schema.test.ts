import test from 'ava';
import type { Pkcs11Config } from '../../src/config/config.ts';
import { type Pkcs11Options, pkcs11 } from '../../src/upstream/pkcs11/options.ts';
import { base, type Fields, key, parse, problemsOf } from './parse.ts';

const recipients = [{ upstream: 'store', kek: 'pkcs11:object=orders;token=hsm-a', role: 'authority' }];
const hsm = (changes: Fields = {}): Fields => ({
  type: 'pkcs11',
  module_path: '/usr/lib/hsm.so',
  pin: { file: '/run/pin' },
  ...changes,
});
const config = (changes: Fields = {}, more: Fields = {}): Fields =>
  base({ upstreams: { store: hsm(changes) }, keys: { orders: key('orders', { recipients }) }, ...more });
const problems = (changes: Fields) => problemsOf(config(changes));

function store(changes: Fields = {}): Pkcs11Config {
  const found = parse(config(changes)).upstreams.get('store');
  if (found?.type !== 'pkcs11') throw new Error('no pkcs11 upstream');
  return found;
}

test('what the configuration says is what the provider takes', (t) => {
  const options: Pkcs11Options = store();
  t.like(options, {
    type: 'pkcs11',
    modulePath: '/usr/lib/hsm.so',
    pin: { file: '/run/pin' },
    environment: [],
    maxSessions: 16,
  });
  for (const name of ['tokens', 'libraryParameters', 'origin']) t.false(name in options);
  t.deepEqual(JSON.parse(JSON.stringify(options)), options, 'it travels as JSON');
  t.is(pkcs11.resolve(recipients[0]!.kek, options), recipients[0]!.kek);
  t.deepEqual(pkcs11.readPaths(options), ['/run/pin']);
});

test('what is further set', (t) => {
  const changes = {
    pin: { credential: 'hsm-pin' },
    tokens: ['hsm-a', 'My HSM'],
    max_sessions: 4,
    library_parameters: "configdir='/etc/hsm'",
    origin: 'unproven',
    environment: ['HSM_CONF'],
  };
  t.like(store(changes), {
    pin: { credential: 'hsm-pin' },
    tokens: ['hsm-a', 'My HSM'],
    maxSessions: 4,
    libraryParameters: "configdir='/etc/hsm'",
    origin: 'unproven',
    environment: ['HSM_CONF'],
  });
});

const PIN = '{ file: PATH } or { credential: NAME }';
const wrong: readonly [changes: Fields, problem: string][] = [
  [{ module_path: 'hsm.so' }, 'module_path: found "hsm.so", expected an absolute path'],
  [{ module_path: undefined }, 'module_path: found nothing, expected an absolute path'],
  [{ pin: '1234' }, `pin: found a value that is not shown, expected ${PIN}`],
  [{ pin: {} }, `pin: found an empty map, expected ${PIN}`],
  [{ pin: { file: '/a', credential: 'b' } }, 'pin: two are set, file and credential; keep one'],
  [{ pin: { value: '1234' } }, 'pin.value: unknown field; known here: file, credential'],
  [{ pin: { file: 'pin' } }, 'pin.file: a relative path; production needs an absolute one'],
  [{ tokens: [] }, 'tokens: found an empty list, expected a list of 1 to 16 labels of tokens'],
  [{ tokens: ['blank '] }, 'tokens[0]: found "blank ", expected the label of a token'],
  [{ tokens: ['x'.repeat(33)] }, `tokens[0]: found "${'x'.repeat(33)}", expected the label of a token`],
  [{ max_sessions: 0 }, 'max_sessions: found 0, expected a whole number from 1 to 64'],
  [{ max_sessions: 65 }, 'max_sessions: found 65, expected a whole number from 1 to 64'],
  [{ library_parameters: '' }, 'library_parameters: found "", expected text of 1 to 1024 characters'],
  [{ origin: 'proven' }, 'origin: found "proven", expected unproven'],
];
for (const [changes, problem] of wrong) {
  test(`${JSON.stringify(changes)} is refused`, (t) => {
    t.deepEqual(problems(changes), [`upstreams.store.${problem}`]);
  });
}

test('a PIN in a KEK is not shown', (t) => {
  const kek = 'pkcs11:object=a;token=t?pin-value=12345678';
  const keys = { orders: key('orders', { recipients: [{ upstream: 'store', kek, role: 'authority' }] }) };
  t.deepEqual(problemsOf(config({}, { keys })), []);
  const options = { type: 'pkcs11', modulePath: '/usr/lib/hsm.so', pin: { file: '/run/pin' } } as const;
  const error = t.throws(() => pkcs11.resolve(kek, options), { name: 'DekdError' });
  t.regex(error!.message, /pin-value: a PIN has no place in a URI/);
});
