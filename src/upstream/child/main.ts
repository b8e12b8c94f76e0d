// Entry of a child process, `dekd-upstream`: spawn.ts starts it. Descriptor 3 is the control channel, 4 the key channel, 5 and 6 the handover's ends.
import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { endWithParent, hardenProcess, limitProcess } from '../../crypto/native.ts';
import { serve } from './serve.ts';

const CONTROL_FD = 3;
const KEY_FD = 4;
const HANDOVER = { in: 5, out: 6 };
const MAX_OPEN_FILES = 256;
const EXIT_INTERNAL = 70;

// Before anything is read.
hardenProcess();
endWithParent();
limitProcess(Number(process.argv[2]) * 2 ** 20, MAX_OPEN_FILES);

process.on('uncaughtException', end);
process.on('unhandledRejection', end);
// The agent ends its children itself, when running calls have ended.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

const control = new Socket({ fd: CONTROL_FD, readable: true, writable: true });
await serve({ control, keyFd: KEY_FD, handover: HANDOVER, onOpen: dropAddons });
process.exit(0);

/** dekd's addon is loaded, and the provider's are: no other code comes in that way (where Node can take a permission back). */
function dropAddons(): void {
  const permission = process.permission as { drop?: (scope: string) => void } | undefined;
  permission?.drop?.('addon');
}

/** One line, and no stack: the agent logs it. An SDK that throws where nobody waits is in an unknown state. */
function end(error: unknown): void {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  writeSync(2, `not caught: ${text}\n`);
  process.exit(EXIT_INTERNAL);
}
