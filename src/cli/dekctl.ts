import { addDrillCommands, addKeyringCommands, addLookingCommands } from './agent-commands.ts';
import { addDataCommands } from './data-commands.ts';
import { addKeyCommands } from './key-commands.ts';
import { addKeystoreCommands } from './keystore-commands.ts';
import { program, runProgram } from './program.ts';
import { packageVersion } from './version.ts';

// Each command's module is loaded when it runs: gRPC alone takes longer to load than most commands to answer.

const dekctl = program('dekctl')
  .description('Command-line client of dekd, the per-pod key agent.')
  .version(packageVersion(), '-V, --version', 'print the version')
  .helpOption('-h, --help', 'print this help')
  .option('--socket <path>', "the agent's socket (DEKD_SOCKET; default ./.dekd/agent.sock, else /run/dekd/agent.sock)")
  .option('--admin-socket <path>', 'the socket for administration (DEKD_ADMIN_SOCKET; default admin.sock likewise)')
  .option('--timeout <duration>', 'how long to wait for an answer', '10s')
  .option('--json', 'print JSON, bytes in base64')
  .addHelpText('after', '\nExit codes and examples: docs/command-line.md');

addDataCommands(dekctl);
addLookingCommands(dekctl);
addKeyCommands(dekctl);
addKeyringCommands(dekctl);
addDrillCommands(dekctl);
addKeystoreCommands(dekctl);

process.exitCode = await runProgram(dekctl, process.argv.slice(2));
