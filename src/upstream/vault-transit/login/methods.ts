import { UpstreamFailure } from '../../failure.ts';
import { SERVICE_ACCOUNT_TOKEN, type VaultLogin } from '../options.ts';
import { readSecret } from './secret-text.ts';

/** What is posted to a login path. */
export interface LoginRequest {
  /** Below the namespace. */
  readonly path: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** The request of a login, its files read anew: they are replaced while the agent runs. Throws UpstreamFailure, *unauthenticated*. */
export function loginRequest(login: Extract<VaultLogin, { method: 'approle' | 'kubernetes' }>): LoginRequest {
  if (login.method === 'approle') {
    const fields = {
      role_id: credential('role id', login.roleIdFile),
      secret_id: credential('secret id', login.secretIdFile),
    };
    return { path: `auth/${login.mount ?? 'approle'}/login`, fields };
  }
  const jwt = credential('service account token', login.tokenFile ?? SERVICE_ACCOUNT_TOKEN);
  return { path: `auth/${login.mount ?? 'kubernetes'}/login`, fields: { role: login.role, jwt } };
}

/** The text of a file with a credential. Throws UpstreamFailure, *unauthenticated*: the operator, or who writes the file, puts it right while the agent runs. */
export function credential(what: string, file: string): string {
  try {
    return readSecret(what, file);
  } catch (error) {
    throw new UpstreamFailure('unauthenticated', (error as Error).message, { cause: error });
  }
}
