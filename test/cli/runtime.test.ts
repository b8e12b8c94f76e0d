import test from 'ava';
import { CliError } from '../../src/cli/messages.ts';
import { checkNodeVersion, checkSwitches, revealingSwitches } from '../../src/cli/runtime.ts';

test('Node 24 is the floor', (t) => {
  for (const version of ['24.0.0', '26.10.0', '100.1.0']) t.notThrows(() => checkNodeVersion(version));
  for (const version of ['20.20.2', '22.14.0', '23.11.0']) {
    const error = t.throws(() => checkNodeVersion(version), { instanceOf: CliError });
    t.regex(error.message, new RegExp(`^Node ${version} is too old: dekd needs Node 24 or newer; run it with`));
    t.false(error.message.includes('\n'));
  }
});

const revealing = [
  '--inspect',
  '--inspect=127.0.0.1:0',
  '--inspect-brk',
  '--inspect_brk',
  '--debug-port=1',
  '--heapsnapshot-signal=SIGUSR2',
  '--heapsnapshot-near-heap-limit=1',
  '--heap-prof',
  '--cpu-prof',
  '--prof',
  '--report-on-signal',
  '--report-uncaught-exception',
  '--diagnostic-dir=/tmp',
  '-r',
  '--require=/tmp/x.js',
  '--import=/tmp/x.js',
  '--loader=/tmp/x.js',
  '--experimental-loader',
  '--experimental-config-file=x.json',
  '--openssl-config=/tmp/x',
  '--openssl-shared-config',
];
for (const name of revealing) {
  test(`${name} is refused in production and noted in development`, (t) => {
    const error = t.throws(() => checkSwitches('production', ['--no-warnings', name], {}), { instanceOf: CliError });
    t.true(error.message.startsWith(`Node's switch ${name.split('=')[0]} may open this process's memory`));
    t.is(checkSwitches('development', [name], {}).length, 1);
  });
}

for (const name of ['NODE_OPTIONS', 'NODE_PATH', 'NODE_COMPILE_CACHE', 'OPENSSL_CONF', 'OPENSSL_MODULES']) {
  test(`any ${name} is refused in production: it reaches the process unseen`, (t) => {
    const error = t.throws(() => checkSwitches('production', [], { [name]: '/tmp/x' }), { instanceOf: CliError });
    t.true(error.message.startsWith(`the environment variable ${name} may open`));
    t.deepEqual(checkSwitches('production', [], { [name]: ' ' }), []);
  });
}

test('in development it is noted, save the compile cache, which `npm start` sets', (t) => {
  t.is(checkSwitches('development', [], { NODE_OPTIONS: '--inspect', OPENSSL_CONF: '/tmp/x' }).length, 2);
  t.deepEqual(checkSwitches('development', [], { NODE_COMPILE_CACHE: 'node_modules/.cache/dekd' }), []);
});

test("the launchers' own switches are fine", (t) => {
  t.deepEqual(revealingSwitches(['--disable-warning=ExperimentalWarning', '--disable-sigusr1'], {}), []);
});
