import type { KeyringEvents } from '../keyring/events.ts';
import { failureText, type Kek, type KekHealth } from '../keyring/kek.ts';
import type { Refusal } from '../keyring/refusals.ts';
import type { Logger } from '../telemetry/logger.ts';
import { EVENTS } from '../telemetry/names.ts';
import type { BreakerChange } from '../upstream/resilience/resilient-upstream.ts';

/** Writes what happens in the keyrings to the log. Partition values are encryption context, so they may be logged; nothing else of a request is. */
export function logKeyringEvents(logger: Logger): KeyringEvents {
  return {
    outage: (kek) => logger.warn({ event: EVENTS.outage, ...kekFields(kek), ...causeFields(kek) }, outageText(kek)),
    recovery: (kek) => logger.info({ event: EVENTS.recovery, ...kekFields(kek) }, 'the upstream answers again'),
    refusalSeen: (refusal) =>
      logger.warn({ event: EVENTS.refusal, ...refusalFields(refusal) }, 'an upstream refused; asking again'),
    refusalPending: (refusal) =>
      logger.warn({ event: EVENTS.refusalPending, ...refusalFields(refusal) }, 'a refusal could not be confirmed yet'),
    refusalConfirmed: (refusal, purgedDeks) =>
      logger.warn({ event: EVENTS.refusalConfirmed, ...refusalFields(refusal), purgedDeks }, 'a refusal is confirmed'),
    refusalWithdrawn: (refusal) =>
      logger.info({ event: EVENTS.refusalWithdrawn, ...refusalFields(refusal) }, 'a refusal was not confirmed'),
    rotationFailed: (key, error) =>
      logger.warn({ event: EVENTS.rotationFailed, key, reason: error.reason, cause: error.message }, 'no new DEK yet'),
    dekDisowned: (key, error) => logger.warn({ event: EVENTS.dekDisowned, key, reason: error.reason }, error.message),
    clockStepped: (stepMs) => logger.warn({ event: EVENTS.clockStep, stepMs }, 'the wall clock was set forward'),
  };
}

/** Tells of an upstream's breakers; `kek` only of those that concern one KEK alone. */
export function logBreaker(logger: Logger, upstream: string): (change: BreakerChange) => void {
  return ({ state, kek, endpoint, failure, openMs }) => {
    const where = { upstream, ...(endpoint === '' ? {} : { endpoint }), ...(kek === undefined ? {} : { kek }) };
    const fields = { ...where, class: failure.class };
    const since = new Date(Date.now() - openMs).toISOString();
    if (state === 'open')
      logger.warn(
        { event: EVENTS.breakerOpened, ...fields, since, cause: failureText(failure.message) },
        'calls fail at once from now on',
      );
    else logger.info({ event: EVENTS.breakerClosed, ...fields, since, openMs }, 'calls go through again');
  };
}

function kekFields(kek: Kek): object {
  return { upstream: kek.upstreamName, kek: kek.uri };
}

/** Without this only a debug log tells why. */
function causeFields({ health: { state, failureText: cause } }: Kek): object {
  return { state, cause };
}

const OUTAGES: Partial<Record<KekHealth['state'], string>> = {
  throttled: 'an upstream answers that it is asked too much',
  unauthenticated: "an upstream does not accept the agent's credentials",
};

function outageText({ health }: Kek): string {
  return OUTAGES[health.state] ?? 'an upstream does not answer';
}

function refusalFields(refusal: Refusal): object {
  const { kek, scope, kekVersion, keyName } = refusal;
  return { upstream: kek.upstreamName, kek: kek.uri, scope, kekVersion, key: keyName };
}
