/* SipHash-2-4 (Aumasson and Bernstein, 2012): 64 bits that nobody can predict or make collide without the key. */
#ifndef DEKD_SIPHASH_H
#define DEKD_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

#define SIPHASH_KEY_BYTES 16

struct siphash {
  uint64_t v[4];
};

struct siphash siphash_start(const uint8_t key[SIPHASH_KEY_BYTES]);
/* Whole words of 8 bytes; returns what follows them. */
const uint8_t *siphash_words(struct siphash *state, const uint8_t *bytes, size_t words);
/* With the last total % 8 of `total` bytes. The state was copied, so that it may go on. */
uint64_t siphash_end(struct siphash state, const uint8_t *rest, size_t total);

#endif
