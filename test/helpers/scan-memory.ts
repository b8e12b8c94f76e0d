import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { NeedleSearch } from './needle-search.ts';

export interface Needle {
  /** What is looked for, and in which form, e.g. `K_msg of acme, hex`. */
  readonly name: string;
  readonly bytes: Buffer;
}

export interface Mapping {
  readonly start: number;
  readonly end: number;
  /** As in /proc/PID/maps, e.g. `rw-p`. */
  readonly permissions: string;
  /** A file, `[heap]`, or empty for anonymous memory. */
  readonly path: string;
}

export interface Finding {
  readonly needle: string;
  readonly mapping: Mapping;
  readonly address: number;
}

export interface Scan {
  readonly findings: readonly Finding[];
  readonly scannedBytes: number;
  /** Mappings of which some page could not be read, though their permissions allow it. */
  readonly unreadable: readonly Mapping[];
}

const CHUNK_BYTES = 8 * 2 ** 20;
const PAGE_BYTES = 4096;

/**
 * Looks for each needle in every readable page of another process, which stands still meanwhile. Needs root: an agent is not dumpable
 * (ptrace(2), access modes).
 */
export function scanMemory(pid: number, needles: readonly Needle[]): Scan {
  const search = new NeedleSearch(needles);
  const overlap = search.longestBytes - 1;
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  stopProcess(pid);
  const findings: Finding[] = [];
  const unreadable: Mapping[] = [];
  let scannedBytes = 0;
  try {
    for (const mapping of mappings(pid)) {
      const whole = eachChunk(memory, mapping, overlap, (chunk, address, isNew) => {
        scannedBytes += isNew;
        search.in(chunk, (needle, at) => findings.push({ needle, mapping, address: address + at }));
      });
      if (!whole) unreadable.push(mapping);
    }
  } finally {
    process.kill(pid, 'SIGCONT');
    closeSync(memory);
  }
  return { findings: distinct(findings), scannedBytes, unreadable };
}

/** Every form in which a key could lie about: raw (each half, so that half a copy is found too), hex, and base64 at each alignment. */
export function keyNeedles(name: string, key: Buffer): Needle[] {
  const hex = key.toString('hex');
  const half = key.length / 2;
  return [
    { name: `${name}, raw, first half`, bytes: key.subarray(0, half) },
    { name: `${name}, raw, second half`, bytes: key.subarray(half) },
    { name: `${name}, hex`, bytes: Buffer.from(hex) },
    { name: `${name}, HEX`, bytes: Buffer.from(hex.toUpperCase()) },
    ...[0, 1, 2].map((offset) => ({ name: `${name}, base64 at ${offset}`, bytes: base64At(key, offset) })),
  ];
}

/** The characters that the key alone decides when it begins `offset` bytes into a group of three. */
function base64At(key: Buffer, offset: number): Buffer {
  const text = Buffer.concat([Buffer.alloc(offset), key, Buffer.alloc(3)]).toString('base64');
  const firstBit = offset * 8;
  return Buffer.from(text.slice(Math.ceil(firstBit / 6), Math.floor((firstBit + key.length * 8) / 6)));
}

/** Until every thread has stopped: V8 maps and unmaps pages whenever it likes. */
function stopProcess(pid: number): void {
  process.kill(pid, 'SIGSTOP');
  const running = (thread: string): boolean =>
    !/^State:\tT/m.test(readFileSync(`/proc/${pid}/task/${thread}/status`, 'latin1'));
  while (readdirSync(`/proc/${pid}/task`).some(running));
}

/** All but the kernel's own pages, which are not the process's memory and hold nothing of it. */
function mappings(pid: number): Mapping[] {
  const lines = readFileSync(`/proc/${pid}/maps`, 'latin1').trimEnd().split('\n');
  return lines
    .map(parseMapping)
    .filter(({ permissions, path }) => permissions.startsWith('r') && !/^\[(vvar|vsyscall)/.test(path));
}

function parseMapping(line: string): Mapping {
  const match = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)$/.exec(line);
  if (match === null) throw new Error(`not a line of /proc/PID/maps: ${line}`);
  const [, start = '', end = '', permissions = '', path = ''] = match;
  return { start: Number.parseInt(start, 16), end: Number.parseInt(end, 16), permissions, path };
}

type VisitChunk = (chunk: Buffer, address: number, newBytes: number) => void;

/** Chunks overlap, so that no needle is cut in two. False when a page could not be read. */
function eachChunk(memory: number, { start, end }: Mapping, overlap: number, visit: VisitChunk): boolean {
  const buffer = Buffer.alloc(CHUNK_BYTES + overlap);
  let kept = 0;
  let whole = true;
  for (let address = start; address < end; ) {
    const read = readPages(memory, buffer, kept, address, Math.min(CHUNK_BYTES, end - address));
    if (read === 0) {
      whole = false;
      kept = 0;
      address += PAGE_BYTES;
      continue;
    }
    visit(buffer.subarray(0, kept + read), address - kept, read);
    address += read;
    const next = Math.min(overlap, kept + read);
    buffer.copyWithin(0, kept + read - next, kept + read);
    kept = next;
  }
  return whole;
}

function readPages(memory: number, buffer: Buffer, offset: number, address: number, length: number): number {
  try {
    return readSync(memory, buffer, offset, length, address);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EIO' || code === 'EFAULT') return 0;
    throw error;
  }
}

/** What lies in an overlap is seen twice. */
function distinct(findings: readonly Finding[]): Finding[] {
  return [...new Map(findings.map((finding) => [`${finding.needle} ${finding.address}`, finding])).values()];
}
