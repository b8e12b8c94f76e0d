/** Envelopes whose dek-block's partition is malformed, its MAC right, and the request's context such that nothing else is wrong. */
import { context, contextInOrder, integer, refuseVector } from './build.mjs';

export function malformedPartitions() {
  return [...malformedEncodings(), ...malformedOrder(), ...malformedEntries(), ...malformedText()];
}

function refuse(name, partitionBytes, pairs, ...mentions) {
  const given = { block: { partitionBytes }, context: pairs };
  return refuseVector('malformed', name, given, ['dek-block', 'partition', ...mentions]);
}

function malformedEncodings() {
  const one = [['a', 'b']];
  const two = [...one, ['c', 'd']];
  const many = Array.from({ length: 65 }, (_, index) => [`k${String(index).padStart(2, '0')}`, 'v']);
  const long = Array.from({ length: 34 }, (_, index) => [`k${String(index).padStart(2, '0')}`, 'v'.repeat(229)]);
  long.push(['l', 'v'.repeat(8193 - context(long).length - 9)]);
  return [
    refuse('partition of no bytes', Buffer.alloc(0), [], 'ends inside'),
    refuse('partition ends inside a key', context(one).subarray(0, 8), one, 'ends inside'),
    refuse('partition ends inside a value', context(one).subarray(0, -1), one, 'ends inside'),
    refuse('partition with fewer entries than its count', contextInOrder(one, 2), one, 'ends inside'),
    refuse('partition with more entries than its count', contextInOrder(two, 1), two, 'too many'),
    refuse('partition with a byte too many', Buffer.concat([context(one), Buffer.alloc(1)]), one, 'too many'),
    refuse('partition with 65 entries', context(many), many, '65 entries'),
    refuse('partition with 2^32 - 1 entries', integer(4, 2 ** 32 - 1), [], 'entries'),
    refuse('partition of 8,193 bytes', context(long), long, '8192'),
    refuse(
      'partition key length over the end',
      Buffer.concat([integer(4, 1), integer(4, 2 ** 32 - 1)]),
      [],
      'ends inside',
    ),
  ];
}

function malformedOrder() {
  const inOrder = (name, keys) => {
    const pairs = keys.map((key) => [key, 'x']);
    return refuse(name, contextInOrder(pairs), pairs.slice(0, new Set(keys).size), 'ascending');
  };
  return [
    inOrder('partition keys descending', ['b', 'a']),
    inOrder('partition keys in UTF-16 order', ['\u{1F600}', '\uFF5E']),
    inOrder('partition key before its prefix', ['ab', 'a']),
    inOrder('partition key twice', ['a', 'a']),
  ];
}

function malformedEntries() {
  const entry = (name, key, value, mention) => refuse(name, context([[key, value]]), [[key, value]], mention);
  return [
    entry('partition key empty', '', 'x', 'empty key'),
    entry('partition key with prefix dekd:', 'dekd:x', 'x', 'dekd:'),
    entry('partition key with prefix aws:', 'aws:x', 'x', 'aws:'),
    entry('partition value empty', 'a', '', 'value'),
    entry('partition value of 257 bytes', 'a', 'x'.repeat(257), 'value'),
    entry('partition value of 129 two-byte characters', 'a', 'é'.repeat(129), 'value'),
  ];
}

// The request's context is what a lenient decoder would read.
function malformedText() {
  const wrong = { overlong: 'c0af', surrogate: 'eda080', 'over U+10FFFF': 'f4908080', truncated: 'e282' };
  return Object.entries(wrong).flatMap(([what, hex]) => {
    const bytes = Buffer.from(hex, 'hex');
    const lenient = bytes.toString('utf8');
    return [
      refuse(`partition key not UTF-8: ${what}`, context([[bytes, 'x']]), [[lenient, 'x']], 'UTF-8'),
      refuse(`partition value not UTF-8: ${what}`, context([['a', bytes]]), [['a', lenient]], 'UTF-8'),
    ];
  });
}
