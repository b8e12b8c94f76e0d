/*
 * Secret memory: keys, and the handles by which everybody else names them.
 *
 *   arena   | guard page | header 64 | sealing key 64 | rooms 8 × 128 | slot 0 | slot 1 | … | guard page |
 *   handle  generation × 2^20 + index, below 2^52: a safe integer in JavaScript; generation starts at 1
 *
 * First tier: an index below the number of slots; the key lies in its slot. Second tier: the indexes above; a DEK whose
 * keys lie sealed on the heap, under a key that never leaves the arena, and are unsealed into a room for a call that
 * needs them. New DEKs go there when the slots that are not kept for raw keys have run out. What a handle's holder sees
 * is the same.
 *
 * What lies in the arena is secret, or describes it for a later process that is handed the arena. One arena serves every
 * thread of the process and is never unmapped.
 */
#ifndef DEKD_SECMEM_H
#define DEKD_SECMEM_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "fault.h"
#include "rooms.h"

#define CACHE_LINE 64
#define INDEX_BITS 20
#define MAX_KEYS (UINT32_C(1) << INDEX_BITS) /* of both tiers together */
#define ARENA_LAYOUT 2

enum { SLOT_FREE = 0, SLOT_DEK = 1, SLOT_RAW = 2 };

/* SP 800-38D, section 8.3. Only a test's own build sets another limit. */
#ifndef MESSAGE_LIMIT
#define MESSAGE_LIMIT (UINT64_C(1) << 32)
#endif

/* What is not secret of a key, in either tier. */
struct control {
  _Atomic uint64_t state;    /* generation, life and pins in one word (secmem.c); a later process clears the pins */
  _Atomic uint64_t messages; /* sealed under any of its keys */
  _Atomic uint64_t bytes;
  uint32_t kind;
  union {
    uint32_t raw_length;
    uint32_t next_free; /* of a free one: the next one's index */
  };
};

/* Over thousands of keys a call costs what it touches: sealing and opening read the first cache line alone. */
struct slot {
  _Alignas(CACHE_LINE) struct control control;
  struct keys keys;
  uint8_t dek_id[KEY_BYTES];
  uint8_t block_mac[KEY_BYTES]; /* of the dek-block that was verified last; zero before */
  _Atomic uint64_t verified_ms; /* CLOCK_BOOTTIME of that */
};
static_assert(sizeof(struct slot) == 256 && offsetof(struct slot, keys.message) + KEY_BYTES == CACHE_LINE,
              "the layout is ARENA_LAYOUT's: another one needs another number");

/* A key in use by this call: it is neither zeroed nor given out again before unpin. */
struct pin {
  struct control *control;
  uint32_t index;
};

/* A key that no handle names yet. Ends with slot_publish or slot_discard. */
struct draft {
  struct pin pin;
  uint32_t kind;
  struct keys *keys; /* zeroed memory of the arena */
  uint8_t *dek_id;
};

struct arena_options {
  uint64_t size, max_sealed;
  bool best_effort, avoid_secret_memory;
};

struct arena_status {
  arena_kind kind;
  size_t requested, size;
  uint32_t slots, used;
  uint32_t sealed, max_sealed; /* DEKs of the second tier */
  uint32_t free;               /* DEKs that still fit, in either */
};

/* Opens the one arena; does nothing when it is open. */
fault arena_open(const struct arena_options *options);
fault arena_status(struct arena_status *out);

/* A DEK's may be a room, so it must not be kept for long. */
fault slot_draft(uint32_t kind, struct draft *out);
/* Zeroes the draft when it fails. */
fault slot_publish(struct draft draft, uint32_t raw_length, uint64_t *handle);
void slot_discard(struct draft draft);

/* Asks the processor for what slot_pin and keys_open will touch, so that it comes while other arguments are checked. */
void slot_prefetch(uint64_t handle);
fault slot_pin(uint64_t handle, struct pin *out);
void slot_unpin(struct pin pin);
fault slot_free(uint64_t handle);

/* A pinned key's bytes, until keys_close: as soon as possible, for a sealed one's are in a room. */
fault keys_open(struct pin pin, const struct keys **out);
void keys_close(const struct keys *keys);
const uint8_t *pinned_dek_id(struct pin pin);

/* Counts one message against the keys before it is sealed. */
fault count_message(struct control *control, bool limited, size_t length);
/* Keeps the MAC of a verified dek-block, and when. */
void keep_mac(struct pin pin, const uint8_t mac[KEY_BYTES], uint64_t verified_ms);

#endif
