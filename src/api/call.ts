/** Who is calling, as the kernel says. */
export interface Principal {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

/** What a handler needs of the call besides its message; the shape that src/transport/ declares. */
export interface Call {
  readonly principal: Principal;
  readonly requestId: string;
  /** Aborts when the caller cancels or its deadline passes; made on first use. */
  readonly signal: AbortSignal;
  /** Zeroes `bytes` once the response is serialised, or failed; at once when that is past. */
  wipeLater(bytes: Uint8Array): void;
}
