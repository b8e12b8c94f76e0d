import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';

const SOFTHSM = '/usr/lib/softhsm/libsofthsm2.so';
const SO_PIN = '12345678';
const ROOT = join(import.meta.dirname, '..', '..', '..');

const BINDING = join(ROOT, 'node_modules', 'pkcs11js', 'build', 'Release');

export const hasSoftHsm = existsSync(SOFTHSM) && existsSync(BINDING);

/** Whether a test that needs SoftHSM can run. Where it cannot, it says so loudly, and in CI (`CI=true`) it fails. */
export function requireSoftHsm(t: ExecutionContext): boolean {
  if (hasSoftHsm) return true;
  const message = `NOT RUN: "${t.title}" needs SoftHSM and pkcs11js; install them with: test/counterparts/softhsm/install.sh and npm ci (with a C++ compiler)`;
  process.stderr.write(`\n${message}\n\n`);
  if (process.env['CI'] === 'true') t.fail(message);
  else t.pass(message);
  return false;
}

type Allows = readonly ('ENCRYPT' | 'DECRYPT' | 'WRAP' | 'UNWRAP')[];

export type Command =
  | {
      readonly do: 'generate';
      readonly label: string;
      readonly id?: string;
      readonly kind: 'aes' | 'rsa';
      readonly allows: readonly string[];
    }
  | { readonly do: 'import'; readonly label: string; readonly value: string; readonly allows: Allows }
  | { readonly do: 'change'; readonly label: string; readonly attribute: string; readonly value: boolean }
  | { readonly do: 'destroy'; readonly label: string };

/** Tokens in a directory of their own, and a library in front of SoftHSM that can be told to fail. */
export interface SoftHsm {
  readonly directory: string;
  /** SoftHSM itself; it wants `configuration` in SOFTHSM2_CONF. */
  readonly library: string;
  readonly configuration: string;
  /** interposer.c, with what it wants as parameters of the library. */
  readonly interposer: string;
  readonly parameters: string;
  /** A token with a user's PIN. Returns the directory in which it is kept. */
  initialize(label: string, pin: string): string;
  administer(token: string, pin: string, ...commands: Command[]): void;
  /** Lines for the interposer; none: it only passes on. */
  control(...lines: string[]): void;
  /** Functions that were called, in their order, since `control` was. */
  calls(): string[];
  stop(): void;
}

export function startSoftHsm(): SoftHsm {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-softhsm-'));
  const configuration = join(directory, 'softhsm2.conf');
  const control = join(directory, 'control');
  const tokens = join(directory, 'tokens');
  mkdirSync(tokens);
  writeFileSync(configuration, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  const interposer = compileInterposer(directory);
  const run = (command: string, ...args: string[]): void => {
    execFileSync(command, args, {
      env: { ...process.env, SOFTHSM2_CONF: configuration },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  };
  return {
    directory,
    library: SOFTHSM,
    configuration,
    interposer,
    parameters: `conf=${configuration} control=${control}`,
    initialize: (label, pin) => {
      const before = readdirSync(tokens);
      run('softhsm2-util', '--init-token', '--free', '--label', label, '--so-pin', SO_PIN, '--pin', pin);
      return join(tokens, readdirSync(tokens).find((name) => !before.includes(name))!);
    },
    administer: (token, pin, ...commands) =>
      run(
        process.execPath,
        fileURLToPath(new URL('administer.ts', import.meta.url)),
        SOFTHSM,
        JSON.stringify({ token, pin, commands }),
      ),
    control: (...lines) => {
      writeFileSync(control, lines.map((line) => `${line}\n`).join(''));
      rmSync(`${control}.log`, { force: true });
    },
    calls: () =>
      existsSync(`${control}.log`) ? readFileSync(`${control}.log`, 'latin1').split('\n').slice(0, -1) : [],
    stop: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** AES with what `allows` names. */
export function aesKey(label: string, allows: Allows, id = '01'): Command {
  return { do: 'generate', label, id, kind: 'aes', allows };
}

function compileInterposer(directory: string): string {
  const library = join(directory, 'interposer.so');
  const headers = join(dirname(join(ROOT, 'node_modules', 'pkcs11js', 'package.json')), 'includes', 'pkcs11');
  const source = fileURLToPath(new URL('interposer.c', import.meta.url));
  const flags = ['-shared', '-fPIC', '-O1', '-Wall', '-Wextra', '-Werror', `-DSOFTHSM="${SOFTHSM}"`, `-I${headers}`];
  execFileSync(process.env['CC'] ?? 'cc', [...flags, '-o', library, source, '-ldl']);
  return library;
}
