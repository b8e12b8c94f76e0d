import type { ExecutionContext } from 'ava';
import type { LocalOptions } from '../../../src/upstream/local/options.ts';
import type { LocalUpstream } from '../../../src/upstream/local/provider.ts';
import type { KekDescription } from '../../../src/upstream/provider.ts';
import { wrapContext } from '../../contract/upstream-context.ts';
import { MovableClock } from '../../helpers/movable-clock.ts';
import { makePlace, openPlace, type Place } from './fixture.ts';

export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
export const CONTEXT = wrapContext({ 'dekd:key': 'orders', tenant: 'acme' });

export interface World {
  readonly place: Place;
  readonly clock: MovableClock;
  readonly upstream: LocalUpstream;
  readonly kek: string;
  /** What onKekChange was called with. */
  readonly changes: KekDescription[];
}

/** A store with the KEK `orders`, and time that the test moves. */
export async function makeWorld(t: ExecutionContext, options: Partial<LocalOptions> = {}): Promise<World> {
  const place = makePlace(t);
  const clock = new MovableClock();
  const upstream = await openPlace(t, { ...place.options, ...options, clock });
  const { uri: kek } = await upstream.createKek('orders', new Map(), 'uid 2001');
  const changes: KekDescription[] = [];
  upstream.onKekChange = (description) => changes.push(description);
  return { place, clock, upstream, kek, changes };
}

/** The same store after a restart. */
export async function restarted(
  t: ExecutionContext,
  { upstream, place, clock }: World,
  options: Partial<LocalOptions> = {},
) {
  await upstream.close();
  return openPlace(t, { ...place.options, ...options, clock });
}

/** Lets time pass and the agent look. */
export async function pass(clock: MovableClock, ms: number): Promise<void> {
  clock.suspend(ms);
  await clock.advance(MINUTE_MS);
}

/** Two custodians ask for a deletion after seven days. */
export async function scheduleDeletion({ upstream, kek }: World): Promise<KekDescription> {
  const request = { waitingPeriodMs: 7 * DAY_MS, custodians: 2 };
  await upstream.scheduleKekDeletion(kek, { ...request, by: 'uid 2001' });
  return upstream.scheduleKekDeletion(kek, { ...request, by: 'uid 2002' });
}

export function versionStates({ versions }: KekDescription): string[] {
  return versions.map(({ version, state }) => `${version} ${state}`);
}

export async function reasonOf(t: ExecutionContext, call: Promise<unknown>): Promise<string> {
  const error = await t.throwsAsync(call, { name: 'DekdError' });
  return (error as unknown as { reason: string }).reason;
}
