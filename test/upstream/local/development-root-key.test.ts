import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { makeDevelopmentRootKey } from '../../../src/upstream/local/development-root-key.ts';
import { makePlace } from './fixture.ts';

test('32 random bytes of mode 0600; what a crash left of an earlier attempt is no obstacle', (t) => {
  const { directory } = makePlace(t);
  mkdirSync(directory, { mode: 0o700 });
  const file = join(directory, 'root.key');
  writeFileSync(`${file}.new`, 'half');
  makeDevelopmentRootKey(directory, file);
  const key = readFileSync(file);
  t.is(key.length, 32);
  t.true(new Set(key).size > 8);
  t.is(statSync(file).mode & 0o777, 0o600);
  t.deepEqual(readdirSync(directory), ['root.key']);
});

test('a key that is there is kept', (t) => {
  const { directory } = makePlace(t);
  mkdirSync(directory, { mode: 0o700 });
  const file = join(directory, 'root.key');
  makeDevelopmentRootKey(directory, file);
  const key = readFileSync(file);
  makeDevelopmentRootKey(directory, file);
  t.deepEqual(readFileSync(file), key);
});
