/** Byte 5 of an envelope: how the payload is sealed. */
export const SUITES = { XAES_256_GCM: 1, AES_256_GCM: 2 } as const;

/** Byte 6 of an envelope: what the payload is, and so which key of the DEK seals it (K_msg or K_data). */
export const CONTENT = { message: 1, dataKey: 2 } as const;

/** Length in bytes of the tag of both suites. */
export const TAG_BYTES = 16;

/** Bytes 0-39 of every envelope: magic, version, suite, content, flags, dek_id. */
export const HEADER_BYTES = 40;

const SUITE_NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(SUITES).map(([name, suite]) => [suite, name]),
);
// By suite number; 0 marks a suite that this version does not serve.
const NONCE_BYTES: readonly number[] = [0, 24, 12];

const RESERVED_SUITES: Readonly<Record<number, string>> = { 3: 'XChaCha20-Poly1305', 4: 'streams' };
const RESERVED_CONTENTS: Readonly<Record<number, string>> = { 3: 'streams' };

/** Length in bytes of the suite's nonce; 0 for a suite that is reserved or unknown. */
export function nonceBytes(suite: number): number {
  return NONCE_BYTES[suite] ?? 0;
}

/** What messages call a suite, reserved and unknown ones too. */
export function suiteName(suite: number): string {
  const name = SUITE_NAMES[suite];
  if (name !== undefined) return name;
  const reserved = RESERVED_SUITES[suite];
  return reserved === undefined ? `unknown suite ${suite}` : `suite ${suite} (${reserved}), which is reserved`;
}

/** What messages call a content, reserved and unknown ones too. */
export function contentName(content: number): string {
  if (content === CONTENT.message) return 'message';
  if (content === CONTENT.dataKey) return 'data key';
  const reserved = RESERVED_CONTENTS[content];
  return reserved === undefined ? `unknown content ${content}` : `content ${content} (${reserved}), which is reserved`;
}
