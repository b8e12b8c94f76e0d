import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { KeyConfig } from '../../src/config/config.ts';
import { RevocationsFollower } from '../../src/daemon/revocations-follower.ts';
import { DekdError } from '../../src/errors.ts';
import type { Revocation } from '../../src/keyring/revocations.ts';
import { MovableClock } from '../helpers/movable-clock.ts';
import { recordingLogger } from './recording-logger.ts';

const KEYS = new Map(['orders', 'invoices'].map((name) => [name, { partitionBy: ['tenant'] } as unknown as KeyConfig]));
const ORDERS = 'revoked: [ { key: orders } ]\n';
const BOTH = 'revoked: [ { key: orders }, { key: invoices, partition: { tenant: acme } } ]\n';
const NOTHING = 'revoked: []\n';

interface World {
  readonly file: string;
  readonly directory: string;
  readonly clock: MovableClock;
  readonly follower: RevocationsFollower;
  /** What is in force: `orders`, `invoices tenant=acme`. */
  readonly inForce: () => string[];
  /** Events of the log, without the warnings. */
  readonly events: () => string[];
  readonly lines: ReturnType<typeof recordingLogger>['lines'];
}

/** A follower of a file of its own, started on that text. */
async function started(t: ExecutionContext, text: string): Promise<World> {
  const world = place(t);
  writeFileSync(world.file, text);
  await world.follower.start();
  return world;
}

function place(t: ExecutionContext): World {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-revocations-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'revocations.yaml');
  const clock = new MovableClock();
  const { logger, lines } = recordingLogger();
  let inForce: readonly Revocation[] = [];
  const keyrings = {
    revoke: (revocations: readonly Revocation[], source: string): number => {
      t.is(source, file);
      inForce = revocations;
      return 7;
    },
  };
  const follower = new RevocationsFollower({ file, keys: KEYS, keyrings, clock, logger });
  t.teardown(() => follower.stop());
  return {
    file,
    directory,
    clock,
    follower,
    lines,
    inForce: () => inForce.map(named),
    events: () => lines.map(({ event }) => event).filter((event) => event !== 'warning'),
  };
}

function named({ key, partition }: Revocation): string {
  return [key, ...[...(partition ?? [])].map(([name, value]) => `${name}=${value}`)].join(' ');
}

test('what the file says at the start is in force before it returns', async (t) => {
  const { inForce, lines, follower } = await started(t, BOTH);
  t.deepEqual(inForce(), ['orders', 'invoices tenant=acme']);
  t.deepEqual(follower.warnings, []);
  const [line] = lines;
  t.like(line, { level: 'warn', event: 'revocations_changed', entries: 2, removed: [], purgedDeks: 7 });
  t.deepEqual(line?.['added'], [{ key: 'orders' }, { key: 'invoices', partition: { tenant: 'acme' } }]);
});

for (const [what, text] of [
  ['is missing', undefined],
  ['is wrong', 'revoked: [ { key: "*" } ]'],
] as const) {
  test(`a file that ${what} at the start is an error that names it`, async (t) => {
    const { file, follower, clock } = place(t);
    if (text !== undefined) writeFileSync(file, text);
    const error = await t.throwsAsync(follower.start(), { instanceOf: DekdError });
    t.is(error?.reason, 'INVALID_REQUEST');
    t.true(error?.message.startsWith(file));
    t.is(clock.timers, 0);
  });
}

const CHANGES: Readonly<Record<string, (world: World, text: string) => void>> = {
  'is edited in place': ({ file }, text) => writeFileSync(file, text),
  'is replaced by a rename': ({ file, directory }, text) => {
    writeFileSync(join(directory, 'next'), text);
    renameSync(join(directory, 'next'), file);
  },
  'is taken away and made again': ({ file }, text) => {
    unlinkSync(file);
    writeFileSync(file, text);
  },
};

for (const [how, change] of Object.entries(CHANGES)) {
  test(`a file that ${how} is in force at the next look, entries that go at the second`, async (t) => {
    const world = await started(t, ORDERS);
    const { follower, inForce, events } = world;
    change(world, BOTH);
    await follower.look();
    t.deepEqual(inForce(), ['orders', 'invoices tenant=acme']);
    change(world, NOTHING);
    await follower.look();
    t.deepEqual(inForce(), ['orders', 'invoices tenant=acme']);
    await follower.look();
    t.deepEqual(inForce(), []);
    t.deepEqual(events(), ['revocations_changed', 'revocations_changed', 'revocations_changed']);
    await follower.look();
    t.is(events().length, 3);
  });
}

test('the status: how many entries since when, of which file', async (t) => {
  const { file, follower, clock } = await started(t, NOTHING);
  const digest = (text: string): string => createHash('sha256').update(text).digest('hex');
  const startedAt = clock.wallMs();
  t.deepEqual(follower.facts, { file, entries: 0, changedAt: startedAt, sha256: digest(NOTHING), lookedAt: startedAt });
  clock.suspend(500);
  writeFileSync(file, BOTH);
  await follower.look();
  const changedAt = startedAt + 500;
  t.deepEqual(follower.facts, { file, entries: 2, changedAt, sha256: digest(BOTH), lookedAt: changedAt });
  clock.suspend(500);
  writeFileSync(file, 'revoked:');
  await follower.look();
  t.deepEqual(follower.facts, { file, entries: 2, changedAt, sha256: digest(BOTH), lookedAt: changedAt + 500 });
});

test('a ConfigMap: its symlinks are swapped', async (t) => {
  const world = place(t);
  const { directory, file, follower, inForce } = world;
  const version = (name: string, text: string): void => {
    mkdirSync(join(directory, name));
    writeFileSync(join(directory, name, 'revocations.yaml'), text);
    // As the kubelet does it: a new link beside the old one, and a rename over that.
    symlinkSync(name, join(directory, '..data_tmp'));
    renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
  };
  version('..2026_01', NOTHING);
  symlinkSync(join('..data', 'revocations.yaml'), file);
  await follower.start();
  version('..2026_02', ORDERS);
  await follower.look();
  t.deepEqual(inForce(), ['orders']);
});

test('a file that is being written brings nothing back for a moment', async (t) => {
  const { file, follower, inForce, events } = await started(t, 'revoked:\n- key: orders\n- key: invoices\n');
  writeFileSync(file, 'revoked:\n- key: orders\n');
  await follower.look();
  t.deepEqual(inForce(), ['orders', 'invoices']);
  writeFileSync(file, 'revoked:\n- key: orders\n- key: invoices\n- { key: invoices, partition: { tenant: a } }\n');
  await follower.look();
  t.deepEqual(inForce(), ['orders', 'invoices', 'invoices tenant=a']);
  await follower.look();
  t.deepEqual(inForce(), ['orders', 'invoices', 'invoices tenant=a']);
  t.is(events().length, 2);
});

test('what adds and takes out at once: the new is in force at the first look, the old until the second', async (t) => {
  const { file, follower, inForce } = await started(t, ORDERS);
  writeFileSync(file, 'revoked: [ { key: invoices } ]');
  await follower.look();
  t.deepEqual(inForce(), ['invoices', 'orders']);
  await follower.look();
  t.deepEqual(inForce(), ['invoices']);
});

const FAULTS: Readonly<Record<string, (world: World) => void>> = {
  vanishes: ({ file }) => unlinkSync(file),
  'is emptied': ({ file }) => writeFileSync(file, ''),
  'turns wrong': ({ file }) => writeFileSync(file, 'revoked: [ { key: "*" } ]'),
  'becomes a directory': ({ file }) => {
    unlinkSync(file);
    mkdirSync(file);
  },
};

for (const [how, spoil] of Object.entries(FAULTS)) {
  test(`a file that ${how}: what it said stays in force, told once and in the status, until it is right`, async (t) => {
    const world = await started(t, BOTH);
    const { file, follower, inForce, lines, events } = world;
    spoil(world);
    for (let look = 0; look < 3; look++) await follower.look();
    t.deepEqual(inForce(), ['orders', 'invoices tenant=acme']);
    t.deepEqual(events(), ['revocations_changed', 'revocations_wrong']);
    t.like(lines.at(-1), { level: 'error', file, entries: 2 });
    t.is(follower.warnings.length, 1);
    t.regex(follower.warnings[0] ?? '', /revocations\.yaml: wrong since 20.*Z; what it said before stays in force$/);
    t.true(follower.namedWarnings[0]?.startsWith(file));

    rmSync(file, { recursive: true, force: true });
    writeFileSync(file, ORDERS);
    await follower.look();
    t.deepEqual(inForce(), ['orders', 'invoices tenant=acme']);
    await follower.look();
    t.deepEqual(inForce(), ['orders']);
    t.deepEqual(events().slice(2), ['revocations_right', 'revocations_changed']);
    t.deepEqual([...follower.warnings, ...follower.namedWarnings], []);
  });
}

test('a file that turns wrong while an entry is about to go keeps the entry', async (t) => {
  const { file, follower, inForce } = await started(t, ORDERS);
  writeFileSync(file, NOTHING);
  await follower.look();
  writeFileSync(file, 'revoked:');
  await follower.look();
  await follower.look();
  t.deepEqual(inForce(), ['orders']);
});

test('another fault is told again, and its beginning stays', async (t) => {
  const { file, follower, events, clock } = await started(t, ORDERS);
  writeFileSync(file, 'revoked:');
  await follower.look();
  const [before] = follower.warnings;
  await clock.advance(60_000);
  // In one step: the look of that minute may still be reading.
  writeFileSync(`${file}.next`, 'revoked: {}');
  renameSync(`${file}.next`, file);
  await follower.look();
  t.deepEqual(events(), ['revocations_changed', 'revocations_wrong', 'revocations_wrong']);
  t.is(follower.warnings[0], before);
});

test('an unknown key is a warning in log and status, and the other entries are in force', async (t) => {
  const { file, follower, inForce, lines } = await started(t, NOTHING);
  writeFileSync(file, 'revoked: [ { key: order }, { key: orders } ]');
  await follower.look();
  t.deepEqual(inForce(), ['order', 'orders']);
  const warning = `${file}:1:19: revoked[0].key: no key is called order, so nothing is revoked; did you mean orders?`;
  t.deepEqual(follower.namedWarnings, [warning]);
  t.deepEqual(follower.warnings, []);
  t.deepEqual(
    lines.filter(({ event }) => event === 'warning').map(({ text }) => text),
    [warning],
  );
});

test('the log names the first twenty entries and how many more there are', async (t) => {
  const entries = Array.from({ length: 25 }, (_, tenant) => `{ key: orders, partition: { tenant: t${tenant} } }`);
  const { lines } = await started(t, `revoked: [ ${entries.join(', ')} ]`);
  const added = lines.at(-1)?.['added'] as object[];
  t.is(added.length, 21);
  t.deepEqual(added.at(-1), { more: 5 });
});

test('it looks every second until it is stopped', async (t) => {
  const { file, follower, inForce, clock } = await started(t, NOTHING);
  const looked = async (): Promise<void> => {
    await clock.advance(1_000);
    // The file is read beside the clock of the test: the next look is planned when it was.
    for (const until = performance.now() + 10_000; clock.timers === 0 && performance.now() < until; ) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  await looked();
  writeFileSync(file, ORDERS);
  await looked();
  t.deepEqual(inForce(), ['orders']);
  follower.stop();
  t.is(clock.timers, 0);
});

test('a look that ends after the stop changes nothing', async (t) => {
  const { file, follower, inForce } = await started(t, NOTHING);
  writeFileSync(file, ORDERS);
  const look = follower.look();
  follower.stop();
  await look;
  t.deepEqual(inForce(), []);
});

test('a file system that does not answer is told in the status', async (t) => {
  const { follower, clock } = await started(t, NOTHING);
  clock.suspend(10_000);
  t.deepEqual(follower.warnings, []);
  clock.suspend(1);
  t.regex(follower.warnings[0] ?? '', /could not be looked at since 20.*Z: its file system does not answer$/);
  await follower.look();
  t.deepEqual(follower.warnings, []);
});
