import test from 'ava';
import { logKeyringEvents } from '../../src/daemon/log-events.ts';
import { Kek } from '../../src/keyring/kek.ts';
import { UpstreamFailure } from '../../src/upstream/failure.ts';
import { ScriptedUpstream } from '../fakes/scripted-upstream.ts';
import { MovableClock } from '../helpers/movable-clock.ts';
import { recordingLogger } from './recording-logger.ts';

const OUTAGES = [
  ['unreachable', 'an upstream does not answer'],
  ['throttled', 'an upstream answers that it is asked too much'],
  ['unauthenticated', "an upstream does not accept the agent's credentials"],
] as const;

for (const [failureClass, text] of OUTAGES) {
  test(`an outage says what happened: ${failureClass}`, async (t) => {
    const { logger, lines } = recordingLogger();
    const clock = new MovableClock();
    const upstream = new ScriptedUpstream(clock);
    const kek = new Kek('local:0123456789abcdef/orders', 'vault', upstream, clock);
    const events = logKeyringEvents(logger);
    kek.onOutage = () => events.outage(kek);
    kek.onRecovery = () => events.recovery(kek);
    upstream.describe = () => Promise.reject(new UpstreamFailure(failureClass, `${'why\u001b[2J\n'.repeat(200)}`));
    await kek.probe();
    t.like(lines[0], { level: 'warn', event: 'upstream_outage', upstream: 'vault', state: failureClass, text });
    const cause = String(lines[0]?.['cause']);
    t.regex(cause, /^why \[2J why [^\p{C}]*…$/u);
    t.is(cause.length, 301);
    upstream.describe = () => Promise.reject(new UpstreamFailure('invalid', 'an answer'));
    await kek.probe();
    t.like(lines[1], { level: 'info', event: 'upstream_recovery', upstream: 'vault' });
    t.false('state' in lines[1]!);
  });
}
