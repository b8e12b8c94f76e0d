/** Builds envelopes and dek-blocks, faulty ones too: text may be a Buffer, counts and lengths may be given. */
import { createHash, createHmac } from 'node:crypto';
import { aead, derive, fixedBytes, keyWrap } from './primitives.mjs';

const NONCE_BYTES = { 1: 24, 2: 12 };
export const LOCAL = 'local:0123456789abcdef/orders';

const bytesOf = (text) => (typeof text === 'string' ? Buffer.from(text) : text);

export function integer(length, value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes.subarray(8 - length);
}

function prefixed(length, text) {
  const bytes = bytesOf(text);
  return Buffer.concat([integer(length, bytes.length), bytes]);
}

export function contextInOrder(pairs, count = pairs.length) {
  return Buffer.concat([integer(4, count), ...pairs.flatMap(([key, value]) => [prefixed(4, key), prefixed(4, value)])]);
}

export function context(pairs) {
  return contextInOrder(pairs.toSorted(([left], [right]) => Buffer.compare(bytesOf(left), bytesOf(right))));
}

function wrapAad(keyName, dek, partition) {
  const id = derive(dek, 'dek-id').toString('hex');
  return context([...partition, ['dekd:key', keyName], ['dekd:id', id]]);
}

function recipient(given, dek, keyName, partition) {
  const { type = 1, algorithm = 6, uri = LOCAL, version = '1', kek, length } = given;
  let wrapped =
    given.wrapped ??
    fixedBytes(`wrapped ${uri} ${version}`, length ?? { 3: 40, 4: 40, 5: 60, 6: 72 }[algorithm] ?? 256);
  if (kek !== undefined) {
    const nonce = fixedBytes(`wrap nonce ${uri}`, algorithm === 5 ? 12 : 24);
    const aad = wrapAad(keyName, dek, partition);
    wrapped =
      algorithm < 5
        ? keyWrap(algorithm, kek, dek)
        : Buffer.concat([nonce, aead(algorithm === 5 ? 2 : 1, kek, nonce, aad, dek)]);
  }
  return { type, algorithm, uri, version, kek, wrapped };
}

export function makeBlock(dek, given) {
  const { created = 1_767_225_600_000, generation = 0, keyName = 'orders', partition = [], version = 1 } = given;
  const recipients = (given.recipients ?? [{}]).map((each) => recipient(each, dek, keyName, partition));
  const body = Buffer.concat([
    Buffer.of(version),
    integer(8, created),
    integer(4, generation),
    prefixed(1, keyName),
    prefixed(2, given.partitionBytes ?? context(partition)),
    Buffer.of(given.count ?? recipients.length),
    ...recipients.flatMap(({ type, algorithm, uri, version: kekVersion, wrapped }) => [
      Buffer.of(type, algorithm),
      prefixed(2, uri),
      prefixed(2, kekVersion),
      prefixed(2, wrapped),
    ]),
    given.trailing ?? Buffer.alloc(0),
  ]);
  const mac = createHmac('sha256', derive(dek, 'dek-block')).update(body).digest();
  return { bytes: Buffer.concat([body, mac]), facts: { created, generation, keyName, partition, recipients } };
}

/** An envelope and what it was made from. `given`: suite, content, header {offset: byte}, block, detached, context, … */
function seal(name, given = {}) {
  const { suite = 1, content = 1, context: pairs = [], associatedData = '', plaintext = 'hello', header = {} } = given;
  const dek = given.dek ?? fixedBytes(`dek ${name}`, 32);
  const block = given.block === undefined ? undefined : makeBlock(dek, given.block);
  const inline = block !== undefined && !given.detached;
  const head = Buffer.concat([
    Buffer.from('dekd'),
    Buffer.of(1, suite, content, inline ? 1 : 0),
    given.dekId ?? derive(dek, 'dek-id'),
  ]);
  for (const [offset, byte] of Object.entries(header)) head[offset] = byte;
  const aadHead = Buffer.from(head);
  aadHead[7] = 0;
  const data = bytesOf(associatedData);
  const aad = Buffer.concat([aadHead, context(pairs), prefixed(4, data)]);
  const nonce = given.nonce ?? fixedBytes(`nonce ${name}`, NONCE_BYTES[suite] ?? 24);
  const key = derive(dek, content === 2 ? 'data-key' : 'message');
  const plain = bytesOf(plaintext);
  const middle = inline ? [integer(2, given.blockLength ?? block.bytes.length), block.bytes] : [];
  const envelope = Buffer.concat([head, ...middle, nonce, aead(suite, key, nonce, aad, plain)]);
  return { name, dek, suite, content, pairs, data, plain, block, inline, envelope };
}

export function openVector(name, given) {
  const made = seal(name, given);
  const plaintext =
    made.plain.length > 1024
      ? { plaintext_sha256: createHash('sha256').update(made.plain).digest('hex') }
      : { plaintext: made.plain.toString('hex') };
  return {
    name,
    dek: made.dek.toString('hex'),
    dek_id: derive(made.dek, 'dek-id').toString('hex'),
    suite: made.suite,
    content: made.content,
    context: made.pairs,
    associated_data: made.data.toString('hex'),
    ...plaintext,
    envelope: made.envelope.toString('hex'),
    ...(made.block === undefined ? {} : blockFields(made)),
  };
}

function blockFields({ block, inline }) {
  const { created, generation, keyName, partition, recipients } = block.facts;
  return {
    ...(inline ? {} : { detached_block: block.bytes.toString('hex') }),
    block: {
      created,
      generation,
      key: keyName,
      partition,
      recipients: recipients.map(({ type, algorithm, uri, version, wrapped, kek }) => ({
        type,
        algorithm,
        uri,
        version,
        wrapped: wrapped.toString('hex'),
        ...(kek === undefined ? {} : { kek: kek.toString('hex') }),
      })),
    },
  };
}

/** `alter` gets what seal() made and returns what to change of it: envelope, dek, pairs, data or detached block. */
export function refuseVector(className, name, given, mentions, alter = () => ({})) {
  const made = seal(name, given);
  const { dek, pairs, data, envelope, block } = { ...made, block: made.block?.bytes, ...alter(made) };
  return {
    name,
    class: className,
    ...(mentions.length === 0 ? {} : { mentions }),
    dek: dek.toString('hex'),
    context: pairs,
    associated_data: data.toString('hex'),
    envelope: envelope.toString('hex'),
    ...(block === undefined || made.inline ? {} : { detached_block: block.toString('hex') }),
  };
}

export const ACME = [
  ['tenant', 'acme'],
  ['table', 'orders'],
];
