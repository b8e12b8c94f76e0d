import test from 'ava';
import { developmentConfig } from '../../src/config/defaults.ts';
import { DekdError } from '../../src/errors.ts';

test('the development configuration keeps everything in its directory and gives this user every role', (t) => {
  const config = developmentConfig('./.dekd');
  t.is(config.file, undefined);
  t.is(config.profile, 'development');
  t.is(config.listen.agent.path, '.dekd/agent.sock');
  t.is(config.listen.admin.path, '.dekd/admin.sock');
  t.is(config.listen.agent.mode, 0o600);
  t.is(config.memory.lock, 'best-effort');
  t.deepEqual(config.upstreams.get('local'), {
    type: 'local',
    directory: '.dekd/keystore',
    rootKey: { development: true },
    durable: false,
    schedule: { rotateAfterMs: undefined, maxVersions: undefined },
    keks: new Map(),
  });
  t.deepEqual(config.warnings, []);
  t.deepEqual([...config.keys.keys()], ['default']);
  const uid = process.getuid?.();
  t.deepEqual(config.keys.get('default')?.allow, [{ uid, roles: ['user', 'operator', 'custodian', 'auditor'] }]);
  t.deepEqual(config.admin, [{ uid, roles: ['custodian', 'operator'] }]);
  t.true(Object.isFrozen(config.keys.get('default')?.cache));
});

test('a state directory too long for sockets is refused with the way out', (t) => {
  const error = t.throws(() => developmentConfig(`/tmp/${'d'.repeat(195)}`), { instanceOf: DekdError });
  t.regex(error.message, /: the path has 211 bytes, a Unix socket's at most 107; choose a shorter directory/);
});

test('the uid that stands for anybody is refused with the way out', (t) => {
  const error = t.throws(() => developmentConfig('./.dekd', 65_534), { instanceOf: DekdError });
  t.is(error.message, 'uid 65534 stands for anybody: run dekd as a user of its own');
  t.deepEqual(developmentConfig('./.dekd', 1234).admin, [{ uid: 1234, roles: ['custodian', 'operator'] }]);
});
