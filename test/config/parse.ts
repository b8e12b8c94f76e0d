import { parseConfig } from '../../src/config/load.ts';
import { DekdError } from '../../src/errors.ts';

/** A moment of these tests: 2026-07-01T00:00:00Z. */
export const NOW_MS = Date.parse('2026-07-01T00:00:00Z');

export type Fields = Readonly<Record<string, unknown>>;

/** A production configuration without faults or warnings. */
export function base(changes: Fields = {}): Fields {
  return {
    profile: 'production',
    listen: { agent: { path: '/run/dekd/agent.sock' }, admin: { path: '/run/dekd/admin.sock' } },
    upstreams: { store: upstream() },
    keys: { orders: key('orders') },
    ...changes,
  };
}

export function upstream(changes: Fields = {}): Fields {
  return { type: 'local', directory: '/var/lib/dekd', root_key: { file: '/run/root.key' }, durable: true, ...changes };
}

/** A key on the KEK of its name: uid 1000 uses it, 2000 operates it, 2001 and 2002 are custodians. */
export function key(kek: string, changes: Fields = {}): Fields {
  return { recipients: [recipient(kek)], allow: RULES, ...changes };
}

export function recipient(kek: string, role = 'authority'): Fields {
  return { upstream: 'store', kek: `local:${kek}`, role };
}

export const RULES: readonly Fields[] = [
  { uid: 1000, roles: ['user'] },
  { uid: 2000, roles: ['operator'] },
  { uid: 2001, roles: ['custodian'] },
  { uid: 2002, roles: ['custodian'] },
];

export function parse(fields: Fields) {
  // JSON is YAML.
  return parseConfig(JSON.stringify(fields), 'F', { nowMs: NOW_MS });
}

/** What is wrong with it, without the positions. */
export function problemsOf(fields: Fields): string[] {
  try {
    parse(fields);
  } catch (error) {
    if (error instanceof DekdError && error.reason === 'INVALID_REQUEST')
      return withoutPositions(error.message.split('\n'));
    throw error;
  }
  return [];
}

export function warningsOf(fields: Fields): string[] {
  return withoutPositions(parse(fields).warnings);
}

function withoutPositions(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/^F:\d+:\d+: /, ''));
}
