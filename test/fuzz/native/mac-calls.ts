import { blockMac, dekId, hmac } from '../../../src/crypto/native.ts';
import { type Case, type EntryPoint, expectBytes, expectEqual } from './case.ts';
import { oddView } from './hostile.ts';
import type { Key, Model } from './model.ts';
import { derive, hmacSha256 } from './reference.ts';

/** Entry points that compute or compare MACs. */
export const MAC_CALLS: Readonly<Record<string, EntryPoint>> = {
  hmac: { make: (model) => macCase(model, model.raw(), 'raw') },
  blockMac: { make: (model) => macCase(model, model.dek(), 'dek') },
  hmacVerify: { make: hmacVerify },
  blockVerify: { make: blockVerify },
};

function macCase(model: Model, key: Key | undefined, role: 'raw' | 'dek'): Case | undefined {
  if (key === undefined) return undefined;
  const data = model.view(model.length());
  const check = (mac: Buffer): void => expectBytes(mac, macOf(key, data), 'MACs');
  return { args: [key.handle, oddView(data, model)], roles: [role, 'bytes'], check };
}

function hmacVerify(model: Model): Case | undefined {
  const key = model.raw();
  if (key === undefined) return undefined;
  const data = model.view(model.length());
  const [mac, isRight] = perhapsAltered(model, macOf(key, data));
  return {
    args: [key.handle, data, oddView(mac, model)],
    roles: ['raw', 'bytes', 'bytes'],
    check: (answer: boolean) => expectEqual(answer, isRight, 'hmacVerify'),
  };
}

function blockVerify(model: Model): Case | undefined {
  const key = model.dek();
  if (key === undefined) return undefined;
  const data = model.view(model.length());
  const [id, isRightId] = perhapsAltered(model, dekId(key.handle));
  const [mac, isRightMac] = perhapsAltered(model, macOf(key, data));
  return {
    args: [key.handle, id, Buffer.concat([data, mac])],
    roles: ['dek', 'bytes', 'bytes'],
    check: (answer: boolean) => expectEqual(answer, isRightId && isRightMac, 'blockVerify'),
  };
}

/** Half of them are changed in a bit, or cut short. */
function perhapsAltered(model: Model, bytes: Buffer): [bytes: Buffer, isRight: boolean] {
  const { random } = model;
  if (random.chance(1, 2)) return [bytes, true];
  if (random.chance(1, 3)) return [bytes.subarray(0, random.below(bytes.length)), false];
  const altered = Buffer.from(bytes);
  altered[random.below(altered.length)]! ^= 1 << random.below(8);
  return [altered, false];
}

function macOf(key: Key, data: Buffer): Buffer {
  if (key.bytes !== undefined) return hmacSha256(key.kind === 'raw' ? key.bytes : derive(key.bytes, 'dek-block'), data);
  return key.kind === 'raw' ? hmac(key.handle, data) : blockMac(key.handle, data);
}
