import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ExecutionContext } from 'ava';

const SOFTHSM = '/usr/lib/softhsm/libsofthsm2.so';
const SO_PIN = '12345678';
const ROOT = join(import.meta.dirname, '..', '..', '..');

/** What pkcs11js is compiled to. */
const BINDING = join(ROOT, 'node_modules', 'pkcs11js', 'build', 'Release', 'pkcs11.node');

export const hasBinding = existsSync(BINDING);
export const hasSoftHsm = existsSync(SOFTHSM) && hasBinding;

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

/** Tokens in a directory of their own, and a library in front of SoftHSM (or kryoptic) that can be told to fail. */
export interface SoftHsm {
  readonly directory: string;
  /** SoftHSM itself; it wants `configuration` in SOFTHSM2_CONF (kryoptic: KRYOPTIC_CONF). */
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
  const tokens = join(directory, 'tokens');
  mkdirSync(tokens);
  writeFileSync(configuration, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  const environment = { SOFTHSM2_CONF: configuration };
  return {
    ...interposed({ directory, library: SOFTHSM, configuration, environment }),
    initialize: (label, pin) => {
      const before = readdirSync(tokens);
      const args = ['--init-token', '--free', '--label', label, '--so-pin', SO_PIN, '--pin', pin];
      runWith(environment, 'softhsm2-util', ...args);
      return join(tokens, readdirSync(tokens).find((name) => !before.includes(name))!);
    },
  };
}

export interface Interposed {
  readonly directory: string;
  readonly library: string;
  readonly configuration: string;
  /** By which the library finds its configuration. */
  readonly environment: Readonly<Record<string, string>>;
}

/** All but how a token is made. */
export function interposed({
  directory,
  library,
  configuration,
  environment,
}: Interposed): Omit<SoftHsm, 'initialize'> {
  const control = join(directory, 'control');
  const administer = join(import.meta.dirname, 'administer.ts');
  return {
    directory,
    library,
    configuration,
    interposer: compileInterposer(directory, library),
    parameters: `conf=${configuration} control=${control}`,
    administer: (token, pin, ...commands) =>
      runWith(environment, process.execPath, administer, library, JSON.stringify({ token, pin, commands })),
    control: (...lines) => {
      writeFileSync(control, lines.map((line) => `${line}\n`).join(''));
      for (const suffix of ['log', 'once']) rmSync(`${control}.${suffix}`, { force: true });
    },
    calls: () =>
      existsSync(`${control}.log`) ? readFileSync(`${control}.log`, 'latin1').split('\n').slice(0, -1) : [],
    stop: () => rmSync(directory, { recursive: true, force: true }),
  };
}

export function runWith(environment: Readonly<Record<string, string>>, command: string, ...args: string[]): void {
  execFileSync(command, args, { env: { ...process.env, ...environment }, stdio: ['ignore', 'ignore', 'pipe'] });
}

/** AES with what `allows` names. */
export function aesKey(label: string, allows: Allows, id = '01'): Command {
  return { do: 'generate', label, id, kind: 'aes', allows };
}

/** A library that passes on to `behind`, and fails where it is told to. */
function compileInterposer(directory: string, behind: string): string {
  const library = join(directory, 'interposer.so');
  const headers = join(dirname(join(ROOT, 'node_modules', 'pkcs11js', 'package.json')), 'includes', 'pkcs11');
  const source = join(import.meta.dirname, 'interposer.c');
  const flags = ['-shared', '-fPIC', '-O1', '-Wall', '-Wextra', '-Werror', `-DLIBRARY="${behind}"`, `-I${headers}`];
  execFileSync(process.env['CC'] ?? 'cc', [...flags, '-o', library, source, '-ldl', '-lpthread']);
  return library;
}
