#include "siphash.h"

#include <endian.h>
#include <string.h>

#define WORD_BYTES 8

static inline uint64_t rotate(uint64_t word, int bits) { return word << bits | word >> (64 - bits); }

static inline uint64_t word_at(const uint8_t *bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
  return le64toh(word);
}

static inline void mix(uint64_t v[4]) {
  v[0] += v[1];
  v[2] += v[3];
  v[1] = rotate(v[1], 13) ^ v[0];
  v[3] = rotate(v[3], 16) ^ v[2];
  v[0] = rotate(v[0], 32);
  v[2] += v[1];
  v[0] += v[3];
  v[1] = rotate(v[1], 17) ^ v[2];
  v[3] = rotate(v[3], 21) ^ v[0];
  v[2] = rotate(v[2], 32);
}

static inline void compress(uint64_t v[4], uint64_t word) {
  v[3] ^= word;
  mix(v);
  mix(v);
  v[0] ^= word;
}

struct siphash siphash_start(const uint8_t key[SIPHASH_KEY_BYTES]) {
  const uint64_t low = word_at(key), high = word_at(key + WORD_BYTES);
  return (struct siphash){{low ^ UINT64_C(0x736f6d6570736575), high ^ UINT64_C(0x646f72616e646f6d),
                           low ^ UINT64_C(0x6c7967656e657261), high ^ UINT64_C(0x7465646279746573)}};
}

const uint8_t *siphash_words(struct siphash *state, const uint8_t *bytes, size_t words) {
  struct siphash here = *state; /* in registers, not where the bytes might lie */
  const uint8_t *end = bytes + words * WORD_BYTES;
  for (; bytes < end; bytes += WORD_BYTES) {
    compress(here.v, word_at(bytes));
  }
  *state = here;
  return end;
}

uint64_t siphash_end(struct siphash state, const uint8_t *rest, size_t total) {
  uint8_t last[WORD_BYTES] = {0};
  memcpy(last, rest, total % WORD_BYTES);
  last[WORD_BYTES - 1] = (uint8_t)total;
  compress(state.v, word_at(last));
  state.v[2] ^= 0xff;
  for (int round = 0; round < 4; round++) {
    mix(state.v);
  }
  return state.v[0] ^ state.v[1] ^ state.v[2] ^ state.v[3];
}
