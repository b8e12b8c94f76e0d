#include "secmem.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "openssl.h"

#define HEADER_BYTES 64
#define MAX_SLOTS (UINT32_C(1) << SLOT_BITS)

/* A slot whose generation would pass this is never used again. Only a test's own build sets another one. */
#ifndef LAST_GENERATION
#define LAST_GENERATION UINT32_MAX
#endif

/* At the arena's start, for a process that is handed the arena. */
struct header {
  char magic[7];
  uint8_t layout;
  uint64_t size;
  uint32_t header_bytes, scratch_bytes, slot_bytes, slot_count;
  uint8_t reserved[HEADER_BYTES - 32];
};
static_assert(sizeof(struct header) == HEADER_BYTES, "see ARENA_LAYOUT");

/* A slot's state in one word, so that checking the generation and pinning are one step: generation | live | pins. */
#define GENERATION_SHIFT 32
#define LIVE (UINT64_C(1) << 31)
#define PINS (LIVE - 1)

static struct {
  pthread_mutex_t mutex; /* opening, the free list, block_mac */
  pthread_mutex_t scratch_mutex;
  _Atomic bool is_open;
  struct mapping mapping;
  size_t requested;
  uint8_t *scratch;
  struct slot *slots;
  _Atomic uint64_t *states;
  uint32_t *free_slots; /* a stack */
  uint32_t free_count, slot_count;
  uint32_t retired;
} arena = {.mutex = PTHREAD_MUTEX_INITIALIZER, .scratch_mutex = PTHREAD_MUTEX_INITIALIZER};

static bool lay_out(size_t requested, struct mapping mapping);
static void recycle(uint32_t index);

fault arena_open(size_t wanted, bool avoid_secret_memory, bool best_effort) {
  fault why = FAULT_NONE;
  struct mapping mapping;
  pthread_mutex_lock(&arena.mutex);
  if (!arena.is_open) {
    if (!map_arena(wanted, avoid_secret_memory, best_effort, &mapping)) {
      why = FAULT_NO_LOCKED_MEMORY;
    } else if (lay_out(wanted, mapping)) {
      arena.is_open = true;
    } else {
      unmap_arena(&mapping);
      why = FAULT_NO_MEMORY;
    }
  }
  pthread_mutex_unlock(&arena.mutex);
  return why;
}

static bool lay_out(size_t requested, struct mapping mapping) {
  size_t count = (mapping.size - HEADER_BYTES - SCRATCH_BYTES) / sizeof(struct slot);
  if (count > MAX_SLOTS) {
    count = MAX_SLOTS;
  }
  arena.states = calloc(count, sizeof *arena.states);
  arena.free_slots = calloc(count, sizeof *arena.free_slots);
  if (arena.states == NULL || arena.free_slots == NULL) {
    free(arena.states);
    free(arena.free_slots);
    return false;
  }
  for (size_t i = 0; i < count; i++) {
    arena.states[i] = UINT64_C(1) << GENERATION_SHIFT;
    arena.free_slots[i] = (uint32_t)(count - 1 - i);
  }
  *(struct header *)mapping.start = (struct header){
      .magic = {'D', 'E', 'K', 'D', 'M', 'E', 'M'},
      .layout = ARENA_LAYOUT,
      .size = mapping.size,
      .header_bytes = HEADER_BYTES,
      .scratch_bytes = SCRATCH_BYTES,
      .slot_bytes = sizeof(struct slot),
      .slot_count = (uint32_t)count,
  };
  arena.mapping = mapping;
  arena.requested = requested;
  arena.scratch = mapping.start + HEADER_BYTES;
  arena.slots = (struct slot *)(arena.scratch + SCRATCH_BYTES);
  arena.free_count = arena.slot_count = (uint32_t)count;
  return true;
}

fault arena_status(struct arena_status *out) {
  if (!arena.is_open) {
    return FAULT_NOT_OPEN;
  }
  pthread_mutex_lock(&arena.mutex);
  *out = (struct arena_status){
      .kind = arena.mapping.kind,
      .requested = arena.requested,
      .size = arena.mapping.size,
      .slots = arena.slot_count,
      .used = arena.slot_count - arena.free_count - arena.retired,
  };
  pthread_mutex_unlock(&arena.mutex);
  return FAULT_NONE;
}

fault slot_allocate(struct pin *out) {
  if (!arena.is_open) {
    return FAULT_NOT_OPEN;
  }
  pthread_mutex_lock(&arena.mutex);
  bool found = arena.free_count > 0;
  if (found) {
    out->index = arena.free_slots[--arena.free_count];
    out->slot = &arena.slots[out->index];
  }
  pthread_mutex_unlock(&arena.mutex);
  return found ? FAULT_NONE : FAULT_NO_MEMORY;
}

uint64_t slot_publish(struct pin pin, uint32_t kind, uint32_t raw_length) {
  pin.slot->kind = kind;
  pin.slot->raw_length = raw_length;
  uint64_t before = atomic_fetch_or(&arena.states[pin.index], LIVE);
  return (before >> GENERATION_SHIFT << SLOT_BITS) + pin.index;
}

void slot_discard(struct pin pin) { recycle(pin.index); }

fault slot_pin(uint64_t handle, struct pin *out) {
  if (!arena.is_open) {
    return FAULT_NOT_OPEN;
  }
  uint32_t index = handle & (MAX_SLOTS - 1);
  uint64_t generation = handle >> SLOT_BITS;
  if (index >= arena.slot_count) {
    return FAULT_STALE_HANDLE;
  }
  uint64_t state = atomic_load(&arena.states[index]);
  do {
    if (state >> GENERATION_SHIFT != generation || !(state & LIVE)) {
      return FAULT_STALE_HANDLE;
    }
  } while (!atomic_compare_exchange_weak(&arena.states[index], &state, state + 1));
  *out = (struct pin){.slot = &arena.slots[index], .index = index};
  return FAULT_NONE;
}

void slot_unpin(struct pin pin) {
  uint64_t before = atomic_fetch_sub(&arena.states[pin.index], 1);
  if ((before & PINS) == 1 && !(before & LIVE)) {
    recycle(pin.index);
  }
}

fault slot_free(uint64_t handle) {
  struct pin pin;
  fault why = slot_pin(handle, &pin);
  if (why != FAULT_NONE) {
    return why;
  }
  /* Of two threads that free one handle at once, the second finds it stale. */
  uint64_t before = atomic_fetch_and(&arena.states[pin.index], ~LIVE);
  slot_unpin(pin);
  return before & LIVE ? FAULT_NONE : FAULT_STALE_HANDLE;
}

/* Nobody pins the slot and no live handle names it. */
static void recycle(uint32_t index) {
  OPENSSL_cleanse(&arena.slots[index], sizeof arena.slots[index]);
  uint64_t generation = (atomic_load(&arena.states[index]) >> GENERATION_SHIFT) + 1;
  bool retires = generation > LAST_GENERATION;
  atomic_store(&arena.states[index], retires ? 0 : generation << GENERATION_SHIFT);
  pthread_mutex_lock(&arena.mutex);
  if (retires) {
    arena.retired++;
  } else {
    arena.free_slots[arena.free_count++] = index;
  }
  pthread_mutex_unlock(&arena.mutex);
}

fault slot_count_message(struct slot *slot, bool limited, size_t length) {
  if (atomic_fetch_add(&slot->messages, 1) >= MESSAGE_LIMIT && limited) {
    atomic_fetch_sub(&slot->messages, 1);
    return FAULT_MESSAGE_LIMIT;
  }
  atomic_fetch_add(&slot->bytes, length);
  return FAULT_NONE;
}

void slot_keep_mac(struct slot *slot, const uint8_t mac[KEY_BYTES], uint64_t verified_ms) {
  pthread_mutex_lock(&arena.mutex);
  memcpy(slot->block_mac, mac, KEY_BYTES);
  pthread_mutex_unlock(&arena.mutex);
  atomic_store(&slot->verified_ms, verified_ms);
}

uint8_t *scratch_take(void) {
  pthread_mutex_lock(&arena.scratch_mutex);
  return arena.scratch;
}

void scratch_return(void) {
  OPENSSL_cleanse(arena.scratch, SCRATCH_BYTES);
  pthread_mutex_unlock(&arena.scratch_mutex);
}

bool random_fill(uint8_t *out, size_t length) {
  while (length > 0) {
    ssize_t got = getrandom(out, length, 0);
    if (got < 0 && errno != EINTR) {
      return false;
    }
    if (got > 0) {
      out += got;
      length -= (size_t)got;
    }
  }
  return true;
}
