// HTTP/2 frames by hand (RFC 9113): what no library lets a client send.

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export const FRAME = {
  data: 0,
  headers: 1,
  rstStream: 3,
  settings: 4,
  ping: 6,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const FLAG = { none: 0, endStream: 1, endHeaders: 4 } as const;

const SETTING_INITIAL_WINDOW_SIZE = 4;

/** RFC 9113, section 4.1. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

export function integer(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** The start of a connection: preface and settings. */
export function opening(initialWindowBytes?: number): Buffer {
  const settings = Buffer.alloc(initialWindowBytes === undefined ? 0 : 6);
  if (initialWindowBytes !== undefined) {
    settings.writeUInt16BE(SETTING_INITIAL_WINDOW_SIZE);
    settings.writeUInt32BE(initialWindowBytes, 2);
  }
  return Buffer.concat([PREFACE, frame(FRAME.settings, FLAG.none, 0, settings)]);
}

/** The header block of a call: literals without indexing, new names, no Huffman code (RFC 7541, section 6.2.2). */
export function callHeaders(path: string, more: Readonly<Record<string, string>> = {}): Buffer {
  const headers = {
    ':method': 'POST',
    ':scheme': 'http',
    ':path': path,
    ':authority': 'localhost',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...more,
  };
  return Buffer.concat(Object.entries(headers).flatMap(([name, value]) => [Buffer.of(0), text(name), text(value)]));
}

/** A string literal with its length (RFC 7541, section 5.1). */
function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  const length: number[] = [];
  let rest = bytes.length;
  if (rest < 127) return Buffer.concat([Buffer.of(rest), bytes]);
  length.push(127);
  for (rest -= 127; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
  length.push(rest);
  return Buffer.concat([Buffer.from(length), bytes]);
}
