/** google.protobuf.Timestamp of Unix milliseconds. */
export function timestamp(unixMs: number): { seconds: string; nanos: number } {
  const seconds = Math.floor(unixMs / 1_000);
  return { seconds: String(seconds), nanos: Math.round((unixMs - seconds * 1_000) * 1e6) };
}

/** google.protobuf.Duration of milliseconds; an endless one is the longest that the type allows (10,000 years). */
export function duration(ms: number): { seconds: string; nanos: number } {
  if (!Number.isFinite(ms)) return { seconds: '315576000000', nanos: 0 };
  const seconds = Math.floor(ms / 1_000);
  return { seconds: String(seconds), nanos: Math.round((ms - seconds * 1_000) * 1e6) };
}
