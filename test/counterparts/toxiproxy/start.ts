import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { type Counterpart, freePort, installation, missing, startCounterpart } from '../counterpart.ts';

const installed = installation('toxiproxy');

/** Whether a test that needs toxiproxy can run; says so loudly where it cannot, and fails in CI. */
export function requireToxiproxy(t: ExecutionContext): boolean {
  if (installed === undefined) missing(t, 'toxiproxy');
  return installed !== undefined;
}

/** A TCP proxy for one service, on a port of 127.0.0.1. What is done to it counts for open connections too. */
export interface ToxicProxy {
  readonly host: string;
  /** Cut: its connections end, and none is accepted. */
  cut(): Promise<void>;
  /** Passes on again, to the service that it was made for, without any fault. */
  mend(): Promise<void>;
  /** Every answer comes so much later. */
  delay(milliseconds: number): Promise<void>;
  /** Connections are accepted, and reset by the first byte. */
  reset(): Promise<void>;
  /** Its connections end, and new ones lead to another service (`host:port`). */
  divert(service: string): Promise<void>;
}

export interface Toxiproxy extends Counterpart {
  /** `service`: `host:port`, an IPv6 address in brackets. */
  proxy(name: string, service: string): Promise<ToxicProxy>;
}

export async function startToxiproxy(): Promise<Toxiproxy> {
  const port = await freePort('127.0.0.1');
  const api = `http://127.0.0.1:${port}`;
  const counterpart = await startCounterpart({
    command: join(installed ?? '', 'bin', 'server'),
    args: ['-host', '127.0.0.1', '-port', String(port)],
    environment: { LOG_LEVEL: 'error' },
    ready: async () => (await fetch(`${api}/version`)).ok,
  });
  return {
    ...counterpart,
    proxy: async (name, service) => {
      // A port of its choice.
      const made = await call(`${api}/proxies`, { name, listen: '127.0.0.1:0', upstream: service, enabled: true });
      return describeProxy(`${api}/proxies/${name}`, (made as { listen: string }).listen, service);
    },
  };
}

function describeProxy(url: string, host: string, service: string): ToxicProxy {
  const poison = async (type: string, stream: 'upstream' | 'downstream', attributes: object) => {
    await call(`${url}/toxics`, { name: `${type}-${stream}`, type, stream, toxicity: 1, attributes });
  };
  return {
    host,
    cut: async () => void (await call(url, { enabled: false })),
    mend: async () => {
      const toxics = (await (await fetch(`${url}/toxics`)).json()) as { name: string }[];
      for (const { name } of toxics) await fetch(`${url}/toxics/${name}`, { method: 'DELETE' });
      await call(url, { listen: host, upstream: service, enabled: true });
    },
    delay: (milliseconds) => poison('latency', 'downstream', { latency: milliseconds }),
    reset: async () => {
      await poison('reset_peer', 'upstream', { timeout: 0 });
      await poison('reset_peer', 'downstream', { timeout: 0 });
    },
    divert: async (other) => void (await call(url, { listen: host, upstream: other, enabled: true })),
  };
}

/** toxiproxy tells browsers by their user agent and refuses them, fetch's is none. */
async function call(url: string, body: object): Promise<unknown> {
  const answer = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`toxiproxy: ${url}: HTTP ${answer.status} ${await answer.text()}`);
  return answer.json();
}
