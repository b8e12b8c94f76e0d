const CUT = '…';
const CUT_BYTES = Buffer.byteLength(CUT);

/**
 * `text` in at most `maxBytes` of UTF-8, well formed. What is too long loses its middle: a message begins with the field or the file, and ends with
 * what is wrong or what would be right.
 */
export function shortText(text: string, maxBytes: number): string {
  const wellFormed = text.toWellFormed();
  // No character has more than 3 bytes for one unit of UTF-16, so most are known to fit without a look at them.
  if (wellFormed.length * 3 <= maxBytes || Buffer.byteLength(wellFormed) <= maxBytes) return wellFormed;
  const room = maxBytes - CUT_BYTES;
  const [start, end] = [Math.ceil(room / 2), Math.floor(room / 2)];
  return `${head(wellFormed, start)}${CUT}${tail(wellFormed, end)}`;
}

/** The longest beginning of whole characters that has at most `maxBytes`. */
function head(text: string, maxBytes: number): string {
  // As many units have at least as many bytes.
  const bytes = Buffer.from(text.slice(0, maxBytes + 1));
  let end = Math.min(maxBytes, bytes.length);
  while (isContinuation(bytes[end])) end--;
  return bytes.toString('utf8', 0, end);
}

function tail(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text.slice(-maxBytes - 1));
  let start = Math.max(0, bytes.length - maxBytes);
  while (isContinuation(bytes[start])) start++;
  return bytes.toString('utf8', start);
}

/** A byte within a character of UTF-8, but for the first. */
function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}
