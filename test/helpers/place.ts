import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';

/** What ends things with a test; a file whose tests share an agent has one of its own. */
export type Teardown = Pick<ExecutionContext, 'teardown'>;

/** A directory with a configuration, a root key and room for sockets and keystore; gone when the test ends. */
export interface Place {
  readonly directory: string;
  readonly configFile: string;
  readonly rootKeyFile: string;
  readonly database: string;
  readonly agentSocket: string;
  readonly adminSocket: string;
  /** Writes the configuration with `changes` in it. */
  configure(changes: Readonly<Record<string, unknown>>): void;
}

/** By default a development agent with the key `default` for this user, on a keystore with a root key of its own. */
export function makePlace(t: Teardown, changes: Readonly<Record<string, unknown>> = {}): Place {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-e2e-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const place = {
    directory,
    configFile: join(directory, 'dekd.yaml'),
    rootKeyFile: join(directory, 'root.key'),
    database: join(directory, 'keystore', 'keystore.db'),
    agentSocket: join(directory, 'agent.sock'),
    adminSocket: join(directory, 'admin.sock'),
    configure: (next: Readonly<Record<string, unknown>>) =>
      // JSON is YAML.
      writeFileSync(place.configFile, JSON.stringify({ ...defaults(place), ...next }, undefined, 2)),
  };
  writeFileSync(place.rootKeyFile, randomBytes(32), { mode: 0o600 });
  place.configure(changes);
  return place;
}

/** A key on the KEK of its name. */
export function keyConfig(name: string, changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    recipients: [{ upstream: 'store', kek: `local:${name}`, role: 'authority' }],
    allow: [{ uid: process.getuid?.(), roles: ['user', 'operator', 'custodian', 'auditor'] }],
    ...changes,
  };
}

function defaults(place: Omit<Place, 'configure'>): Record<string, unknown> {
  return {
    profile: 'development',
    listen: {
      agent: { path: place.agentSocket, mode: '0600' },
      admin: { path: place.adminSocket, mode: '0600' },
    },
    memory: { lock: 'required', size: '1MiB' },
    upstreams: {
      store: {
        type: 'local',
        directory: join(place.directory, 'keystore'),
        root_key: { file: place.rootKeyFile },
        durable: true,
      },
    },
    keys: { default: keyConfig('default') },
    admin: [{ uid: process.getuid?.(), roles: ['custodian', 'operator'] }],
  };
}
