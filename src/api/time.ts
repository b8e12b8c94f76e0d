import { systemClock } from '../keyring/clock.ts';

interface ProtoTime {
  readonly seconds: string;
  readonly nanos: number;
}

/** google.protobuf.Timestamp of Unix milliseconds. */
export function timestamp(unixMs: number): ProtoTime {
  return protoTime(unixMs);
}

/** Both clocks are read in whole milliseconds and one after the other: a difference that small says nothing. */
const STEADY_MS = 3;
let wallAheadMs = systemClock.wallMs() - systemClock.bootMs();

/** google.protobuf.Timestamp of a moment of CLOCK_BOOTTIME, by the wall clock as it is now. One moment is one instant, however often it is asked. */
export function bootTimestamp(bootMs: number): ProtoTime {
  const wallMs = systemClock.wallMs();
  const aheadMs = wallMs - systemClock.bootMs();
  // Not when the process was held up in between.
  const isSound = systemClock.wallMs() - wallMs <= 1;
  if (isSound && Math.abs(aheadMs - wallAheadMs) > STEADY_MS) wallAheadMs = aheadMs;
  return timestamp(bootMs + wallAheadMs);
}

/** google.protobuf.Duration of milliseconds; an endless one is the longest that the type allows (10,000 years). */
export function duration(ms: number): ProtoTime {
  return Number.isFinite(ms) ? protoTime(ms) : { seconds: '315576000000', nanos: 0 };
}

/** Rounding must not make a whole second of nanoseconds: decoders refuse that. */
function protoTime(ms: number): ProtoTime {
  const seconds = Math.floor(ms / 1_000);
  return { seconds: String(seconds), nanos: Math.min(Math.round((ms - seconds * 1_000) * 1e6), 999_999_999) };
}

/** google.protobuf.Duration as proto-loader decodes it. */
export interface WireDuration {
  readonly seconds: string;
  readonly nanos: number;
}

/** Whole milliseconds of a span, cut; a hostile number of seconds stays a number, however far from any limit. */
export function durationMs({ seconds, nanos }: WireDuration): number {
  return Number(seconds) * 1_000 + Math.trunc(nanos / 1e6);
}
