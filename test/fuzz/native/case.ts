import { isDeepStrictEqual } from 'node:util';
import type { SlotKind } from '../../../src/crypto/native.ts';
import type { Role } from './hostile.ts';
import type { Model } from './model.ts';
import type { Place } from './place.ts';

/** One call as it is right, or wrong in a way that only the addon's own work can find. */
export interface Case {
  readonly args: unknown[];
  readonly roles: readonly Role[];
  /** The code with which it must fail; undefined when it must succeed. */
  readonly fails?: string | undefined;
  /** Checks the result, and brings the model up to date. Not called when the call fails. */
  readonly check?: (result: never) => void;
  /** Arguments that must be refused together: an output that lies over what it is made from, or is too short. */
  readonly refused?: () => unknown[];
  /** What a call writes to; unchanged when an argument was refused. */
  readonly outputs?: readonly Uint8Array[];
  /** After a failure by `fails`. */
  readonly checkFailure?: () => void;
  /** Done as soon as a call has returned its promise. */
  readonly afterCall?: (() => void) | undefined;
  /** It makes a key of this kind, for which there may be no room. */
  readonly makes?: SlotKind;
}

/** An entry point of the addon. `make` gives undefined when the model lacks a key for it. */
export interface EntryPoint {
  readonly isAsync?: boolean;
  readonly make: (model: Model, place: Place) => Case | undefined;
}

export function expect(isRight: boolean, what: string): void {
  if (!isRight) throw new Error(what);
}

export function expectEqual(found: unknown, expected: unknown, what: string): void {
  expect(isDeepStrictEqual(found, expected), `${what}: ${String(found)}, not ${String(expected)}`);
}

/** Two results of bytes. */
export function expectBytes(found: Uint8Array, expected: Uint8Array, what: string): void {
  expect(Buffer.compare(found, expected) === 0, `${what} differ`);
}
