import { resolve } from 'node:path';
import { kekIdentity, kekType } from './names.ts';
import { hint } from './nearest.ts';
import type { ParsedConfig, ParsedKey, ParsedLocal, ParsedRule, ParsedUpstream } from './schema.ts';
import { separationProblems } from './separation.ts';
import type { Path, Problem } from './source.ts';
import { durationText } from './units.ts';
import { vaultTransitProblems } from './vault-transit-rules.ts';
import { kekNames } from './warnings.ts';

/** Longest path that fits into the kernel's sun_path (unix(7): 108 bytes with the closing zero). */
const MAX_SOCKET_PATH_BYTES = 107;

/** SP 800-38D, section 8.3: messages under one AES-256-GCM key with random nonces. */
const AES_GCM_MESSAGES = 2 ** 32;

/** Each rotation leaves a version in the keystore: a slip of the unit must not fill it. */
const SHORTEST_ROTATION_MS = 3_600_000;

/** What can decrypt. */
const DECRYPTING_RPCS = ['Decrypt', 'DecryptBatch', 'ReEncrypt'] as const;

/** What no single field can tell: contradictions between fields, and what a profile forbids. */
export function meaningProblems(config: ParsedConfig): Problem[] {
  return [
    ...socketProblems(config),
    ...upstreamProblems(config),
    ...Object.entries(config.keys).flatMap(([name, key]) => keyProblems(config, name, key)),
    ...(config.revocations === undefined ? [] : relativePath(config.profile, ['revocations'], config.revocations)),
    ...(config.profile === 'production' ? separationProblems(config) : []),
  ];
}

function socketProblems({ listen, profile }: ParsedConfig): Problem[] {
  const problems: Problem[] = [];
  for (const socket of ['agent', 'admin'] as const) {
    const path: Path = ['listen', socket, 'path'];
    const bytes = Buffer.byteLength(listen[socket].path);
    if (bytes > MAX_SOCKET_PATH_BYTES) {
      const text = `the path has ${bytes} bytes, a Unix socket's at most ${MAX_SOCKET_PATH_BYTES}; choose a shorter directory, such as /run/dekd`;
      problems.push({ path, text });
    }
    problems.push(...relativePath(profile, path, listen[socket].path));
  }
  if (resolve(listen.agent.path) === resolve(listen.admin.path)) {
    problems.push({ path: ['listen', 'admin', 'path'], text: 'must differ from listen.agent.path' });
  }
  return problems;
}

function upstreamProblems(config: ParsedConfig): Problem[] {
  const { upstreams, profile } = config;
  const problems: Problem[] = [];
  const directories = new Map<string, string>();
  for (const [name, upstream] of Object.entries(upstreams)) {
    const path: Path = ['upstreams', name];
    if (upstream.type === 'vault-transit') problems.push(...vaultTransitProblems(path, upstream, profile));
    if (upstream.type === 'pkcs11' && upstream.pin.file !== undefined)
      problems.push(...relativePath(profile, [...path, 'pin', 'file'], upstream.pin.file));
    if (upstream.type !== 'local') continue;
    const other = directories.get(resolve(upstream.directory));
    if (other !== undefined) {
      problems.push({ path: [...path, 'directory'], text: `the same directory as upstream ${other}` });
    }
    directories.set(resolve(upstream.directory), name);
    problems.push(...relativePath(profile, [...path, 'directory'], upstream.directory));
    problems.push(...unknownKeks(config, name, upstream));
    if (profile !== 'production') continue;
    problems.push(...rootKeyProblems(path, upstream));
    problems.push(...shortRotations([...path, 'rotate_after'], upstream.rotate_after));
    for (const [kek, settings] of Object.entries(upstream.keks ?? {})) {
      problems.push(...shortRotations([...path, 'keks', kek, 'rotate_after'], settings.rotate_after));
    }
  }
  return problems;
}

function rootKeyProblems(path: Path, { directory, root_key: rootKey }: ParsedLocal): Problem[] {
  const at: Path = [...path, 'root_key'];
  if (rootKey.development !== undefined) {
    const text =
      'a development root key lies beside the keys that it protects; production needs file, credential or passphrase';
    return [{ path: at, text }];
  }
  const files = [
    [[...at, 'file'], rootKey.file],
    [[...at, 'passphrase', 'file'], rootKey.passphrase?.file],
  ] as const;
  return files.flatMap(([place, file]): Problem[] => {
    if (file === undefined) return [];
    if (!file.startsWith('/')) return relativePath('production', place, file);
    if (!resolve(file).startsWith(`${resolve(directory)}/`)) return [];
    return [{ path: place, text: 'lies beside the keys that it protects; production needs another directory' }];
  });
}

function shortRotations(path: Path, rotateAfterMs: number | undefined): Problem[] {
  if (rotateAfterMs === undefined || rotateAfterMs >= SHORTEST_ROTATION_MS) return [];
  const text = `each rotation leaves a version in the keystore; production needs at least ${durationText(SHORTEST_ROTATION_MS)}`;
  return [{ path, text }];
}

function unknownKeks(config: ParsedConfig, upstreamName: string, { keks = {} }: ParsedLocal): Problem[] {
  const known = [...new Set(Object.values(config.keys).flatMap((key) => kekNames(key, upstreamName)))];
  return Object.keys(keks)
    .filter((name) => !known.includes(name))
    .map((name) => {
      const end = known.length === 0 ? 'none of this upstream is named' : hint(name, known, 'named are');
      const text = `no key names the KEK local:${name} of this upstream; ${end}`;
      return { path: ['upstreams', upstreamName, 'keks', name], text, atName: true };
    });
}

function relativePath(profile: string, path: Path, value: string): Problem[] {
  if (profile !== 'production' || value.startsWith('/')) return [];
  return [{ path, text: 'a relative path; production needs an absolute one' }];
}

function keyProblems(config: ParsedConfig, name: string, key: ParsedKey): Problem[] {
  const path: Path = ['keys', name];
  return [
    ...recipientProblems(config, path, key),
    ...durabilityProblems(config, path, key),
    ...cacheProblems(path, key),
    ...repeated([...path, 'partition_by'], key.partition_by),
    ...key.allow.flatMap((rule, index) => narrowingProblems([...path, 'allow', index], rule)),
  ];
}

function recipientProblems(config: ParsedConfig, path: Path, key: ParsedKey): Problem[] {
  const problems: Problem[] = [];
  const seen = new Set<string>();
  const lists = [
    ['recipients', key.recipients],
    ['decrypt_with', key.decrypt_with],
  ] as const;
  for (const [field, recipients] of lists) {
    for (const [index, recipient] of recipients.entries()) {
      const at: Path = [...path, field, index];
      problems.push(...upstreamOfRecipientProblems(config, at, recipient));
      const identity = `${recipient.upstream} ${kekIdentity(recipient.kek)}`;
      if (seen.has(identity)) problems.push({ path: [...at, 'kek'], text: 'the same KEK twice in one key' });
      seen.add(identity);
    }
  }
  if (!key.recipients.some((recipient) => recipient.role === 'authority')) {
    problems.push({ path: [...path, 'recipients'], text: 'no recipient has role authority; at least one must' });
  }
  return problems;
}

function upstreamOfRecipientProblems(
  { upstreams }: ParsedConfig,
  path: Path,
  { upstream: name, kek }: ParsedKey['decrypt_with'][number],
): Problem[] {
  const upstream = Object.hasOwn(upstreams, name) ? upstreams[name] : undefined;
  if (upstream === undefined) {
    const text = `no upstream is called ${name}; known: ${Object.keys(upstreams).join(', ')}`;
    return [{ path: [...path, 'upstream'], text }];
  }
  if (kekType(kek) === upstream.type) return [];
  const text = `a KEK of type ${kekType(kek)}, and upstream ${name} is of type ${upstream.type}`;
  return [{ path: [...path, 'kek'], text }];
}

function durabilityProblems(config: ParsedConfig, path: Path, key: ParsedKey): Problem[] {
  if (config.profile !== 'production') return [];
  const isMortalRecipient = ({ upstream }: ParsedKey['recipients'][number]): boolean =>
    isMortal(config.upstreams[upstream]);
  const remedy = 'say durable: true at the upstream if the directory outlives the pod';
  const authorities = key.recipients.filter((recipient) => recipient.role === 'authority');
  if (authorities.length > 0 && authorities.every(isMortalRecipient)) {
    const text = `its only authority is a keystore that may die with its volume, and all its ciphertexts with it; ${remedy}`;
    return [{ path: [...path, 'recipients'], text }];
  }
  const alone = key.recipients.find((one) => one.role !== 'recovery' && isMortalRecipient(one));
  if (key.wrap === 'all' || alone === undefined) return [];
  const text = `any may leave a DEK with upstream ${alone.upstream} alone, a keystore that may die with its volume; ${remedy}`;
  return [{ path: [...path, 'wrap'], text }];
}

function isMortal(upstream: ParsedUpstream | undefined): boolean {
  return upstream?.type === 'local' && !upstream.durable;
}

function cacheProblems(path: Path, { cache, suite }: ParsedKey): Problem[] {
  const problems: Problem[] = [];
  const at = (field: string): Path => [...path, 'cache', field];
  if (cache.ttl > cache.rotate_after) {
    const text = `${durationText(cache.ttl)} is longer than rotate_after (${durationText(cache.rotate_after)})`;
    problems.push({ path: at('ttl'), text });
  }
  if (suite === 2 && cache.max_messages > AES_GCM_MESSAGES) {
    const text = `AES_256_GCM allows at most ${AES_GCM_MESSAGES} messages a DEK (2^32, NIST SP 800-38D)`;
    problems.push({ path: at('max_messages'), text });
  }
  if (cache.mode === 'startup' && cache.grace !== undefined) {
    problems.push({ path: at('grace'), text: 'mode startup has no bound on grace; leave the field out' });
  }
  if (cache.refresh === 'renew' && cache.verify_wrap === true) {
    const text = 'refresh: renew is for agents without the right to decrypt, which cannot verify; leave the field out';
    problems.push({ path: at('verify_wrap'), text });
  }
  return problems;
}

function repeated(path: Path, values: readonly string[]): Problem[] {
  return values.flatMap((value, index) =>
    values.indexOf(value) < index ? [{ path: [...path, index], text: 'stands in the list twice' }] : [],
  );
}

function narrowingProblems(path: Path, { roles, rpcs, archived }: ParsedRule): Problem[] {
  const problems: Problem[] = [];
  const user = roles.includes('user');
  if (rpcs !== undefined && !user) {
    problems.push({ path: [...path, 'rpcs'], text: 'narrows role user, which this rule does not give' });
  }
  if (archived && !user) {
    problems.push({ path: [...path, 'archived'], text: 'is for role user, which this rule does not give' });
  } else if (archived && rpcs !== undefined && !DECRYPTING_RPCS.some((rpc) => rpcs.includes(rpc))) {
    const text = `opens what decrypts only, and rpcs lists none of ${DECRYPTING_RPCS.join(', ')}`;
    problems.push({ path: [...path, 'archived'], text });
  }
  return problems;
}
