import { randomBytes } from 'node:crypto';
import { fstatSync, readSync, writeSync } from 'node:fs';
import { closeKeyChannel, dekId, type SlotHandle } from '../../../src/crypto/native.ts';
import { type Case, type EntryPoint, expectBytes, expectEqual } from './case.ts';
import { knownId } from './key-calls.ts';
import type { Model } from './model.ts';
import type { Place } from './place.ts';

/** Entry points that carry keys between processes. */
export const CHANNEL_CALLS: Readonly<Record<string, EntryPoint>> = {
  openKeyChannel: { make: () => ({ args: [], roles: [], check: checkChannel }) },
  closeKeyChannel: { make: closeChannel },
  sendKey: { make: sendKey },
  receiveKey: { make: receiveKey },
};

function checkChannel({ parent, child }: { parent: number; child: number }): void {
  const isSocket = fstatSync(parent).isSocket() && fstatSync(child).isSocket();
  closeKeyChannel(parent);
  closeKeyChannel(child);
  expectEqual(isSocket, true, 'openKeyChannel');
}

function closeChannel(_model: Model, place: Place): Case {
  return { args: [place.spareChannel.parent], roles: ['fd'], check: () => place.renewSpareChannel() };
}

function sendKey(model: Model, { channel }: Place): Case | undefined {
  const key = model.dek();
  if (key === undefined) return undefined;
  const id = randomId(model);
  return {
    args: [channel.parent, id, key.handle],
    roles: ['fd', 'id', 'dek'],
    check: () => {
      const packet = Buffer.alloc(41);
      expectEqual(readSync(channel.child, packet), 40, 'length of a packet');
      expectBytes(packet.subarray(0, 8), idBytes(id), 'id of a packet');
      if (key.bytes !== undefined) expectBytes(packet.subarray(8, 40), key.bytes, 'key of a packet');
    },
  };
}

/** Every call finds its own packet: what it leaves there, because its arguments were refused, the next one takes away. */
function receiveKey(model: Model, { channel, emptyChannel }: Place): Case {
  const { random } = model;
  emptyChannel();
  const id = randomId(model);
  const kind = random.chance(1, 2) ? 'dek' : 'raw';
  const one: Case = { args: [channel.parent, id, kind], roles: ['fd', 'id', 'kind'], makes: kind };
  if (random.chance(1, 5)) return { ...one, fails: 'ERR_NO_KEY' };
  const bytes = randomBytes(32);
  const wrong = random.chance(1, 4) ? wrongPacket(id, bytes, model) : undefined;
  writeSync(channel.child, wrong ?? Buffer.concat([idBytes(id), bytes]));
  if (wrong !== undefined) return { ...one, fails: 'ERR_KEY_PACKET' };
  return {
    ...one,
    check: (handle: SlotHandle) => {
      model.add(handle, kind, 32, bytes);
      if (kind === 'dek') expectBytes(dekId(handle), knownId(model.keys.at(-1)!), 'dek_id of a key that arrived');
    },
  };
}

function wrongPacket(id: number, bytes: Buffer, model: Model): Buffer {
  const { random } = model;
  if (random.chance(1, 2)) return Buffer.concat([idBytes(id === 0 ? 1 : id - 1), bytes]);
  const whole = Buffer.concat([idBytes(id), bytes]);
  return random.chance(1, 2)
    ? whole.subarray(0, 1 + random.below(whole.length - 1))
    : Buffer.concat([whole, randomBytes(1 + random.below(5000))]);
}

function idBytes(id: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(id));
  return bytes;
}

function randomId(model: Model): number {
  return model.random.pick([0, 1, model.random.below(1000), 2 ** 32, Number.MAX_SAFE_INTEGER]);
}
