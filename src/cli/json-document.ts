import { base64Length, writeBase64 } from './base64.ts';

/** What a JSON document of dekctl is made from: protobuf's JSON mapping, 64-bit integers as strings. */
export type JsonFields = Readonly<Record<string, unknown>>;

/**
 * A JSON object and a line feed, as bytes. Uint8Array fields become base64 without passing through a string, so that the document can
 * be zeroed when one of them is key material.
 */
export function jsonDocument(fields: JsonFields): Buffer {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  const pieces = entries.map(([name, value]) => ({
    name: `\n  ${JSON.stringify(name)}: `,
    value: value instanceof Uint8Array ? value : JSON.stringify(value, undefined, 2).replaceAll('\n', '\n  '),
  }));
  const length = pieces.reduce((sum, { name, value }) => sum + Buffer.byteLength(name) + valueLength(value) + 1, 4);
  // Memory outside V8's heap: small Buffers lie inside it, where the garbage collector leaves copies behind.
  const document = Buffer.from(new ArrayBuffer(length));
  let at = document.write('{', 0);
  for (const [index, { name, value }] of pieces.entries()) {
    if (index > 0) at += document.write(',', at);
    at += document.write(name, at);
    at = typeof value === 'string' ? at + document.write(value, at) : writeBytes(value, document, at);
  }
  at += document.write('\n}\n', at);
  return document.subarray(0, at);
}

/** A response of the agent as protobuf's JSON mapping has it: instants in RFC 3339, spans as `300s`, bytes in base64. */
export function publicJson(value: unknown, field = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => publicJson(item));
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (typeof value !== 'object' || value === null) return value;
  if (isProtoTime(value)) return /_(at|until)$|^(as_of|since)$/.test(field) ? instantText(value) : `${seconds(value)}s`;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, publicJson(item, name)]));
}

/** google.protobuf.Timestamp or Duration, as proto-loader decodes it. */
export interface ProtoTime {
  readonly seconds: string | number;
  readonly nanos: number;
}

export function instantText(time: ProtoTime): string {
  return new Date(seconds(time) * 1000).toISOString();
}

export function seconds(time: ProtoTime): number {
  return Number(time.seconds) + time.nanos / 1e9;
}

function isProtoTime(value: object): value is ProtoTime {
  return 'seconds' in value && 'nanos' in value;
}

function valueLength(value: string | Uint8Array): number {
  return typeof value === 'string' ? Buffer.byteLength(value) : base64Length(value.length) + 2;
}

function writeBytes(value: Uint8Array, document: Buffer, offset: number): number {
  const start = offset + document.write('"', offset);
  const end = writeBase64(value, document, start);
  return end + document.write('"', end);
}
