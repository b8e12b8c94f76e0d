#include "rooms.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "openssl.h"

#define ALL_ROOMS ((1u << ROOMS) - 1)

static_assert(sizeof(struct keys) == RAW_BYTES, "scratch is all rooms without a gap");

/* No lock as long as there is a room. Who waits says so before it looks again, who returns looks for it afterwards. */
static struct {
  _Atomic uint32_t taken; /* a bit each */
  _Atomic uint32_t waiting;
  pthread_mutex_t mutex;
  pthread_cond_t returned;
  struct keys *first;
} rooms = {.mutex = PTHREAD_MUTEX_INITIALIZER, .returned = PTHREAD_COND_INITIALIZER};

typedef bool try_function(uint32_t *taken);

static uint32_t take(try_function *try_to);
static try_function try_take, try_take_all;
static void give_back(uint32_t bits);

void rooms_open(struct keys *first) { rooms.first = first; }

bool is_room(const struct keys *keys) { return keys >= rooms.first && keys < rooms.first + ROOMS; }

struct keys *room_take(void) { return rooms.first + __builtin_ctz(take(try_take)); }

void room_return(struct keys *room) {
  OPENSSL_cleanse(room, sizeof *room);
  give_back(1u << (room - rooms.first));
}

uint8_t *scratch_take(void) {
  take(try_take_all);
  return rooms.first->raw;
}

void scratch_return(void) {
  OPENSSL_cleanse(rooms.first, SCRATCH_BYTES);
  give_back(ALL_ROOMS);
}

static uint32_t take(try_function *try_to) {
  uint32_t taken;
  if (try_to(&taken)) {
    return taken;
  }
  pthread_mutex_lock(&rooms.mutex);
  rooms.waiting++;
  while (!try_to(&taken)) {
    pthread_cond_wait(&rooms.returned, &rooms.mutex);
  }
  rooms.waiting--;
  pthread_mutex_unlock(&rooms.mutex);
  return taken;
}

static bool try_take(uint32_t *taken) {
  uint32_t before = rooms.taken;
  do {
    if (before == ALL_ROOMS) {
      return false;
    }
    *taken = ~before & (before + 1); /* the lowest bit that is free */
  } while (!atomic_compare_exchange_weak(&rooms.taken, &before, before | *taken));
  return true;
}

static bool try_take_all(uint32_t *taken) {
  uint32_t none = 0;
  *taken = ALL_ROOMS;
  return atomic_compare_exchange_strong(&rooms.taken, &none, ALL_ROOMS);
}

static void give_back(uint32_t bits) {
  rooms.taken &= ~bits;
  if (rooms.waiting > 0) {
    pthread_mutex_lock(&rooms.mutex);
    pthread_cond_broadcast(&rooms.returned);
    pthread_mutex_unlock(&rooms.mutex);
  }
}
