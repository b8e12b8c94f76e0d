import { join } from 'node:path';
import { DekdError } from '../errors.ts';
import { buildConfig } from './build.ts';
import type { Config } from './config.ts';
import { meaningProblems } from './rules.ts';
import { schema } from './schema.ts';

/**
 * The configuration of `dekd --development`, with all state in `stateDirectory`: one key `default` on an embedded keystore with a
 * development root key; `uid`, by default this user's, holds every role. Throws DekdError when the directory's path is too long for sockets,
 * and for the uid that stands for anybody.
 */
export function developmentConfig(stateDirectory: string, uid = process.getuid?.() ?? 0): Config {
  const parsed = schema.safeParse({
    profile: 'development',
    // The banner says what a person needs; lines of JSON beside it would not help.
    log: { level: 'warn' },
    listen: {
      agent: { path: join(stateDirectory, 'agent.sock'), mode: '0600' },
      admin: { path: join(stateDirectory, 'admin.sock'), mode: '0600' },
    },
    upstreams: {
      local: { type: 'local', directory: join(stateDirectory, 'keystore'), root_key: { development: true } },
    },
    keys: {
      default: {
        recipients: [{ upstream: 'local', kek: 'local:default', role: 'authority' }],
        allow: [{ uid, roles: ['user', 'operator', 'custodian', 'auditor'] }],
      },
    },
    admin: [{ uid, roles: ['custodian', 'operator'] }],
  });
  if (!parsed.success) {
    throw new DekdError('INVALID_REQUEST', `uid ${uid} stands for anybody: run dekd as a user of its own`);
  }
  const [problem] = meaningProblems(parsed.data);
  if (problem !== undefined) throw new DekdError('INVALID_REQUEST', `${stateDirectory}: ${problem.text}`);
  return buildConfig(parsed.data, { file: undefined, groupFile: '/etc/group', warnings: [] }) as Config;
}
