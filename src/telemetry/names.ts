/** Every event that dekd logs, by its `event` field. Messages may be reworded; these names stay. */
export const EVENTS = {
  starting: 'starting',
  ready: 'ready',
  stopping: 'stopping',
  stopped: 'stopped',
  warning: 'warning',
  memory: 'memory',
  internalError: 'internal_error',
  callFailed: 'call_failed',
  connectionRefused: 'connection_refused',
  outage: 'upstream_outage',
  recovery: 'upstream_recovery',
  refusal: 'upstream_refusal',
  refusalPending: 'upstream_refusal_pending',
  refusalConfirmed: 'upstream_refusal_confirmed',
  refusalWithdrawn: 'upstream_refusal_withdrawn',
  rotationFailed: 'rotation_failed',
  clockStep: 'clock_step',
  keyCreated: 'key_created',
  keyRotated: 'key_rotated',
  warmFailed: 'warm_failed',
} as const;

export type EventName = (typeof EVENTS)[keyof typeof EVENTS];
