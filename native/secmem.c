#include "secmem.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "crypto.h"
#include "openssl.h"
#include "random.h"
#include "sealed.h"

#define NO_INDEX UINT32_MAX

/* Slots that DEKs leave to raw keys, which have no second tier: at least as many, and this share. */
#define LEAST_RESERVE 64
#define RESERVE_SHARE 8

/* An index whose generation would pass this is never used again. Only a test's own build sets another one. */
#ifndef LAST_GENERATION
#define LAST_GENERATION UINT32_MAX
#endif

/* The arena's start. The header is for a process that is handed the arena. */
struct preamble {
  struct {
    char magic[7];
    uint8_t layout;
    uint64_t size;
    uint32_t rooms_offset, slots_offset, slot_bytes, slot_count;
    uint8_t reserved[32];
  } header;
  _Alignas(CACHE_LINE) uint8_t sealing_key[KEY_BYTES];
  _Alignas(CACHE_LINE) struct keys rooms[ROOMS];
  struct slot slots[];
};
static_assert(offsetof(struct preamble, sealing_key) == 64 && offsetof(struct preamble, slots) == 128 + SCRATCH_BYTES,
              "see ARENA_LAYOUT");

/*
 * A key's state in one word, so that checking the generation and pinning are one step: generation | live | pins. Zero,
 * as the kernel gives memory, is a place that was never used, or never will be again.
 */
#define GENERATION_SHIFT 32
#define LIVE (UINT64_C(1) << 31)
#define PINS (LIVE - 1)

struct tier {
  uint32_t next_free; /* a list through control.next_free, of those that were used before */
  _Atomic uint32_t made; /* places below this number were ever used */
  uint32_t used, retired;
};

static struct {
  pthread_mutex_t mutex; /* opening, the tiers, block_mac */
  _Atomic bool is_open;
  struct mapping mapping;
  struct preamble *start;
  size_t requested;
  uint32_t slot_count, reserve, max_sealed;
  struct record *records;
  struct tier first, second;
} arena = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static fault open_once(const struct arena_options *options);
static bool lay_out(const struct arena_options *options, struct mapping mapping);
static void touch_beside(void);
static uint32_t room_for_deks(void);
static uint32_t take_slot(void);
static uint32_t take_record(void);
static void recycle(struct pin pin);

static inline bool is_sealed(uint32_t index) { return index >= arena.slot_count; }

static inline struct record *record_at(uint32_t index) { return &arena.records[index - arena.slot_count]; }

static inline bool exists(uint32_t index) {
  return is_sealed(index) ? index - arena.slot_count < arena.second.made : index < arena.first.made;
}

static inline struct pin pin_at(uint32_t index) {
  struct control *control = is_sealed(index) ? &record_at(index)->control : &arena.start->slots[index].control;
  return (struct pin){.control = control, .index = index};
}

static inline uint64_t handle_of(uint64_t state, uint32_t index) {
  return (state >> GENERATION_SHIFT << INDEX_BITS) + index;
}

fault arena_open(const struct arena_options *options) {
  pthread_mutex_lock(&arena.mutex);
  fault why = arena.is_open ? FAULT_NONE : open_once(options);
  pthread_mutex_unlock(&arena.mutex);
  return why;
}

static fault open_once(const struct arena_options *options) {
  struct mapping mapping;
  if (!map_arena((size_t)options->size, options->avoid_secret_memory, options->best_effort, &mapping)) {
    return FAULT_NO_LOCKED_MEMORY;
  }
  if (!random_fill(((struct preamble *)mapping.start)->sealing_key, KEY_BYTES)) {
    unmap_arena(&mapping);
    return FAULT_RANDOM;
  }
  if (!lay_out(options, mapping)) {
    unmap_arena(&mapping);
    return FAULT_NO_MEMORY;
  }
  arena.is_open = true;
  touch_beside();
  return FAULT_NONE;
}

static bool lay_out(const struct arena_options *options, struct mapping mapping) {
  struct preamble *start = (struct preamble *)mapping.start;
  size_t fit = (mapping.size - sizeof *start) / sizeof(struct slot);
  uint32_t count = fit < MAX_KEYS ? (uint32_t)fit : MAX_KEYS;
  uint32_t max_sealed = MAX_KEYS - count;
  if (options->max_sealed < max_sealed) {
    max_sealed = (uint32_t)options->max_sealed;
  }
  if (max_sealed > 0) {
    arena.records = reserve_records(max_sealed);
    if (arena.records == NULL) {
      return false;
    }
    uint32_t share = count / RESERVE_SHARE;
    uint32_t reserve = share > LEAST_RESERVE ? share : LEAST_RESERVE;
    arena.reserve = reserve < count ? reserve : count;
  }
  memcpy(start->header.magic, "DEKDMEM", sizeof start->header.magic);
  start->header.layout = ARENA_LAYOUT;
  start->header.size = mapping.size;
  start->header.rooms_offset = offsetof(struct preamble, rooms);
  start->header.slots_offset = offsetof(struct preamble, slots);
  start->header.slot_bytes = sizeof(struct slot);
  start->header.slot_count = count;
  rooms_open(start->rooms);
  arena.mapping = mapping;
  arena.start = start;
  arena.requested = (size_t)options->size;
  arena.slot_count = count;
  arena.max_sealed = max_sealed;
  arena.first = (struct tier){.next_free = NO_INDEX};
  arena.second = (struct tier){.next_free = NO_INDEX};
  return true;
}

/*
 * The kernel takes 10 us to give a page of secret memory, since it takes it out of its own mapping first: a start does not
 * wait for thousands. Every page has a slot that begins in it; a state that another thread writes meanwhile stays as it is.
 */
static void *touch_pages(void *unused) {
  uint32_t slots_a_page = (uint32_t)sysconf(_SC_PAGESIZE) / sizeof(struct slot);
  for (uint32_t i = 0; i < arena.slot_count; i += slots_a_page) {
    atomic_fetch_or(&arena.start->slots[i].control.state, 0);
  }
  return unused;
}

/* Every page soon, so that no later request faults, or dies of memory that is not there. At once without a thread for it. */
static void touch_beside(void) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_sigmask(SIG_BLOCK, &all, &before); /* signals are for Node's threads */
  bool runs = pthread_create(&thread, &attributes, touch_pages, NULL) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (!runs) {
    touch_pages(NULL);
  }
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
      .used = arena.first.used,
      .sealed = arena.second.used,
      .max_sealed = arena.max_sealed,
      .free = room_for_deks(),
  };
  pthread_mutex_unlock(&arena.mutex);
  return FAULT_NONE;
}

static uint32_t free_slots(void) { return arena.slot_count - arena.first.used - arena.first.retired; }

static uint32_t free_records(void) { return arena.max_sealed - arena.second.used - arena.second.retired; }

static uint32_t room_for_deks(void) {
  uint32_t slots = free_slots();
  return (slots > arena.reserve ? slots - arena.reserve : 0) + free_records();
}

fault slot_draft(uint32_t kind, struct draft *out) {
  if (!arena.is_open) {
    return FAULT_NOT_OPEN;
  }
  pthread_mutex_lock(&arena.mutex);
  uint32_t index = NO_INDEX;
  if (free_slots() > (kind == SLOT_DEK ? arena.reserve : 0)) {
    index = take_slot();
  } else if (kind == SLOT_DEK && free_records() > 0) {
    index = take_record();
  }
  pthread_mutex_unlock(&arena.mutex);
  if (index == NO_INDEX) {
    return FAULT_NO_MEMORY;
  }
  out->pin = pin_at(index);
  out->kind = kind;
  out->keys = is_sealed(index) ? room_take() : &arena.start->slots[index].keys;
  out->dek_id = is_sealed(index) ? record_at(index)->dek_id : arena.start->slots[index].dek_id;
  return FAULT_NONE;
}

static uint32_t take_free(struct tier *tier) {
  uint32_t index = tier->next_free;
  tier->next_free = pin_at(index).control->next_free;
  return index;
}

static uint32_t take_new(struct tier *tier, uint32_t first_index) {
  uint32_t index = first_index + tier->made;
  pin_at(index).control->state = UINT64_C(1) << GENERATION_SHIFT;
  tier->made++;
  return index;
}

static uint32_t take_slot(void) {
  arena.first.used++;
  return arena.first.next_free != NO_INDEX ? take_free(&arena.first) : take_new(&arena.first, 0);
}

/* NO_INDEX without memory for it. */
static uint32_t take_record(void) {
  bool is_new = arena.second.next_free == NO_INDEX;
  if (is_new && !commit_record(arena.records, arena.second.made)) {
    return NO_INDEX;
  }
  arena.second.used++;
  return is_new ? take_new(&arena.second, arena.slot_count) : take_free(&arena.second);
}

fault slot_publish(struct draft draft, uint32_t raw_length, uint64_t *handle) {
  struct control *control = draft.pin.control;
  *handle = handle_of(control->state, draft.pin.index);
  if (is_sealed(draft.pin.index)) {
    fault why = seal_record(record_at(draft.pin.index), *handle, arena.start->sealing_key, draft.keys);
    room_return(draft.keys);
    if (why != FAULT_NONE) {
      recycle(draft.pin);
      return why;
    }
  }
  burn_registers();
  control->kind = draft.kind;
  control->raw_length = raw_length;
  atomic_fetch_or(&control->state, LIVE);
  return FAULT_NONE;
}

void slot_discard(struct draft draft) {
  keys_close(draft.keys);
  recycle(draft.pin);
}

void slot_prefetch(uint64_t handle) {
  uint32_t index = handle & (MAX_KEYS - 1);
  if (!arena.is_open || !exists(index)) {
    return;
  }
  const uint8_t *start = (const uint8_t *)pin_at(index).control;
  __builtin_prefetch(start, 1);
  for (size_t at = CACHE_LINE; is_sealed(index) && at < sizeof(struct record); at += CACHE_LINE) {
    __builtin_prefetch(start + at);
  }
}

fault slot_pin(uint64_t handle, struct pin *out) {
  if (!arena.is_open) {
    return FAULT_NOT_OPEN;
  }
  uint32_t index = handle & (MAX_KEYS - 1);
  uint64_t generation = handle >> INDEX_BITS;
  if (!exists(index)) {
    return FAULT_STALE_HANDLE;
  }
  *out = pin_at(index);
  uint64_t state = atomic_load(&out->control->state);
  do {
    if (state >> GENERATION_SHIFT != generation || !(state & LIVE)) {
      return FAULT_STALE_HANDLE;
    }
  } while (!atomic_compare_exchange_weak(&out->control->state, &state, state + 1));
  return FAULT_NONE;
}

void slot_unpin(struct pin pin) {
  burn_registers();
  uint64_t before = atomic_fetch_sub(&pin.control->state, 1);
  if ((before & PINS) == 1 && !(before & LIVE)) {
    recycle(pin);
  }
}

fault slot_free(uint64_t handle) {
  struct pin pin;
  fault why = slot_pin(handle, &pin);
  if (why != FAULT_NONE) {
    return why;
  }
  /* Of two threads that free one handle at once, the second finds it stale. */
  uint64_t before = atomic_fetch_and(&pin.control->state, ~LIVE);
  slot_unpin(pin);
  return before & LIVE ? FAULT_NONE : FAULT_STALE_HANDLE;
}

/* Nobody pins it and no live handle names it: all but its state is zeroed. */
static void recycle(struct pin pin) {
  burn_registers();
  const size_t bytes = is_sealed(pin.index) ? sizeof(struct record) : sizeof(struct slot);
  const size_t kept = sizeof pin.control->state;
  OPENSSL_cleanse((uint8_t *)pin.control + kept, bytes - kept);
  uint64_t generation = (atomic_load(&pin.control->state) >> GENERATION_SHIFT) + 1;
  bool retires = generation > LAST_GENERATION;
  atomic_store(&pin.control->state, retires ? 0 : generation << GENERATION_SHIFT);
  struct tier *tier = is_sealed(pin.index) ? &arena.second : &arena.first;
  pthread_mutex_lock(&arena.mutex);
  tier->used--;
  if (retires) {
    tier->retired++;
  } else {
    pin.control->next_free = tier->next_free;
    tier->next_free = pin.index;
  }
  pthread_mutex_unlock(&arena.mutex);
}

fault keys_open(struct pin pin, const struct keys **out) {
  if (!is_sealed(pin.index)) {
    *out = &arena.start->slots[pin.index].keys;
    return FAULT_NONE;
  }
  struct keys *room = room_take();
  uint64_t handle = handle_of(atomic_load(&pin.control->state), pin.index);
  fault why = open_record(record_at(pin.index), handle, arena.start->sealing_key, room);
  if (why != FAULT_NONE) {
    room_return(room);
    return why;
  }
  *out = room;
  return FAULT_NONE;
}

void keys_close(const struct keys *keys) {
  if (is_room(keys)) {
    room_return((struct keys *)keys);
  }
}

const uint8_t *pinned_dek_id(struct pin pin) {
  return is_sealed(pin.index) ? record_at(pin.index)->dek_id : arena.start->slots[pin.index].dek_id;
}

fault count_message(struct control *control, bool limited, size_t length) {
  if (atomic_fetch_add(&control->messages, 1) >= MESSAGE_LIMIT && limited) {
    atomic_fetch_sub(&control->messages, 1);
    return FAULT_MESSAGE_LIMIT;
  }
  atomic_fetch_add(&control->bytes, length);
  return FAULT_NONE;
}

void keep_mac(struct pin pin, const uint8_t mac[KEY_BYTES], uint64_t verified_ms) {
  if (is_sealed(pin.index)) {
    return; /* it is for a later process, and a sealed record ends with this one */
  }
  struct slot *slot = &arena.start->slots[pin.index];
  pthread_mutex_lock(&arena.mutex);
  memcpy(slot->block_mac, mac, KEY_BYTES);
  pthread_mutex_unlock(&arena.mutex);
  atomic_store(&slot->verified_ms, verified_ms);
}
