// Has 1,000 DEKs linger at once, so it runs in a process with an arena of its own; prints what it saw as JSON.
import { writeSync } from 'node:fs';
import { arenaStatus, openArena } from '../../src/crypto/native.ts';
import { World } from './world.ts';

openArena({ size: 1 << 20, lock: 'best-effort' });
const world = new World();
const writer = world.peer({ partitionBy: ['tenant'], cache: { maxPartitions: 1 } });
const sealed: Buffer[] = [];
for (let at = 0; at <= 1_000; at++) sealed.push((await writer.seal({ tenant: `t${at}` })).ciphertext);
writer.world.keyrings.close();
const before = arenaStatus().slotsUsed;

const key = world.key({ partitionBy: ['tenant'] });
for (let at = 0; at < 1_000; at++) {
  const broken = Buffer.from(sealed[at]!);
  broken[broken.length - 1]! ^= 1;
  await world.reason(() => key.decrypt(broken, { tenant: `t${at}` }));
}
const lingering = arenaStatus().slotsUsed - before;
const calls = world.upstream.count();
const reason = await world.reason(() => key.decrypt(sealed[1_000]!, { tenant: 't1000' }));
const asked = world.upstream.count() - calls;
world.keyrings.close();
writeSync(1, JSON.stringify({ lingering, reason, calls: asked, slots: arenaStatus().slotsUsed - before }));
