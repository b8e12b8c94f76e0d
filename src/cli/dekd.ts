import { existsSync, mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Config } from '../config/config.ts';
import type { RunningDaemon } from '../daemon/daemon.ts';
import { EVENTS } from '../telemetry/names.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { CliError, note, reportStart, systemProblem } from './messages.ts';
import { program, runProgram } from './program.ts';
import { checkNodeVersion, checkSwitches } from './runtime.ts';
import { packageVersion } from './version.ts';

interface Flags {
  readonly config?: string;
  readonly check?: boolean;
  readonly development?: boolean;
  readonly state: string;
}

const dekd = program('dekd')
  .description('Per-pod key agent: encrypts, decrypts and hands out data keys over a Unix socket.')
  .version(packageVersion(), '-V, --version', 'print the version')
  .helpOption('-h, --help', 'print this help')
  .option('--config <file>', 'the configuration (DEKD_CONFIG); docs/configuration.md')
  .option('--check', 'check the configuration and end')
  .option('--development', 'run without a configuration: one key `default`, for this user, for trying dekd out')
  .option('--state <directory>', 'where --development keeps its sockets and keys', './.dekd')
  .action(run);

const exitCode = await runProgram(dekd, process.argv.slice(2));
if (exitCode !== EXIT.ok) process.exit(exitCode);

async function run(flags: Flags): Promise<void> {
  checkNodeVersion();
  const config = await configuration(flags);
  if (flags.check === true) {
    for (const warning of [...config.warnings, ...(await revocationsWarnings(config))]) note('dekd', warning);
    process.stdout.write(`${config.file ?? flags.state}: ok, ${counted(config)}, profile ${config.profile}\n`);
    return;
  }
  for (const warning of checkSwitches(config.profile)) note('dekd', warning);
  // Node opens its inspector on SIGUSR1; a listener of our own stands in its place. bin/dekd turns it off altogether.
  process.on('SIGUSR1', () => undefined);
  if (config.file === undefined) makeStateDirectory(flags.state);
  await serve(config);
}

async function configuration(flags: Flags): Promise<Config> {
  const file = flags.config ?? (process.env['DEKD_CONFIG'] || undefined);
  if (flags.development === true) {
    if (flags.config !== undefined) throw new CliError(EXIT.usage, '--config and --development: give one of the two');
    const { developmentConfig } = await import('../config/defaults.ts');
    return developmentConfig(flags.state);
  }
  if (file === undefined) {
    const text = 'no configuration is named; give --config FILE or DEKD_CONFIG, or try dekd out with --development';
    throw new CliError(EXIT.usage, text);
  }
  const [{ loadConfig }, { kekProblem, kekProblemAtStart }] = await Promise.all([
    import('../config/load.ts'),
    import('../upstream/kek-references.ts'),
  ]);
  return loadConfig(file, { kekProblem: flags.check === true ? kekProblem : kekProblemAtStart });
}

/** Of the file of revocations, which has to be right as well; where a configuration is checked it need not be. */
async function revocationsWarnings({ revocations: file, keys }: Config): Promise<readonly string[]> {
  if (file === undefined) return [];
  if (!existsSync(file)) return [`${file}: no such file here; dekd does not start without it`];
  const { parseRevocations, readRevocations } = await import('../config/revocations.ts');
  return parseRevocations(await readRevocations(file), file, keys).warnings;
}

async function serve(config: Config): Promise<void> {
  const [{ startDaemon }, { createLogger }] = await Promise.all([
    import('../daemon/daemon.ts'),
    import('../telemetry/logger.ts'),
  ]);
  const logger = createLogger(config.log.level);
  const starting = startDaemon(config, { logger, version: packageVersion() });
  stopOnSignals(starting);
  const daemon = await starting.catch((error: unknown) => process.exit(reportStart('dekd', error)));
  process.once('uncaughtException', (error) => {
    logger.fatal({ event: EVENTS.internalError, err: error }, 'internal error');
    process.exit(EXIT.failure);
  });
  if (config.file === undefined) process.stdout.write(banner(daemon));
}

/** One Ctrl-C comes twice under npm: from the terminal, and passed on by npm. */
const SAME_SIGNAL_MS = 1_000;

/** The first signal lets running calls end; who asks again does not want to wait. */
function stopOnSignals(starting: Promise<RunningDaemon>): void {
  let firstAtMs: number | undefined;
  const stop = () => {
    if (firstAtMs !== undefined) {
      if (performance.now() - firstAtMs > SAME_SIGNAL_MS) process.exit(EXIT.interrupted);
      return;
    }
    firstAtMs = performance.now();
    starting
      .then((daemon) => daemon.stop())
      .then(
        () => process.exit(EXIT.ok),
        (error: unknown) => process.exit(reportStart('dekd', error)),
      );
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  // The terminal was closed.
  process.on('SIGHUP', stop);
}

function makeStateDirectory(directory: string): void {
  try {
    mkdirSync(resolve(directory), { recursive: true, mode: 0o700 });
  } catch (error) {
    // mkdir says EEXIST of anything but a directory.
    const problem =
      (error as NodeJS.ErrnoException).code === 'EEXIST' ? 'is a file, no directory' : systemProblem(error);
    const text = `${directory}: ${problem}; choose another place with --state DIRECTORY`;
    throw new CliError(EXIT.failure satisfies ExitCode, text);
  }
}

function banner({ agentSocket, adminSocket, readyMs }: RunningDaemon): string {
  return `dekd ${packageVersion()} is ready after ${Math.round(readyMs)} ms: development only, not for real data

  agent socket  ${agentSocket}
  admin socket  ${adminSocket}
  key           default

Try it in a second shell:

  echo hello | npx dekctl encrypt --key default --context tenant=acme > c && npx dekctl decrypt --context tenant=acme < c

Ctrl-C stops it.
`;
}

function counted({ keys, upstreams }: Config): string {
  const plural = (count: number, name: string) => `${count} ${name}${count === 1 ? '' : 's'}`;
  return `${plural(keys.size, 'key')}, ${plural(upstreams.size, 'upstream')}`;
}
