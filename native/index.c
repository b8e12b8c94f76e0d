/*
 * createIndex, addToIndex, findInIndex, findIdInIndex, removeFromIndex: which DEK a hit is for, by the bytes that an
 * envelope carries of it: dek_id, then the rest. Over thousands of DEKs a look-up costs the cache lines that it touches:
 * here one, and the key's slot is on its way when it returns.
 *
 *   index | 0-63 to the next cache line | header 64 | place 0 | place 1 | … | place 2^n - 1 |
 *
 * Open addressing with linear probing. A place has no bytes but two keyed hashes of them: who does not know the key makes
 * two blocks alike with a chance of 2^-64 a try, each of which is a call, and cannot choose dek_ids that crowd. All public.
 *
 * The memory is JavaScript's, so an index ends with whoever holds it. Nothing in it is trusted: a hash is compared, a
 * number is handed back, a slot is a hint, every loop ends with the places.
 */
#include <string.h>

#include "addon.h"
#include "args.h"
#include "random.h"
#include "secmem.h"
#include "siphash.h"

#define LEAST_PLACES 256
#define MAX_PLACES (2 * MAX_KEYS)
#define NOT_FOUND (-1)

struct place {
  uint64_t id_hash;    /* of dek_id; says where the search begins */
  uint64_t bytes_hash; /* of dek_id and what follows */
  uint32_t taken;      /* number + 1; 0 is a free place */
  uint32_t slot;
};

struct header {
  _Alignas(CACHE_LINE) uint8_t hash_key[SIPHASH_KEY_BYTES];
  uint32_t used;
};
#define OVERHEAD (CACHE_LINE - 1 + sizeof(struct header))

struct table {
  struct header *header;
  struct place *places;
  uint32_t mask;
};

struct hashes {
  uint64_t id, bytes;
};

static napi_value new_index(napi_env env, uint32_t count, struct table *out);
static struct table table_of(uint8_t *data, uint32_t count);
static bool take_index(napi_env env, napi_value value, struct table *out);
static bool take_id(napi_env env, napi_value value, struct bytes *out);
static uint64_t hash_id(const struct table *table, const uint8_t *id, struct siphash *on);
static struct hashes hash(const struct table *table, struct bytes bytes);
static bool put(struct table *table, struct place place);
static struct place *find(const struct table *table, uint64_t id_hash, const uint64_t *bytes_hash);
static void take_out(struct table *table, struct place *place);
static napi_value number_of(napi_env env, const struct place *place);

ENTRY_POINT(js_create_index) {
  napi_value argv[1];
  struct bytes given;
  bool is_given;
  struct table from = {NULL, NULL, 0}, to;
  if (!take_arguments(env, info, 1, argv) || !take_bytes_or_null(env, argv[0], "from", &given, &is_given) ||
      (is_given && !take_index(env, argv[0], &from))) {
    return NULL;
  }
  uint32_t count = is_given ? 2 * (from.mask + 1) : LEAST_PLACES;
  if (count > MAX_PLACES) {
    return throw_invalid(env, "from", "has all the places that an index can have");
  }
  napi_value result = new_index(env, count, &to);
  if (result == NULL) {
    return NULL;
  }
  if (!is_given) {
    return random_fill(to.header->hash_key, SIPHASH_KEY_BYTES) ? result : throw_fault(env, FAULT_RANDOM);
  }
  memcpy(to.header->hash_key, from.header->hash_key, SIPHASH_KEY_BYTES);
  for (uint32_t at = 0; at <= from.mask; at++) {
    if (from.places[at].taken != 0) {
      put(&to, from.places[at]);
    }
  }
  return result;
}

ENTRY_POINT(js_add_to_index) {
  napi_value argv[4], result;
  struct table table;
  uint64_t number, handle;
  struct bytes bytes;
  if (!take_arguments(env, info, 4, argv) || !take_index(env, argv[0], &table) ||
      !take_integer(env, argv[1], "number", 0, MAX_KEYS - 1, &number) ||
      !take_handle(env, argv[2], "handle", &handle) || !take_id(env, argv[3], &bytes)) {
    return NULL;
  }
  const struct hashes hashes = hash(&table, bytes);
  const struct place place = {
      .id_hash = hashes.id,
      .bytes_hash = hashes.bytes,
      .taken = (uint32_t)number + 1,
      .slot = handle & (MAX_KEYS - 1),
  };
  /* A quarter stays free, or searches become long. */
  bool has_room = table.header->used < (table.mask + 1) / 4 * 3;
  return napi_get_boolean(env, has_room && put(&table, place), &result) == napi_ok ? result : NULL;
}

ENTRY_POINT(js_find_in_index) {
  napi_value argv[4];
  struct table table;
  uint64_t start, end;
  struct bytes bytes;
  if (!take_arguments(env, info, 4, argv) || !take_index(env, argv[0], &table) ||
      !take_bytes(env, argv[1], "bytes", &bytes) || !take_integer(env, argv[2], "start", 0, bytes.length, &start) ||
      !take_integer(env, argv[3], "end", start + KEY_BYTES, bytes.length, &end)) {
    return NULL;
  }
  const struct hashes hashes = hash(&table, (struct bytes){bytes.data + start, end - start});
  const struct place *place = find(&table, hashes.id, &hashes.bytes);
  if (place != NULL) {
    slot_prefetch(place->slot);
  }
  return number_of(env, place);
}

ENTRY_POINT(js_find_id_in_index) {
  napi_value argv[2];
  struct table table;
  struct bytes id;
  struct siphash unused;
  if (!take_arguments(env, info, 2, argv) || !take_index(env, argv[0], &table) || !take_id(env, argv[1], &id)) {
    return NULL;
  }
  return number_of(env, find(&table, hash_id(&table, id.data, &unused), NULL));
}

ENTRY_POINT(js_remove_from_index) {
  napi_value argv[2];
  struct table table;
  struct bytes id;
  struct siphash unused;
  if (!take_arguments(env, info, 2, argv) || !take_index(env, argv[0], &table) || !take_id(env, argv[1], &id)) {
    return NULL;
  }
  struct place *place = find(&table, hash_id(&table, id.data, &unused), NULL);
  napi_value result = number_of(env, place);
  if (place != NULL) {
    take_out(&table, place);
  }
  return result;
}

static napi_value new_index(napi_env env, uint32_t count, struct table *out) {
  napi_value buffer, result;
  void *data;
  const size_t length = OVERHEAD + count * sizeof(struct place);
  if (napi_create_arraybuffer(env, length, &data, &buffer) != napi_ok ||
      napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &result) != napi_ok) {
    return NULL;
  }
  memset(data, 0, length);
  *out = table_of(data, count);
  return result;
}

static struct table table_of(uint8_t *data, uint32_t count) {
  uint8_t *start = data + (-(uintptr_t)data & (CACHE_LINE - 1));
  return (struct table){(struct header *)start, (struct place *)(start + sizeof(struct header)), count - 1};
}

static bool take_index(napi_env env, napi_value value, struct table *out) {
  struct bytes bytes;
  if (!take_bytes(env, value, "index", &bytes)) {
    return false;
  }
  const size_t count = bytes.length < OVERHEAD ? 0 : (bytes.length - OVERHEAD) / sizeof(struct place);
  if (count < LEAST_PLACES || count > MAX_PLACES || (count & (count - 1)) != 0 ||
      bytes.length != OVERHEAD + count * sizeof(struct place)) {
    throw_invalid(env, "index", "is not of createIndex");
    return false;
  }
  *out = table_of(bytes.data, (uint32_t)count);
  return true;
}

/* dek_id, and perhaps more. */
static bool take_id(napi_env env, napi_value value, struct bytes *out) {
  if (!take_bytes(env, value, "id", out)) {
    return false;
  }
  if (out->length < KEY_BYTES) {
    throw_invalid(env, "id", "has less than 32 bytes");
    return false;
  }
  return true;
}

/* `on` is where the hash of what follows dek_id goes on. */
static uint64_t hash_id(const struct table *table, const uint8_t *id, struct siphash *on) {
  *on = siphash_start(table->header->hash_key);
  const uint8_t *end = siphash_words(on, id, KEY_BYTES / sizeof(uint64_t));
  return siphash_end(*on, end, KEY_BYTES);
}

/* The place is asked for as soon as it is known, and comes while the rest is hashed. */
static struct hashes hash(const struct table *table, struct bytes bytes) {
  struct siphash on;
  struct hashes hashes = {.id = hash_id(table, bytes.data, &on)};
  const struct place *first = &table->places[hashes.id & table->mask];
  __builtin_prefetch(first);
  __builtin_prefetch((const uint8_t *)(first + 1) - 1);
  const size_t words = (bytes.length - KEY_BYTES) / sizeof(uint64_t);
  const uint8_t *rest = siphash_words(&on, bytes.data + KEY_BYTES, words);
  hashes.bytes = siphash_end(on, rest, bytes.length);
  return hashes;
}

static bool put(struct table *table, struct place place) {
  for (uint32_t step = 0; step <= table->mask; step++) {
    struct place *at = &table->places[(place.id_hash + step) & table->mask];
    if (at->taken == 0) {
      *at = place;
      table->header->used++;
      return true;
    }
  }
  return false;
}

/* `bytes_hash` NULL = whatever it is. NULL when it is not there. */
static struct place *find(const struct table *table, uint64_t id_hash, const uint64_t *bytes_hash) {
  for (uint32_t step = 0; step <= table->mask; step++) {
    struct place *at = &table->places[(id_hash + step) & table->mask];
    if (at->taken == 0) {
      return NULL;
    }
    if (at->id_hash == id_hash && (bytes_hash == NULL || at->bytes_hash == *bytes_hash)) {
      return at;
    }
  }
  return NULL;
}

/* What lies behind it moves up, unless that would be before where its search begins: no search ends too early. */
static void take_out(struct table *table, struct place *place) {
  const uint32_t mask = table->mask;
  uint32_t gap = (uint32_t)(place - table->places);
  for (uint32_t step = 1, start = gap; step <= mask; step++) {
    const uint32_t at = (start + step) & mask;
    const struct place *next = &table->places[at];
    if (next->taken == 0) {
      break;
    }
    const uint32_t begins = next->id_hash & mask;
    if (((at - begins) & mask) >= ((at - gap) & mask)) {
      table->places[gap] = *next;
      gap = at;
    }
  }
  table->places[gap] = (struct place){0};
  table->header->used--;
}

static napi_value number_of(napi_env env, const struct place *place) {
  napi_value result;
  int32_t number = place == NULL ? NOT_FOUND : (int32_t)(place->taken - 1);
  return napi_create_int32(env, number, &result) == napi_ok ? result : NULL;
}
