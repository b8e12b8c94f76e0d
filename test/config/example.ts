import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestFn } from 'ava';
import { parseConfig } from '../../src/config/load.ts';
import { DekdError } from '../../src/errors.ts';

/** The example. */
export const BASE = `profile: production
listen:
  agent: { path: /run/dekd/agent.sock, mode: "0660", group: app }
  admin: { path: /run/dekd/admin.sock, mode: "0600" }
memory: { lock: required, size: 8MiB }
limits: { message: 4MiB }
upstreams:
  store: { type: local, directory: /var/lib/dekd/keystore, root_key: { file: /run/secrets/root.key }, durable: true }
keys:
  orders:
    recipients: [ { upstream: store, kek: "local:orders", role: authority } ]
    suite: XAES_256_GCM
    partition_by: [tenant]
    cache: { mode: session, ttl: 5m, grace: 1h, rotate_after: 24h, max_messages: 1000000000, max_bytes: 1TiB, max_deks: 1000, max_partitions: 1000 }
    allow: [ { uid: 1000, roles: [user] }, { uid: 2000, roles: [operator] } ]
admin: [ { uid: 2001, roles: [custodian] } ]
`;

/** A directory for the files of a test file, among them one in the format of group(5). */
export function place(test: TestFn) {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-config-'));
  test.after.always(() => rmSync(directory, { recursive: true }));
  const file = (name: string, content: string | Uint8Array): string => {
    const path = join(directory, name);
    writeFileSync(path, content);
    return path;
  };
  const groupFile = file('group', 'root:x:0:\nbroken\nodd:x:abc:\napp:x:4321:someone\nops:x:4322:someone\n');
  return { directory, file, groupFile, errorOf: (text: string) => errorOf(text, groupFile) };
}

function errorOf(text: string, groupFile: string): string {
  try {
    parseConfig(text, 'F', { groupFile });
  } catch (error) {
    if (error instanceof DekdError && error.reason === 'INVALID_REQUEST') return error.message;
    throw error;
  }
  throw new Error('no error');
}
