import type { Command } from 'commander';
import type { StartDrillFlags, StopDrillFlags } from './commands/drill.ts';
import type { HealthFlags } from './commands/health.ts';
import type { InspectFlags } from './commands/inspect.ts';
import type { PartitionFlags } from './commands/partitions.ts';
import type { StatusFlags } from './commands/status.ts';
import type { GlobalFlags } from './flags.ts';
import { repeatable, setExitCode } from './program.ts';

/** What shows how the agent and its keys are. */
export function addLookingCommands(dekctl: Command): void {
  dekctl
    .command('inspect')
    .description('show the public parts of a ciphertext, without an agent')
    .option('--in <file>', 'read the ciphertext from a file')
    .action(async (_, command: Command) => {
      const { inspect } = await import('./commands/inspect.ts');
      inspect(command.optsWithGlobals<InspectFlags>());
    });
  dekctl
    .command('describe')
    .description('show a key: state, suite, recipients, ages')
    .argument('<key>')
    .action(async (key: string, _, command: Command) => {
      const { describe } = await import('./commands/describe.ts');
      await describe(key, command.optsWithGlobals<GlobalFlags>());
    });
  dekctl
    .command('health')
    .description('end with 0 when the agent serves, with 1 when it does not')
    .option('--service <name>', 'the service to ask for; empty for the process alone', 'dekd.v1.KeyAgent')
    .action(async (_, command: Command) => {
      const { health } = await import('./commands/health.ts');
      setExitCode(dekctl, await health(command.optsWithGlobals<HealthFlags>()));
    });
  dekctl
    .command('status')
    .description('show what the agent holds and how its upstreams are (administration socket)')
    .option('--watch', 'show it again and again until Ctrl-C; with --json one document a line')
    .option('--interval <duration>', 'how long to wait in between, with --watch: 100ms to 1d (default 2s)')
    .action(async (_, command: Command) => {
      const { status } = await import('./commands/status.ts');
      await status(command.optsWithGlobals<StatusFlags>());
    });
}

/** What operators do with DEKs in memory, on the administration socket. */
export function addKeyringCommands(dekctl: Command): void {
  withPartition(dekctl.command('flush'))
    .description('zero the DEKs in memory of a key, or of every key that you may operate')
    .argument('[key]')
    .action(async (key: string | undefined, _, command: Command) => {
      const { flush } = await import('./commands/flush.ts');
      await flush(key, command.optsWithGlobals<PartitionFlags>());
    });
  withPartition(dekctl.command('warm'))
    .description('make the DEK that encrypts before it is used')
    .argument('<key>')
    .action(async (key: string, _, command: Command) => {
      const { warm } = await import('./commands/warm.ts');
      await warm(key, command.optsWithGlobals<PartitionFlags>());
    });
  const partitions = dekctl.command('partitions').description('refuse one partition of a key, e.g. one tenant');
  withPartition(partitions.command('disable'))
    .description('refuse every use of a partition, also with DEKs in memory')
    .argument('<key>')
    .action(async (key: string, _, command: Command) => {
      const { disablePartition } = await import('./commands/partitions.ts');
      await disablePartition(key, command.optsWithGlobals<PartitionFlags>());
    });
  withPartition(partitions.command('enable'))
    .description('serve a partition again (custodians)')
    .argument('<key>')
    .action(async (key: string, _, command: Command) => {
      const { enablePartition } = await import('./commands/partitions.ts');
      await enablePartition(key, command.optsWithGlobals<PartitionFlags>());
    });
}

/** What proves the outage contract of a running agent, on the administration socket. */
export function addDrillCommands(dekctl: Command): void {
  const drill = dekctl.command('drill').description('make an upstream fail on purpose, for a bounded time');
  drill
    .command('outage')
    .description('to this agent alone, let an upstream look as if it failed; ends by itself (custodians)')
    .requiredOption('--upstream <name>', 'the upstream, by its name in the configuration')
    .requiredOption('--for <duration>', 'how long, such as 2m; 1h at most')
    .option(
      '--class <class>',
      'unreachable, throttled, unauthenticated; or refused, which zeroes DEKs as a revocation does',
      'unreachable',
    )
    .action(async (_, command: Command) => {
      const { startDrill } = await import('./commands/drill.ts');
      await startDrill(command.optsWithGlobals<StartDrillFlags>());
    });
  drill
    .command('stop')
    .description('end a drill before its time (custodians)')
    .requiredOption('--upstream <name>', 'the upstream, by its name in the configuration')
    .action(async (_, command: Command) => {
      const { stopDrill } = await import('./commands/drill.ts');
      await stopDrill(command.optsWithGlobals<StopDrillFlags>());
    });
}

function withPartition(command: Command): Command {
  const text = 'an entry of the partition, one for each that the key partitions by';
  return command.addOption(repeatable('--partition <name=value>', text));
}
