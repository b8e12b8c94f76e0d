/**
 * A zeroed Buffer with memory of its own outside V8's heap, for plaintexts and data keys. Buffer.alloc and allocUnsafeSlow put up to
 * 64 bytes inside the heap, where the garbage collector moves them and leaves copies behind that nobody can zero.
 */
export function secretBuffer(length: number): Buffer {
  return Buffer.from(new ArrayBuffer(length));
}
