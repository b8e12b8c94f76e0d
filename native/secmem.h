/*
 * Secret memory: the arena's slots, and the handles by which everybody else names them.
 *
 *   arena   | guard page | header 64 | scratch 1024 | slot 0 | slot 1 | … | guard page |
 *   handle  generation × 2^20 + slot, below 2^52: a safe integer in JavaScript; generation starts at 1
 *
 * What lies in the arena is secret, or describes it for a later process that is handed the arena. Generations, pins and
 * the free list are neither, and lie on the heap. One arena serves every thread of the process and is never unmapped.
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

#define KEY_BYTES 32
#define RAW_BYTES 128
#define SCRATCH_BYTES 1024
#define SLOT_BITS 20
#define ARENA_LAYOUT 1

enum { SLOT_FREE = 0, SLOT_DEK = 1, SLOT_RAW = 2 };

/* SP 800-38D, section 8.3. Only a test's own build sets another limit. */
#ifndef MESSAGE_LIMIT
#define MESSAGE_LIMIT (UINT64_C(1) << 32)
#endif

struct slot {
  union {
    struct {
      uint8_t dek[KEY_BYTES];
      uint8_t block_key[KEY_BYTES];
      uint8_t message_key[KEY_BYTES];
      uint8_t data_key[KEY_BYTES];
    };
    uint8_t raw[RAW_BYTES];
  };
  uint8_t dek_id[KEY_BYTES];
  uint8_t block_mac[KEY_BYTES]; /* of the dek-block that was verified last; zero before */
  _Atomic uint64_t verified_ms; /* CLOCK_BOOTTIME of that */
  _Atomic uint64_t messages;    /* sealed under any key of the slot */
  _Atomic uint64_t bytes;
  uint32_t kind;
  uint32_t raw_length;
};
static_assert(sizeof(struct slot) == 224, "the layout is ARENA_LAYOUT's: another one needs another number");

/* A slot in use by this call: it is neither zeroed nor given out again before unpin. */
struct pin {
  struct slot *slot;
  uint32_t index;
};

struct arena_status {
  arena_kind kind;
  size_t requested, size;
  uint32_t slots, used;
};

/* Opens the one arena; does nothing when it is open. */
fault arena_open(size_t wanted, bool avoid_secret_memory, bool best_effort);
fault arena_status(struct arena_status *out);

/* A zeroed slot that no handle names yet, pinned. Ends with slot_publish or slot_discard. */
fault slot_allocate(struct pin *out);
uint64_t slot_publish(struct pin pin, uint32_t kind, uint32_t raw_length);
void slot_discard(struct pin pin);

fault slot_pin(uint64_t handle, struct pin *out);
void slot_unpin(struct pin pin);
fault slot_free(uint64_t handle);

/* Counts one message against the slot's keys before it is sealed. */
fault slot_count_message(struct slot *slot, bool limited, size_t length);
/* Keeps the MAC of a verified dek-block, and when. */
void slot_keep_mac(struct slot *slot, const uint8_t mac[KEY_BYTES], uint64_t verified_ms);

/* SCRATCH_BYTES of the arena for one call at a time; zeroed when it is given back. */
uint8_t *scratch_take(void);
void scratch_return(void);

/* getrandom(2), all of it or false: never a user-space generator, which a cloned VM would repeat. */
bool random_fill(uint8_t *out, size_t length);

#endif
