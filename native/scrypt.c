/*
 * scrypt (RFC 7914). OpenSSL has it too, but frees a copy of the block that comes out of the memory-hard part without
 * clearing it (its PBKDF2 takes that block as a salt): whoever finds the copy tests a passphrase with a single HMAC. Here
 * all that is between the passphrase and the key lies in one mapping, which is cleansed.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "crypto.h"

#define SALSA_WORDS 16

static bool pbkdf2(struct bytes passphrase, struct bytes salt, struct bytes out);
static void rom_mix(uint32_t *block, size_t words, uint64_t n, uint32_t *table, uint32_t *spare);
static void block_mix(const uint32_t *block, uint32_t *out, size_t words);
static void salsa20_8(uint32_t words[SALSA_WORDS]);
static void little_endian(uint32_t *words, size_t count);

/* Section 6. */
int scrypt(struct bytes passphrase, struct bytes salt, const struct scrypt_cost *cost, struct bytes out) {
  const uint64_t n = UINT64_C(1) << cost->log_n;
  const size_t words = 32 * (size_t)cost->r, block_bytes = words * sizeof(uint32_t);
  const size_t length = block_bytes * (size_t)(cost->p + n + 1);
  uint32_t *blocks = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (blocks == MAP_FAILED) {
    return errno;
  }
  /* What of it may fail, may: the limits that key memory needs are too small for this, which lives for a second. */
  mlock(blocks, length);
  madvise(blocks, length, MADV_DONTDUMP);
  madvise(blocks, length, MADV_DONTFORK);
  uint32_t *spare = blocks + words * cost->p, *table = spare + words;
  const struct bytes all = {(uint8_t *)blocks, block_bytes * cost->p};
  bool done = pbkdf2(passphrase, salt, all);
  little_endian(blocks, words * cost->p);
  for (uint32_t i = 0; done && i < cost->p; i++) {
    rom_mix(blocks + words * i, words, n, table, spare);
  }
  burn_stack();
  little_endian(blocks, words * cost->p);
  done = done && pbkdf2(passphrase, all, out);
  OPENSSL_cleanse(blocks, length);
  munmap(blocks, length);
  return done ? 0 : EIO;
}

/* RFC 8018, section 5.2, with HMAC-SHA-256 and one iteration: block i is HMAC(passphrase, salt | i). */
static bool pbkdf2(struct bytes passphrase, struct bytes salt, struct bytes out) {
  uint8_t block[MAC_BYTES], count[4];
  const struct bytes parts[] = {salt, {count, sizeof count}};
  bool done = true;
  for (uint32_t i = 1; done && out.length > 0; i++) {
    const size_t length = out.length < MAC_BYTES ? out.length : MAC_BYTES;
    for (size_t at = 0; at < sizeof count; at++) {
      count[at] = (uint8_t)(i >> (24 - 8 * at));
    }
    done = hmac_sha256(passphrase, parts, 2, block);
    memcpy(out.data, block, length);
    out.data += length;
    out.length -= length;
  }
  OPENSSL_cleanse(block, sizeof block);
  return done;
}

/* Section 5. `table` has room for n blocks, `spare` for one. */
static void rom_mix(uint32_t *block, size_t words, uint64_t n, uint32_t *table, uint32_t *spare) {
  memcpy(table, block, words * sizeof *block);
  for (uint64_t i = 1; i < n; i++) {
    block_mix(table + (i - 1) * words, table + i * words, words);
  }
  block_mix(table + (n - 1) * words, block, words);
  for (uint64_t i = 0; i < n; i++) {
    /* Integerify: n is at most 2^32, so the last 64 bytes' first word is enough. */
    const uint32_t *chosen = table + (block[words - SALSA_WORDS] & (n - 1)) * words;
    for (size_t k = 0; k < words; k++) {
      spare[k] = block[k] ^ chosen[k];
    }
    block_mix(spare, block, words);
  }
}

/* Section 4: the even 64-byte parts of the result come first, then the odd ones. */
static void block_mix(const uint32_t *block, uint32_t *out, size_t words) {
  uint32_t x[SALSA_WORDS];
  memcpy(x, block + words - SALSA_WORDS, sizeof x);
  for (size_t at = 0; at < words; at += SALSA_WORDS) {
    for (size_t k = 0; k < SALSA_WORDS; k++) {
      x[k] ^= block[at + k];
    }
    salsa20_8(x);
    const size_t pair = at / (2 * SALSA_WORDS) * SALSA_WORDS;
    memcpy(out + pair + (at % (2 * SALSA_WORDS) != 0 ? words / 2 : 0), x, sizeof x);
  }
}

#define ROTATED(word, bits) ((word) << (bits) | (word) >> (32 - (bits)))
#define QUARTER(a, b, c, d)        \
  b ^= ROTATED(a + d, 7);          \
  c ^= ROTATED(b + a, 9);          \
  d ^= ROTATED(c + b, 13);         \
  a ^= ROTATED(d + c, 18);

/* Section 3. */
static void salsa20_8(uint32_t words[SALSA_WORDS]) {
  uint32_t x[SALSA_WORDS];
  memcpy(x, words, sizeof x);
  for (int i = 0; i < 4; i++) {
    QUARTER(x[0], x[4], x[8], x[12])
    QUARTER(x[5], x[9], x[13], x[1])
    QUARTER(x[10], x[14], x[2], x[6])
    QUARTER(x[15], x[3], x[7], x[11])
    QUARTER(x[0], x[1], x[2], x[3])
    QUARTER(x[5], x[6], x[7], x[4])
    QUARTER(x[10], x[11], x[8], x[9])
    QUARTER(x[15], x[12], x[13], x[14])
  }
  for (size_t k = 0; k < SALSA_WORDS; k++) {
    words[k] += x[k];
  }
}

/* Between the bytes of PBKDF2 and words of this machine, both ways. */
static void little_endian(uint32_t *words, size_t count) {
  for (size_t i = 0; i < count; i++) {
    words[i] = le32toh(words[i]);
  }
}
