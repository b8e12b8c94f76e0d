import test from 'ava';
import { parseConfig } from '../../src/config/load.ts';
import { BASE, place } from './example.ts';

const { groupFile, errorOf } = place(test);

test('wrap: any with a keystore that may die with its volume: refused in production, unless it is only a recovery', (t) => {
  const configure = (role: string, wrap: string, profile = 'production'): string =>
    BASE.replace('production', profile)
      .replace(
        'durable: true }',
        'durable: true }\n  spare: { type: local, directory: /var/lib/s, root_key: { file: /k } }',
      )
      .replace('role: authority }', `role: authority }, { upstream: spare, kek: "local:orders", role: ${role} }`)
      .replace('suite:', `wrap: ${wrap}\n    suite:`);
  for (const role of ['standby', 'authority']) {
    t.is(
      errorOf(configure(role, 'any')),
      'F:13:11: keys.orders.wrap: any may leave a DEK with upstream spare alone, a keystore that may die with its volume; say durable: true at the upstream if the directory outlives the pod',
    );
    t.is(parseConfig(configure(role, 'all'), 'F', { groupFile }).keys.get('orders')?.wrap, 'all');
    t.is(parseConfig(configure(role, 'any', 'development'), 'F', { groupFile }).keys.get('orders')?.wrap, 'any');
  }
  t.is(parseConfig(configure('recovery', 'any'), 'F', { groupFile }).keys.get('orders')?.wrap, 'any');
});

test('development allows what production refuses', (t) => {
  const text = BASE.replace('production', 'development')
    .replace('{ file: /run/secrets/root.key }', '{ development: true }')
    .replace('durable: true', 'durable: false')
    .replace('[user]', '[user, operator, custodian]')
    .replace('/run/dekd/agent.sock', 'agent.sock');
  t.is(parseConfig(text, 'F', { groupFile }).profile, 'development');
});
