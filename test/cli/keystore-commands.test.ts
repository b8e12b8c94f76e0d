import test from 'ava';
import { addKeystoreCommands } from '../../src/cli/keystore-commands.ts';
import { program } from '../../src/cli/program.ts';

const flagsOf = (name: string): string[] => {
  const dekctl = program('dekctl');
  addKeystoreCommands(dekctl);
  const keystore = dekctl.commands.find((command) => command.name() === 'keystore');
  return keystore?.commands.find((command) => command.name() === name)?.options.map(({ long }) => long ?? '') ?? [];
};

const SOURCES = ['root-key', 'credential', 'passphrase-file', 'passphrase-credential'];

test('each offline command takes a root key from each source', (t) => {
  const plain = SOURCES.map((name) => `--${name}`);
  t.deepEqual(flagsOf('check'), [...plain, '--directory']);
  t.deepEqual(flagsOf('restore'), [...plain, '--from', '--directory', '--replace']);
  const both = ['old', 'new'].flatMap((which) => SOURCES.map((name) => `--${which}-${name}`));
  t.deepEqual(flagsOf('change-root-key'), [...both, '--directory']);
});

test('a backup takes none: the agent has it', (t) => {
  t.deepEqual(flagsOf('backup'), ['--out', '--upstream', '--force']);
});
