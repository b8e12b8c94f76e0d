import test from 'ava';
import { logBreaker } from '../../src/daemon/log-events.ts';
import { localEdge, upstreamEdge } from '../../src/daemon/upstream-edges.ts';
import { UpstreamFailure } from '../../src/upstream/failure.ts';
import type { Upstream } from '../../src/upstream/provider.ts';
import { hasBreakers } from '../../src/upstream/resilience/breakers.ts';
import { OK, ScriptedUpstream, UNREACHABLE } from '../fakes/scripted-upstream.ts';
import { MovableClock } from '../helpers/movable-clock.ts';
import { recordingLogger } from './recording-logger.ts';

const { signal } = new AbortController();

async function describe(upstream: Upstream, clock: MovableClock): Promise<string> {
  let how: string | undefined;
  upstream.describe('a', { signal }).then(
    () => (how = 'ok'),
    (error: { class: string }) => (how = error.class),
  );
  while (how === undefined) await clock.advance(10);
  return how;
}

test('outside this process: breakers round drills round the upstream; a drill opens the breaker, and its end closes it', async (t) => {
  const clock = new MovableClock();
  const raw = Object.defineProperty(new ScriptedUpstream(clock), 'type', { value: 'vault-transit' });
  const { logger, lines } = recordingLogger();
  const edge = await upstreamEdge('vault', raw, clock, logBreaker(logger, 'vault'));
  t.is(edge.raw, raw);
  t.true(hasBreakers(edge.upstream));
  t.is(edge.breaker, 'closed');
  edge.drilled.start({ failureClass: 'unreachable', durationMs: 60_000 });
  for (let count = 0; count < 5; count++) t.is(await describe(edge.upstream, clock), 'unreachable');
  t.is(edge.breaker, 'open');
  t.is(raw.count(), 0);
  await clock.advance(65_000);
  t.is(edge.breaker, 'closed');
  t.is(await describe(edge.upstream, clock), 'ok');
  const [opened, closed] = lines;
  t.like(opened, { level: 'warn', event: 'upstream_breaker_opened', upstream: 'vault', class: 'unreachable' });
  t.like(closed, { level: 'info', event: 'upstream_breaker_closed', upstream: 'vault', class: 'unreachable' });
  t.true((closed!['openMs'] as number) >= 59_000);
  for (const line of lines) {
    t.false('kek' in line || 'endpoint' in line);
    t.true(Date.parse(line['since'] as string) <= Date.now());
  }
  await edge.upstream.close();
  t.is(clock.timers, 0);
});

test('the log names the KEK and the endpoint where one of them alone is out', (t) => {
  const { logger, lines } = recordingLogger();
  const failure = new UpstreamFailure('throttled', 'slow\ndown');
  const change = { state: 'open', failure, openMs: 0 } as const;
  logBreaker(logger, 'aws')({ ...change, kek: 'aws-kms:arn', endpoint: 'eu-west-1' });
  t.like(lines[0], {
    upstream: 'aws',
    kek: 'aws-kms:arn',
    endpoint: 'eu-west-1',
    class: 'throttled',
    cause: 'slow down',
  });
});

test('local has drills and no breaker: each failure is one call', async (t) => {
  const clock = new MovableClock();
  const raw = new ScriptedUpstream(clock);
  for (const edge of [localEdge(raw, clock), await upstreamEdge('vault', raw, clock, () => t.fail('it has none'))]) {
    t.false(hasBreakers(edge.upstream));
    t.is(edge.upstream, edge.drilled);
    raw.answer(UNREACHABLE);
    raw.calls.length = 0;
    for (let count = 0; count < 10; count++) t.is(await describe(edge.upstream, clock), 'unreachable');
    t.is(raw.count(), 10);
    t.is(edge.breaker, 'closed');
    raw.answer(OK);
    t.is(await describe(edge.upstream, clock), 'ok');
  }
});
