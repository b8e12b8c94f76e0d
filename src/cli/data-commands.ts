import type { Command } from 'commander';
import type { DecryptFlags } from './commands/decrypt.ts';
import type { EncryptFlags } from './commands/encrypt.ts';
import type { GenerateDataKeyFlags } from './commands/generate-data-key.ts';
import type { ReEncryptFlags } from './commands/re-encrypt.ts';
import type { RewrapFlags } from './commands/rewrap.ts';
import { repeatable } from './program.ts';

/** What applications do with keys, on the agent's socket. */
export function addDataCommands(dekctl: Command): void {
  addEncrypt(dekctl);
  addDecrypt(dekctl);
  addGenerateDataKey(dekctl);
  addReEncrypt(dekctl);
  addRewrap(dekctl);
}

function addEncrypt(dekctl: Command): void {
  withBinding(dekctl.command('encrypt'))
    .description('encrypt standard input (or --in) under a key')
    .requiredOption('--key <name>', 'the key to encrypt under')
    .option('--in <file>', 'read the plaintext from a file')
    .option('--out <file>', 'write the ciphertext to a file')
    .option('--force', 'write bytes even to a terminal')
    .option('--dry-run', 'say whether it would be served, encrypt nothing')
    .action(async (_, command: Command) => {
      const { encrypt } = await import('./commands/encrypt.ts');
      await encrypt(command.optsWithGlobals<EncryptFlags>());
    });
}

function addDecrypt(dekctl: Command): void {
  withBinding(dekctl.command('decrypt'))
    .description('open what encrypt or generate-data-key made')
    .option('--expected-key <name>', 'refuse a ciphertext of another key')
    .option('--in <file>', 'read the ciphertext from a file')
    .option('--out <file>', 'write the plaintext to a new file of mode 0600')
    .option('--force', 'write the plaintext even to a terminal or over an existing file')
    .option('--dry-run', 'say whether it would be served, decrypt nothing')
    .action(async (_, command: Command) => {
      const { decrypt } = await import('./commands/decrypt.ts');
      await decrypt(command.optsWithGlobals<DecryptFlags>());
    });
}

function addGenerateDataKey(dekctl: Command): void {
  withBinding(dekctl.command('generate-data-key'))
    .description('make a data key for your own use, in the clear and encrypted')
    .requiredOption('--key <name>', 'the key to encrypt it under')
    .option('--bytes <number>', 'its length, 1 to 1024', '32')
    .option('--out-ciphertext <file>', 'write the encrypted data key to a file')
    .option('--out <file>', 'write the clear data key to a new file of mode 0600')
    .option('--without-plaintext', 'make the encrypted data key only')
    .option('--force', 'write the clear data key even to a terminal or over an existing file')
    .option('--dry-run', 'say whether it would be served, make nothing')
    .action(async (_, command: Command) => {
      const { generateDataKey } = await import('./commands/generate-data-key.ts');
      await generateDataKey(command.optsWithGlobals<GenerateDataKeyFlags>());
    });
}

function addReEncrypt(dekctl: Command): void {
  withBinding(dekctl.command('re-encrypt'))
    .description('encrypt a ciphertext anew under another key or context; the plaintext stays in the agent')
    .requiredOption('--key <name>', 'the key to encrypt under')
    .addOption(repeatable('--source-context <name=value>', 'an entry of the context that the ciphertext was made with'))
    .option('--source-aad <text>', 'associated data that the ciphertext was made with')
    .option('--source-aad-file <file>', 'the same from a file')
    .option('--in <file>', 'read the ciphertext from a file')
    .option('--out <file>', 'write the new ciphertext to a file')
    .option('--force', 'write bytes even to a terminal')
    .action(async (_, command: Command) => {
      const { reEncrypt } = await import('./commands/re-encrypt.ts');
      await reEncrypt(command.optsWithGlobals<ReEncryptFlags>());
    });
}

function addRewrap(dekctl: Command): void {
  dekctl
    .command('rewrap')
    .description("wrap a ciphertext's DEK for today's recipients and KEK versions (operators)")
    .option('--in <file>', 'read the ciphertext from a file')
    .option('--out <file>', 'write the rewrapped ciphertext to a file')
    .option('--force', 'write bytes even to a terminal')
    .action(async (_, command: Command) => {
      const { rewrap } = await import('./commands/rewrap.ts');
      await rewrap(command.optsWithGlobals<RewrapFlags>());
    });
}

function withBinding(command: Command): Command {
  return command
    .addOption(repeatable('--context <name=value>', 'an entry of the encryption context; may be repeated'))
    .option('--aad <text>', 'associated data: authenticated, neither encrypted nor stored')
    .option('--aad-file <file>', 'associated data from a file');
}
