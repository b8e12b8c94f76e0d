import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';
import { loadConfig } from '../../src/config/load.ts';
import { DekdError } from '../../src/errors.ts';
import { BASE, place } from './example.ts';

const { directory, file, groupFile } = place(test);

test('files that are no configuration: one line that names the file', (t) => {
  const bad = file('bad.yaml', Buffer.concat([Buffer.from('profile: x\n# '), Buffer.from([0xff, 0x0a])]));
  const cut = file('cut.yaml', Buffer.from([0x61, 0xc3]));
  const large = file('large.yaml', `#${'x'.repeat(2 ** 18)}`);
  const missing = join(directory, 'missing.yaml');
  const cases: readonly [string, string][] = [
    [missing, `${missing}: no such file; name an existing configuration file`],
    [directory, `${directory}: a directory; name the file inside it`],
    [bad, `${bad}:2:1: not UTF-8 text; save the file as UTF-8`],
    [cut, `${cut}:1:1: not UTF-8 text; save the file as UTF-8`],
    [large, `${large}: over 256 KiB; a configuration file is smaller`],
    ['/dev/zero', '/dev/zero: over 256 KiB; a configuration file is smaller'],
  ];
  for (const [path, message] of cases) {
    t.is(t.throws(() => loadConfig(path), { instanceOf: DekdError }).message, message);
  }
});

test('a byte order mark and CRLF are no faults', (t) => {
  const path = file('windows.yaml', `\ufeff${BASE.replaceAll('\n', '\r\n')}`);
  t.is(loadConfig(path, { groupFile }).keys.size, 1);
});

test('a pipe can be a configuration', (t) => {
  const source = new URL('../../src/config/load.ts', import.meta.url);
  const script = `const { loadConfig } = await import(${JSON.stringify(source.href)}); process.stdout.write(loadConfig('/dev/stdin', { groupFile: ${JSON.stringify(groupFile)} }).profile)`;
  t.is(
    execFileSync('sh', [
      '-c',
      'printf %s "$1" | "$2" --input-type=module -e "$3"',
      'sh',
      BASE,
      process.execPath,
      script,
    ]).toString(),
    'production',
  );
});

for (const [name, profile] of [
  ['production', 'production'],
  ['systemd', 'production'],
  ['development', 'development'],
] as const) {
  test(`examples/${name}.yaml loads, without a warning`, (t) => {
    const path = new URL(`../../examples/${name}.yaml`, import.meta.url).pathname;
    const config = loadConfig(path, { groupFile });
    t.is(config.profile, profile);
    t.deepEqual(config.warnings, []);
  });
}
