import { type Case, type EntryPoint, expect, expectEqual } from './case.ts';
import type { Model } from './model.ts';

/** Entry points that have nothing to do with keys. */
export const PROCESS_CALLS: Readonly<Record<string, EntryPoint>> = {
  selfTest: { make: selfTest },
  cleanse: { make: cleanse },
  boottimeMs: { make: () => ({ args: [], roles: [], check: checkTime }) },
  peerCredentials: {
    make: (_model, { socketFd }) => ({ args: [socketFd], roles: ['fd'], check: checkCredentials }),
  },
  hardenProcess: { make: () => ({ args: [], roles: [], check: checkHardened }) },
  limitProcess: {
    // Far above what the fuzzer needs.
    make: () => ({ args: [2 ** 37, 4096], roles: ['number', 'number'], check: checkNothing('limitProcess') }),
  },
  endWithParent: { make: () => ({ args: [], roles: [], check: checkNothing('endWithParent') }) },
  lockFile: {
    make: (_model, { lockFd }) => ({
      args: [lockFd],
      roles: ['fd'],
      check: (isHeld: boolean) => expectEqual(isHeld, true, 'lockFile'),
    }),
  },
};

function checkNothing(name: string): (result: undefined) => void {
  return (result) => expectEqual(result, undefined, name);
}

function selfTest(model: Model): Case | undefined {
  return model.random.chance(1, 20) ? { args: [], roles: [], check: checkNothing('selfTest') } : undefined;
}

function cleanse(model: Model): Case {
  const whole = Buffer.alloc(100, 7);
  const start = model.random.below(50);
  const end = start + model.random.below(50);
  return {
    args: [whole.subarray(start, end)],
    roles: ['bytes'],
    outputs: [whole],
    check: () => {
      const isRight = whole.every((byte, at) => byte === (at >= start && at < end ? 0 : 7));
      expect(isRight, 'cleanse zeroed something else');
    },
  };
}

let lastMs = 0;

function checkTime(ms: number): void {
  expect(Number.isFinite(ms) && ms >= lastMs, `boottimeMs went from ${lastMs} to ${ms}`);
  lastMs = ms;
}

function checkCredentials({
  pid,
  uid,
  gid,
  groups,
}: {
  pid: number;
  uid: number;
  gid: number;
  groups: number[];
}): void {
  expectEqual([pid, uid, gid], [process.pid, process.getuid?.(), process.getgid?.()], 'peerCredentials');
  expect(new Set(groups).size === groups.length, 'a group twice');
}

function checkHardened(result: { dumpable: boolean; coreLimit: number }): void {
  expectEqual({ ...result }, { dumpable: false, coreLimit: 0 }, 'hardenProcess');
}
