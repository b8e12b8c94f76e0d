/** Control characters, line ends among them, and what turns text around or hides it: none may reach a log. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]+/gu;
/** What a key or a token looks like in hex or base64. Words, most paths and ARNs have no such runs of capitals, small letters and digits. */
const SECRET_LIKE = [
  /(?<![0-9a-f])[0-9a-f]{32,}(?![0-9a-f])/gi,
  /(?=[\w+/=-]*[a-z])(?=[\w+/=-]*[A-Z])(?=[\w+/=-]*[0-9])[\w+/=-]{24,}/g,
  /(?=[\w+/=-]*[a-z])(?=[\w+/=-]*[A-Z])[\w+/=-]{40,}/g,
];

/** Text of a child fit for a log: one line, at most `maxLength` characters, and without what looks like a secret. */
export function scrub(text: string, maxLength: number): string {
  // Cut first: the patterns look at every place of what is left.
  const visible = text.slice(0, maxLength).replace(INVISIBLE, ' ').trim();
  const scrubbed = SECRET_LIKE.reduce((rest, pattern) => rest.replace(pattern, '[…]'), visible);
  return scrubbed + (text.length > maxLength ? '…' : '');
}
