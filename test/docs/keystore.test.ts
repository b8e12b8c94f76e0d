import { readFileSync } from 'node:fs';
import test from 'ava';
import { addKeystoreCommands } from '../../src/cli/keystore-commands.ts';
import { program } from '../../src/cli/program.ts';

const PAGE = readFileSync(new URL('../../docs/keystore.md', import.meta.url), 'utf8');

const dekctl = program('dekctl');
addKeystoreCommands(dekctl);
const commands = dekctl.commands[0]?.commands ?? [];

test('docs/keystore.md names every keystore command and every flag of them, and no other', (t) => {
  const flags = commands.flatMap(({ options }) => options.map(({ long }) => long ?? ''));
  // `--json` is of every command; the others belong to the programs that a line names.
  const others = ['--json', '--name', '--reuid', '--pipe', '--wait', '--uid'];
  const named = new Set(PAGE.match(/--[a-z]+(-[a-z]+)*/g));
  for (const flag of named) {
    if (flag === '--old' || flag === '--new') continue;
    t.true(flags.includes(flag) || others.includes(flag), `${flag} is in the page and of no command`);
  }
  for (const flag of flags) {
    const plain = flag.replace(/^--(old|new)-/, '--');
    t.true(named.has(flag) || named.has(plain), `${flag} is not in the page`);
  }
  for (const command of commands) t.true(PAGE.includes(`dekctl keystore ${command.name()}`), command.name());
});
