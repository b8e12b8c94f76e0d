import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { groupId } from '../../src/config/groups.ts';

const directory = mkdtempSync(join(tmpdir(), 'dekd-groups-'));
test.after.always(() => rmSync(directory, { recursive: true }));
const file = join(directory, 'group');
writeFileSync(file, 'root:x:0:\n# app:x:1:\n\nbroken\nodd:x:12a:\nlong:x:12345678901:\napp:x:4321:a,b\napp:x:1:\n');

test('a group has the number of the first line that names it so', (t) => {
  t.is(groupId('root', file), 0);
  t.is(groupId('app', file), 4321);
});

test('what the file does not name, or names without a number, has none', (t) => {
  for (const name of ['nobody', 'broken', 'odd', 'long', 'a', '']) t.is(groupId(name, file), undefined, name);
  t.is(groupId('root', join(directory, 'absent')), undefined);
  t.is(groupId('root', directory), undefined);
});
