/* How the arena's memory is got: the only file that knows memfd_secret(2), mlock(2) and RLIMIT_MEMLOCK. */
#ifndef DEKD_ARENA_H
#define DEKD_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { ARENA_MEMFD_SECRET, ARENA_MLOCK, ARENA_UNLOCKED } arena_kind;

struct mapping {
  uint8_t *start;
  size_t size; /* whole pages, at least one */
  arena_kind kind;
};

/*
 * Maps `wanted` bytes, rounded up to pages, or as much as RLIMIT_MEMLOCK leaves, between two guard pages; zeroed, absent
 * from forked children and core dumps. A page may not be there before it is touched, but what may be locked is counted
 * for all of them now. False when not one page can be locked and best_effort is off.
 */
bool map_arena(size_t wanted, bool avoid_secret_memory, bool best_effort, struct mapping *out);
void unmap_arena(const struct mapping *mapping);

#endif
