import { callAgent } from '../client.ts';
import { EXIT, type ExitCode } from '../exit-codes.ts';
import type { GlobalFlags } from '../flags.ts';
import { printable } from '../messages.ts';
import { writeText } from '../output.ts';

export interface HealthFlags extends GlobalFlags {
  readonly service: string;
}

/** Ends with 0 when the agent serves, 1 when it says that it does not. */
export async function health(flags: HealthFlags): Promise<ExitCode> {
  const { status } = await callAgent<{ status: string | number }>(flags, {
    socket: 'agent',
    service: 'grpc.health.v1.Health',
    method: 'Check',
    request: { service: flags.service },
  });
  const text = String(status);
  writeText(
    flags.json === true
      ? `${JSON.stringify({ service: flags.service, status: text }, undefined, 2)}\n`
      : `${printable(text)}\n`,
  );
  return text === 'SERVING' ? EXIT.ok : EXIT.failure;
}
