import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { fakeAgent, type Request } from '../fake-agent.ts';
import { dekctl, temporaryDirectory } from '../run.ts';

const directory = temporaryDirectory(test);
const agent = fakeAgent(test, {
  Rewrap: ({ ciphertext }: Request) => {
    const changed = ciphertext.toString() === 'old';
    return { ciphertext: changed ? Buffer.from('new') : ciphertext, changed };
  },
});

test.serial('a pipe through it', async (t) => {
  const { stdout, stderr, code } = await dekctl(['rewrap', ...agent.flags], { input: 'old' });
  t.deepEqual([stdout.toString(), stderr, code], ['new', '', 0]);
});

test.serial('nothing to do: the same bytes, and a note', async (t) => {
  const { stdout, stderr, code } = await dekctl(['rewrap', ...agent.flags], { input: 'today' });
  t.deepEqual([stdout.toString(), code], ['today', 0]);
  t.is(stderr, 'dekctl: note: nothing to rewrap: its recipients are those of today already\n');
});

test.serial('from file to file, and as a document', async (t) => {
  const [from, to] = [join(directory, 'from'), join(directory, 'to')];
  writeFileSync(from, 'old');
  t.is((await dekctl(['rewrap', '--in', from, '--out', to, ...agent.flags])).code, 0);
  t.is(readFileSync(to, 'utf8'), 'new');
  const { stdout, stderr } = await dekctl(['rewrap', '--json', ...agent.flags], { input: 'today' });
  t.deepEqual(JSON.parse(stdout.toString()), { ciphertext: 'dG9kYXk=', changed: false });
  t.is(stderr, '');
});
