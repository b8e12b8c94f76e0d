/**
 * Who is calling: taken once, at accept, from the kernel (SO_PEERCRED, SO_PEERGROUPS). Promised: the uid and groups that the peer
 * had when it connected. Not promised: that the process still runs, or that it did not hand the socket to another.
 */
export interface Principal {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups. */
  readonly groups: readonly number[];
}
