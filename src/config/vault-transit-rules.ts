import type { ParsedVaultTransit } from './schema.ts';
import type { Path, Problem } from './source.ts';

const LOOPBACK = /^http:\/\/(?:127\.0\.0\.1|\[::1\]|localhost)(?::\d+)?$/;

/** What no single field of a vault-transit upstream can tell, and what production forbids. */
export function vaultTransitProblems(path: Path, upstream: ParsedVaultTransit, profile: string): Problem[] {
  const { addresses } = upstream;
  const twice = addresses.flatMap((address, index): Problem[] =>
    addresses.indexOf(address) < index
      ? [{ path: [...path, 'addresses', index], text: 'stands in the list twice' }]
      : [],
  );
  if (profile !== 'production') return twice;
  const open = addresses.flatMap((address, index): Problem[] => {
    if (!address.startsWith('http:') || LOOPBACK.test(address)) return [];
    const text =
      'token and DEKs would cross the network in the clear; production needs https:, loopback or a Unix socket';
    return [{ path: [...path, 'addresses', index], text }];
  });
  const relative = files(path, upstream).flatMap(([at, file]): Problem[] =>
    file === undefined || file.startsWith('/')
      ? []
      : [{ path: at, text: 'a relative path; production needs an absolute one' }],
  );
  return [...twice, ...open, ...relative];
}

function files(path: Path, { ca, login }: ParsedVaultTransit): (readonly [Path, string | undefined])[] {
  const at: Path = [...path, 'login'];
  return [
    [[...path, 'ca'], ca],
    [[...at, 'token', 'file'], login.token?.file],
    [[...at, 'approle', 'role_id_file'], login.approle?.role_id_file],
    [[...at, 'approle', 'secret_id_file'], login.approle?.secret_id_file],
    [[...at, 'kubernetes', 'token_file'], login.kubernetes?.token_file],
  ];
}
