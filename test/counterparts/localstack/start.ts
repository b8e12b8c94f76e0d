import { join } from 'node:path';
import { type Counterpart, freePort, startCounterpart } from '../counterpart.ts';

/** AWS KMS on a port of [::1]: told an IPv4 address it would listen on every interface. */
export interface LocalStack extends Counterpart {
  readonly endpoint: string;
}

export async function startLocalStack(directory: string): Promise<LocalStack> {
  const port = await freePort('::1');
  const endpoint = `http://[::1]:${port}`;
  const counterpart = await startCounterpart({
    command: join(directory, 'bin', 'python'),
    args: ['-m', 'localstack.runtime.main'],
    environment: {
      PATH: '/usr/bin:/bin',
      // Its caches know the installation that made them.
      HOME: directory,
      SERVICES: 'kms',
      EAGER_SERVICE_LOADING: '1',
      GATEWAY_LISTEN: `[::1]:${port}`,
      SKIP_SSL_CERT_DOWNLOAD: '1',
      DISABLE_EVENTS: '1',
      DNS_ADDRESS: '0',
    },
    ready: async () => {
      const answer = await fetch(`${endpoint}/_localstack/health`);
      const { services } = (await answer.json()) as { services: Record<string, string> };
      return services['kms'] === 'running';
    },
  });
  return { ...counterpart, endpoint };
}
