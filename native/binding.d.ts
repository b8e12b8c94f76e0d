/**
 * The native addon, the only file of native/ that TypeScript sees. Secrets live in slots of an arena that JavaScript cannot read; it holds handles.
 *
 * Every entry point checks every argument, and runs none of the caller's code while it does. Bytes are a Uint8Array (so a Buffer too) over an
 * ArrayBuffer of its own thread: no other view, none over a SharedArrayBuffer. What it throws is an Error with a `code`:
 *   ERR_INVALID_ARG     an argument of the wrong type, a detached or shrunk buffer, an offset or length past the end, source and destination overlap
 *   ERR_STALE_HANDLE    the handle's slot was freed (and perhaps reused), or never given out (0 included)
 *   ERR_WRONG_KIND      the slot holds another kind of secret than the call works on
 *   ERR_NO_MEMORY       no secret memory is left for such a key: no slot, and for a DEK no place in the second tier
 *   ERR_NO_LOCKED_MEMORY  openArena: memory cannot be locked and `lock` is `required`
 *   ERR_NOT_OPEN        no arena was opened in this process
 *   ERR_AUTHENTICATION  an AEAD tag did not verify (one answer, whatever was wrong)
 *   ERR_UNSUPPORTED_SUITE  a reserved or unknown suite, named in the message
 *   ERR_MESSAGE_LIMIT   suite 2 only: the slot's keys have sealed 2^32 messages together, in whatever suite (NIST SP 800-38D, section 8.3)
 *   ERR_KEY_LENGTH      readKey: the file descriptor held fewer or more bytes than were asked for; readPassphraseKey: than a passphrase has
 *   ERR_NO_KEY          receiveKey: no packet is there, or the channel's other end was closed
 *   ERR_KEY_PACKET      receiveKey: the packet had another size or id; it is gone
 *   ERR_SYSTEM          a system call failed; `errno` and `syscall` are set
 *   ERR_CRYPTO          OpenSSL failed where it cannot fail for a caller's fault
 * No message holds a byte of a key, of a plaintext or of associated data.
 */

/** A slot and its generation in one safe integer: generation × 2^20 + slot. 0 is never a handle. */
export type SlotHandle = number & { readonly __brand: 'SlotHandle' };

/** What lies in a slot. A DEK comes with dek_id, K_block, K_msg and K_data; a raw key is 1–128 bytes and nothing else. */
export type SlotKind = 'dek' | 'raw';

/** How the arena is held: unmapped from the kernel, locked, or (only with `best-effort`) neither. */
export type ArenaKind = 'memfd_secret' | 'mlock' | 'unlocked';

export interface ArenaOptions {
  /** Bytes to ask for, 1–2^28; rounded up to whole pages, cut to what RLIMIT_MEMLOCK leaves. A page of 4 KiB has 11 slots, 1 MiB 4,091. */
  size: number;
  lock: 'required' | 'best-effort';
  /** Skips memfd_secret: for tests that must see the arena in /proc/PID/mem. Default false. */
  avoidSecretMemory?: boolean;
  /**
   * DEKs that the second tier may hold, sealed on the heap (256 bytes each, taken as they are needed), once the arena is full: 0–2^20, cut so
   * that both tiers together hold 2^20 secrets; default 2^20. 0 = no second tier, and no slots kept back for raw keys.
   */
  maxSealed?: number;
}

export interface ArenaStatus {
  kind: ArenaKind;
  /** Bytes asked for, and bytes held. */
  requested: number;
  size: number;
  slots: number;
  slotsUsed: number;
  /** DEKs in the second tier, and how many it may hold. */
  sealed: number;
  maxSealed: number;
  /** DEKs that still fit, in both tiers: the slots that are kept back for raw keys are not counted. */
  free: number;
  /** Layout version in the arena's header. */
  layout: number;
}

export interface PeerCredentials {
  /** 0 across containers of a pod: never a ground for a decision. */
  pid: number;
  uid: number;
  gid: number;
  /** Supplementary groups (SO_PEERGROUPS, Linux 4.13); without duplicates, order as the kernel gives it. */
  groups: number[];
}

/** Which key of a slot works: a raw key of 32 bytes itself, or K_msg or K_data of a DEK. */
export declare const USE_RAW: 0;
export declare const USE_MESSAGE: 1;
export declare const USE_DATA_KEY: 2;
export type KeyUse = 0 | 1 | 2;

/** Envelope suites (docs/envelope.md): 1 XAES-256-GCM, 2 AES-256-GCM. 3 and 4 are reserved and refused by name. */
export type SuiteId = number;

/**
 * Known answers of every primitive through the same code that requests use; the addon refuses to load when one fails,
 * so a caller never needs this: it is here for health checks. Throws ERR_CRYPTO with the primitive's name.
 */
export declare function selfTest(): void;

/** Opens the process's one arena. A second call with the arena open returns its status and changes nothing (worker threads share it). */
export declare function openArena(options: ArenaOptions): ArenaStatus;
export declare function arenaStatus(): ArenaStatus;

/** 32 bytes from getrandom(2) straight into a slot; a `dek` slot has its keys derived at once. */
export declare function createKey(kind: SlotKind): SlotHandle;

/**
 * Reads exactly `length` bytes (1–128; a `dek` is 32) from a file descriptor straight into a slot, and checks that nothing follows.
 * The descriptor stays open. Reads to the end of the file; blocks on a pipe until its writer closes.
 */
export declare function readKey(fd: number, kind: SlotKind, length: number): SlotHandle;

/**
 * Reads a passphrase of 8–1,024 bytes, to the end of the file and without one newline there, into locked memory and makes a raw 32-byte key of it:
 * scrypt (RFC 7914) with N = 2^logN (10–20, less than 16 × r), r 1–32, p 1–16. Its table of 128 × r × N bytes, at most 1 GiB, is outside the arena,
 * and zeroed; the calling thread works for 0.25 s at 17, 8, 1. For the start only: GenerateDataKey waits meanwhile for the arena's scratch space.
 * ERR_KEY_LENGTH for a passphrase that is shorter or longer.
 */
export declare function readPassphraseKey(fd: number, salt: Uint8Array, logN: number, r: number, p: number): SlotHandle;

/** Zeroes and frees the slot (at once, or when the last call that pinned it ends). */
export declare function freeKey(handle: SlotHandle): void;

/**
 * HKDF-SHA-256 (RFC 5869) with the raw key of `handle` as ikm; the output goes to a new raw slot. Lengths 1–128.
 */
export declare function deriveKey(handle: SlotHandle, salt: Uint8Array, info: Uint8Array, length: number): SlotHandle;

/** HMAC-SHA-256 (RFC 2104) over `data` with a raw key; 32 bytes, public. */
export declare function hmac(handle: SlotHandle, data: Uint8Array): Buffer;
/** The same, compared in constant time; false when `mac` does not have 32 bytes. */
export declare function hmacVerify(handle: SlotHandle, data: Uint8Array, mac: Uint8Array): boolean;

/** A DEK's 32-byte dek_id (public), copied into a new Buffer. */
export declare function dekId(handle: SlotHandle): Buffer;
/** HMAC-SHA-256(K_block, data): the MAC of a dek-block. */
export declare function blockMac(handle: SlotHandle, data: Uint8Array): Buffer;
/** True when `id` equals dek_id and the last 32 bytes of `block` are the MAC of what is before them; both compared in constant time, both always computed. */
export declare function blockVerify(handle: SlotHandle, id: Uint8Array, block: Uint8Array): boolean;

/**
 * A table of DEKs by the public bytes that an envelope carries of them: dek_id (32) and what follows it. It holds keyed 64-bit hashes, no bytes,
 * and a number for each, which its holder chose. With `from` it has twice the places and what is in `from`. A Uint8Array that nobody else may write to.
 */
export declare function createIndex(from: Uint8Array | null): Uint8Array;
/** False when it has no room: then createIndex(index), and again. `number` below 2^20; `id` = dek_id and what follows, and no other of that dek_id is in. */
export declare function addToIndex(index: Uint8Array, number: number, handle: SlotHandle, id: Uint8Array): boolean;
/** The number for exactly the bytes `start` … `end`, 32 at least, or -1. The processor has begun to fetch the key's slot. */
export declare function findInIndex(index: Uint8Array, bytes: Uint8Array, start: number, end: number): number;
/** The number for a dek_id (32 bytes, what follows is not looked at), or -1. */
export declare function findIdInIndex(index: Uint8Array, id: Uint8Array): number;
/** The same, and it is out. */
export declare function removeFromIndex(index: Uint8Array, id: Uint8Array): number;

/**
 * Seals `plaintext` into `out` at `outOffset` as nonce | ciphertext | tag; the nonce comes from getrandom(2).
 * @returns bytes written: nonce + plaintext + 16.
 */
export declare function seal(
  handle: SlotHandle,
  use: KeyUse,
  suite: SuiteId,
  aad: Uint8Array,
  aadLength: number,
  plaintext: Uint8Array,
  out: Uint8Array,
  outOffset: number,
): number;

/**
 * Opens nonce | ciphertext | tag = `sealed`[sealedOffset … end] into `out` at 0. On a failure nothing of the plaintext stays in `out`.
 * @returns bytes written: the plaintext's length.
 */
export declare function open(
  handle: SlotHandle,
  use: KeyUse,
  suite: SuiteId,
  aad: Uint8Array,
  aadLength: number,
  sealed: Uint8Array,
  sealedOffset: number,
  out: Uint8Array,
): number;

/**
 * seal for long plaintexts, in a thread-pool job. Everything is copied before it returns, so the caller may change, zero or detach its buffers at
 * once. The handle is pinned and the message counted at the call; freed meanwhile, the key serves this job and is zeroed then. Never throws:
 * what seal would throw rejects.
 * @returns prefix | nonce | ciphertext | tag, in memory of its own.
 */
export declare function sealAsync(
  handle: SlotHandle,
  use: KeyUse,
  suite: SuiteId,
  aad: Uint8Array,
  aadLength: number,
  plaintext: Uint8Array,
  prefix: Uint8Array,
): Promise<Buffer>;

/**
 * open for long ciphertexts, likewise. The plaintext comes into JavaScript's reach only when it is authentic.
 * @returns the plaintext, the caller's to zero; native memory, zeroed again when it is collected.
 */
export declare function openAsync(
  handle: SlotHandle,
  use: KeyUse,
  suite: SuiteId,
  aad: Uint8Array,
  aadLength: number,
  sealed: Uint8Array,
  sealedOffset: number,
): Promise<Buffer>;

/**
 * GenerateDataKey: `length` (1–1024) bytes from getrandom(2), made inside the arena's scratch space, written to `plaintextOut` at 0 and sealed under
 * K_data into `out` at `outOffset`. With `plaintextOut` null the data key never leaves native memory.
 * @returns bytes written to `out`.
 */
export declare function sealDataKey(
  handle: SlotHandle,
  suite: SuiteId,
  aad: Uint8Array,
  aadLength: number,
  length: number,
  plaintextOut: Uint8Array | null,
  out: Uint8Array,
  outOffset: number,
): number;

/** Seals the 32 raw bytes of `dek` (a `dek` or `raw` slot) under the raw key `kek`, slot to slot: nonce | 32 | tag. Suite 1 (XAES-256-GCM, 72 bytes) or 2 (AES-256-GCM, 60). */
export declare function wrapKey(kek: SlotHandle, suite: SuiteId, dek: SlotHandle, aad: Uint8Array): Buffer;
/** The reverse, into a new slot of `kind`. ERR_AUTHENTICATION when the tag or the length is wrong. */
export declare function unwrapKey(
  kek: SlotHandle,
  suite: SuiteId,
  wrapped: Uint8Array,
  aad: Uint8Array,
  kind: SlotKind,
): SlotHandle;

/**
 * A SOCK_SEQPACKET socketpair over which keys go between this process and a child, each a packet of u64 id (big-endian) | 32 bytes. Neither end
 * blocks, neither is inherited unless spawn is told to. Whoever opened it closes both.
 */
export declare function openKeyChannel(): { parent: number; child: number };
/** Closes one end. ERR_SYSTEM for what is no such channel, so that a mistake closes nothing of others. */
export declare function closeKeyChannel(fd: number): void;
/**
 * Sends a DEK straight from its slot. `id` below 2^53. ERR_SYSTEM: `fd` is not such a channel (EPROTOTYPE), too many packets wait (EAGAIN), or the
 * other end was closed (EPIPE).
 */
export declare function sendKey(fd: number, id: number, handle: SlotHandle): void;
/** Takes the next packet, which must have that id, straight into a new slot of `kind`. On every failure but ERR_INVALID_ARG and ERR_NO_KEY the packet is gone. */
export declare function receiveKey(fd: number, id: number, kind: SlotKind): SlotHandle;

/** Fills with zeroes in a way that no compiler removes. */
export declare function cleanse(bytes: Uint8Array): void;

/** CLOCK_BOOTTIME in milliseconds with fractions: goes on through suspend, never steps. */
export declare function boottimeMs(): number;

/** SO_PEERCRED and SO_PEERGROUPS of a connected Unix socket; ERR_SYSTEM (ENOTCONN) for one that listens, and for TCP. */
export declare function peerCredentials(fd: number): PeerCredentials;

/** PR_SET_DUMPABLE 0 and RLIMIT_CORE 0, for the whole process, for good. Returns what the kernel then reports. */
export declare function hardenProcess(): { dumpable: boolean; coreLimit: number };

/** flock(2) LOCK_EX | LOCK_NB: true when this open file now holds the lock, false when another does. Gone with the descriptor or the process. */
export declare function lockFile(fd: number): boolean;

/**
 * For a child process. RLIMIT_DATA: what the process has now and `growthBytes` (2^24–2^38) more; RLIMIT_NOFILE: `openFiles` (16–2^20). Never above
 * the limits that it came with. For good.
 */
export declare function limitProcess(growthBytes: number, openFiles: number): void;

/** PR_SET_PDEATHSIG: the kernel kills this process when the thread that started it ends, which may have happened before. */
export declare function endWithParent(): void;
