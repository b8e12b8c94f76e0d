// From a keystore's file, its root key and an envelope to every key in between: written from docs/envelope.md and
// docs/upstreams/local.md alone, with node:crypto, so that nothing of src/ vouches for itself.
import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';
import { copyFileSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

/** The keys of one DEK. */
export interface DekKeys {
  readonly dekId: string;
  readonly dek: Buffer;
  readonly blockKey: Buffer;
  readonly messageKey: Buffer;
  readonly dataKey: Buffer;
  /** What XAES derives of the KEK for wrapping this DEK. */
  readonly wrapSubkey: Buffer;
}

/** The keys of a store. */
export interface StoreKeys {
  readonly rootKey: Buffer;
  readonly kekWrap: Buffer;
  readonly recordMac: Buffer;
  readonly rootKeyId: Buffer;
  /** By `NAME/VERSION`. */
  readonly keks: ReadonlyMap<string, Buffer>;
  /** What XAES derives of the kek-wrap key for wrapping that KEK. */
  readonly wrapSubkeys: ReadonlyMap<string, Buffer>;
}

/** Works on a copy: the agent that has the store open holds its lock. */
export function recoverStore(databaseFile: string, rootKey: Buffer): StoreKeys {
  const copy = `${databaseFile}.copy`;
  copyFileSync(databaseFile, copy);
  const connection = new DatabaseSync(copy, { readOnly: true });
  try {
    const derived = (label: string) => hkdf(rootKey, 'dekd keystore v1', label);
    const kekWrap = derived('kek-wrap');
    const { store_id: store } = connection.prepare('SELECT store_id FROM store').get() as { store_id: string };
    const rows = connection
      .prepare('SELECT kek, version, wrapped_key FROM kek_version')
      .all() as unknown as KekVersionRow[];
    const keks = rows.map(({ kek, version, wrapped_key }): [string, Buffer] => {
      const aad = fields(['kek-key', store, kek, BigInt(version)]);
      return [`${kek}/${version}`, openXaes(kekWrap, Buffer.from(wrapped_key), aad)];
    });
    return {
      rootKey,
      kekWrap,
      recordMac: derived('record-mac'),
      rootKeyId: derived('root-key-id'),
      keks: new Map(keks),
      wrapSubkeys: new Map(
        rows.map(({ kek, version, wrapped_key }) => [`${kek}/${version}`, xaesKey(kekWrap, Buffer.from(wrapped_key))]),
      ),
    };
  } finally {
    connection.close();
    rmSync(copy);
  }
}

interface KekVersionRow {
  readonly kek: string;
  readonly version: number;
  readonly wrapped_key: Uint8Array;
}

/** The DEK of an envelope with an inline block and one `local` recipient, proved by its dek_id. */
export function recoverDek(envelope: Buffer, store: StoreKeys): DekKeys {
  const { keyName, partition, uri, version, wrapped } = parseBlock(envelope);
  const dekId = envelope.toString('hex', 8, 40);
  const kek = store.keks.get(`${uri.slice(uri.indexOf('/') + 1)}/${version}`);
  if (kek === undefined) throw new Error(`no KEK for ${uri} ${version}`);
  const context = encodeContext({ ...partition, 'dekd:key': keyName, 'dekd:id': dekId });
  const dek = openXaes(kek, wrapped, context);
  const derived = (label: string) => hkdf(dek, 'dekd v1', label);
  if (derived('dek-id').toString('hex') !== dekId) throw new Error('dek_id does not match');
  return {
    dekId,
    dek,
    blockKey: derived('dek-block'),
    messageKey: derived('message'),
    dataKey: derived('data-key'),
    wrapSubkey: xaesKey(kek, wrapped),
  };
}

/** Opens an envelope of suite 1, with its DEK's keys. */
export function openWithKeys(envelope: Buffer, keys: DekKeys, context: Readonly<Record<string, string>>): Buffer {
  const { key, aad, sealed } = payload(envelope, keys, context);
  return openXaes(key, sealed, aad);
}

/** The AES-256-GCM key that XAES derives for one message: it exists in memory while that message is sealed or opened. */
export function messageSubkey(envelope: Buffer, keys: DekKeys): Buffer {
  const { key, sealed } = payload(envelope, keys, {});
  return xaesKey(key, sealed.subarray(0, 24));
}

function payload(envelope: Buffer, keys: DekKeys, context: Readonly<Record<string, string>>) {
  const header = Buffer.from(envelope.subarray(0, 40));
  header[7] = 0;
  const aad = Buffer.concat([header, encodeContext(context), Buffer.alloc(4)]);
  const sealed = envelope.subarray(42 + envelope.readUInt16BE(40));
  return { key: envelope[6] === 1 ? keys.messageKey : keys.dataKey, aad, sealed };
}

interface Block {
  readonly keyName: string;
  readonly partition: Readonly<Record<string, string>>;
  readonly uri: string;
  readonly version: string;
  readonly wrapped: Buffer;
}

function parseBlock(envelope: Buffer): Block {
  let at = 42 + 1 + 8 + 4;
  const take = (length: number): Buffer => {
    at += length;
    return envelope.subarray(at - length, at);
  };
  const prefixed = (width: 1 | 2 | 4): Buffer => take(take(width).readUIntBE(0, width));
  const keyName = prefixed(1).toString();
  const encoded = prefixed(2);
  if (take(1)[0] !== 1) throw new Error('not one recipient');
  const [type, algorithm] = take(2);
  if (type !== 1 || algorithm !== 6) throw new Error('not a recipient of a local keystore');
  const uri = prefixed(2).toString();
  const version = prefixed(2).toString();
  return { keyName, partition: decodeContext(encoded), uri, version, wrapped: prefixed(2) };
}

function encodeContext(pairs: Readonly<Record<string, string>>): Buffer {
  const entries = Object.entries(pairs).map(([key, value]): [Buffer, Buffer] => [Buffer.from(key), Buffer.from(value)]);
  entries.sort(([a], [b]) => a.compare(b));
  return Buffer.concat([integer(entries.length), ...entries.flat().flatMap((text) => [integer(text.length), text])]);
}

function decodeContext(encoded: Buffer): Record<string, string> {
  let at = 4;
  const text = (): string => {
    const length = encoded.readUInt32BE(at);
    at += 4 + length;
    return encoded.toString('utf8', at - length, at);
  };
  const pairs: Record<string, string> = {};
  while (at < encoded.length) pairs[text()] = text();
  return pairs;
}

/** F of docs/upstreams/local.md, of texts and integers. */
function fields(values: readonly (string | bigint)[]): Buffer {
  const encoded = values.map((value) => {
    const bytes = typeof value === 'string' ? Buffer.from(value) : Buffer.alloc(8);
    if (typeof value === 'bigint') bytes.writeBigInt64BE(value);
    return Buffer.concat([Buffer.of(typeof value === 'string' ? 2 : 1), integer(bytes.length), bytes]);
  });
  return Buffer.concat([integer(values.length), ...encoded]);
}

function integer(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** RFC 5869 with SHA-256, 32 bytes. */
function hkdf(key: Buffer, salt: string, label: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, salt, label, 32));
}

/** c2sp.org/XAES-256-GCM of nonce 24 | ciphertext | tag 16. */
function openXaes(key: Buffer, sealed: Buffer, aad: Buffer): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', xaesKey(key, sealed.subarray(0, 24)), sealed.subarray(12, 24));
  decipher.setAAD(aad).setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(24, -16)), decipher.final()]);
}

function xaesKey(key: Buffer, nonce: Buffer): Buffer {
  const aes = (block: Buffer) => createCipheriv('aes-256-ecb', key, null).setAutoPadding(false).update(block);
  const top = BigInt(`0x${aes(Buffer.alloc(16)).toString('hex')}`);
  const doubled = ((top << 1n) & ((1n << 128n) - 1n)) ^ (top >> 127n === 1n ? 0x87n : 0n);
  const mask = Buffer.from(doubled.toString(16).padStart(32, '0'), 'hex');
  const half = (counter: number) => {
    const block = Buffer.concat([Buffer.of(0, counter, 0x58, 0), nonce.subarray(0, 12)]);
    return aes(Buffer.from(block.map((byte, index) => byte ^ (mask[index] ?? 0))));
  };
  return Buffer.concat([half(1), half(2)]);
}
