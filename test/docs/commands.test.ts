import { readFileSync } from 'node:fs';
import test from 'ava';
import type { Command } from 'commander';
import { addDrillCommands, addKeyringCommands, addLookingCommands } from '../../src/cli/agent-commands.ts';
import { addDataCommands } from '../../src/cli/data-commands.ts';
import { addKeyCommands } from '../../src/cli/key-commands.ts';
import { addKeystoreCommands } from '../../src/cli/keystore-commands.ts';
import { program } from '../../src/cli/program.ts';

const page = readFileSync(new URL('../../docs/command-line.md', import.meta.url), 'utf8');
/** First cells of the tables of commands: `keys disable KEY` → `keys disable`. */
const documented = [...page.matchAll(/^\| `([a-z][a-z -]*?)(?: (?:[A-Z[]|--)[^`]*)?` +\| [a-z]/gm)].map(
  ([, name]) => name,
);

function commands(): Map<string, Command> {
  const dekctl = program('dekctl');
  addDataCommands(dekctl);
  addLookingCommands(dekctl);
  addKeyCommands(dekctl);
  addKeyringCommands(dekctl);
  addDrillCommands(dekctl);
  addKeystoreCommands(dekctl);
  return new Map(dekctl.commands.flatMap((command) => leaves(command, '')));
}

function leaves(command: Command, before: string): [string, Command][] {
  const name = `${before}${command.name()}`;
  if (command.commands.length === 0) return [[name, command]];
  return command.commands.flatMap((inner) => leaves(inner, `${name} `));
}

test('docs/command-line.md has a row for every command, and none for another', (t) => {
  t.deepEqual([...documented].sort(), [...commands().keys()].sort());
});

test('every command and every flag says what it does', (t) => {
  for (const [name, command] of commands()) {
    t.regex(command.description(), /^[a-z].{10,}[^.]$/, name);
    for (const option of command.options) t.regex(option.description, /^[a-z0-9].{4,}[^.]$/, `${name} ${option.flags}`);
  }
});
