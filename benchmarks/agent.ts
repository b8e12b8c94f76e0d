import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Service } from './counterparts.ts';

/** What bin/dekd gives to node. */
const FLAGS = ['--disable-warning=ExperimentalWarning', '--disable-sigusr1', '--max-semi-space-size=4'];

/**
 * The compiled agent of buildProgram's `program`, in development, with a local keystore and these upstreams, and a key of its name on each; `cache`
 * is the keys'. Its sockets and files are in `place`. Resolves when it is ready.
 */
export async function startAgent(
  program: string,
  place: string,
  services: ReadonlyMap<string, Service>,
  cache: object = {},
): Promise<ChildProcess> {
  const file = join(place, 'dekd.yaml');
  writeFileSync(file, configuration(place, services, cache));
  const args = [...FLAGS, join(program, 'dist', 'src', 'cli', 'dekd.js'), '--config', file];
  const agent = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let written = '';
  await new Promise<void>((resolve, reject) => {
    agent.stderr.on('data', (chunk: Buffer) => {
      written += chunk;
      if (written.includes('"event":"ready"')) resolve();
    });
    agent.once('exit', (code) => reject(new Error(`dekd ended with ${code}: ${written}`)));
  });
  return agent;
}

/** JSON is YAML. Everything but names, places and `cache` is the default. */
function configuration(place: string, services: ReadonlyMap<string, Service>, cache: object): string {
  const store = { type: 'local', directory: join(place, 'keystore'), root_key: { development: true } };
  const key = (upstream: string, kek: string) => ({
    recipients: [{ upstream, kek, role: 'authority' }],
    cache,
    allow: [{ uid: process.getuid?.(), roles: ['user'] }],
  });
  return JSON.stringify({
    profile: 'development',
    listen: {
      agent: { path: join(place, 'agent.sock'), mode: '0600' },
      admin: { path: join(place, 'admin.sock'), mode: '0600' },
    },
    limits: {
      upstream_calls: { per_principal: { rate: 10_000, burst: 10_000 }, per_key: { rate: 10_000, burst: 10_000 } },
    },
    upstreams: { store, ...Object.fromEntries([...services].map(([name, { settings }]) => [name, settings])) },
    keys: {
      store: key('store', 'local:store'),
      ...Object.fromEntries([...services].map(([name, { kek }]) => [name, key(name, kek)])),
    },
  });
}
