import { join } from 'node:path';
import { type Counterpart, freePort, startCounterpart } from '../counterpart.ts';

/** AWS KMS, STS and IAM on a port of 127.0.0.1. */
export interface Moto extends Counterpart {
  readonly endpoint: string;
}

/** `unchecked`: how many calls it takes before it checks signatures and policies; Infinity: it never does. */
export async function startMoto(directory: string, unchecked = Number.POSITIVE_INFINITY): Promise<Moto> {
  const port = await freePort('127.0.0.1');
  const endpoint = `http://127.0.0.1:${port}`;
  const counterpart = await startCounterpart({
    command: join(directory, 'bin', 'python'),
    args: ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)],
    environment: {
      PATH: '/usr/bin:/bin',
      HOME: directory,
      ...(Number.isFinite(unchecked) && { INITIAL_NO_AUTH_ACTION_COUNT: String(unchecked) }),
    },
    ready: async () => (await fetch(`${endpoint}/moto-api/`)).ok,
  });
  return { ...counterpart, endpoint };
}
