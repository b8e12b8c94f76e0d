/*
 * createIndex, addToIndex, findInIndex, findIdInIndex, removeFromIndex: which DEK a hit is for, by the bytes that an
 * envelope carries of it: dek_id, then the rest. Over thousands of DEKs a look-up costs the cache lines that it touches:
 * here one, and the key's slot is on its way when it returns.
 *
 *   index | 0-63 to the next cache line | header 64 | place 0 | place 1 | … | place 2^n - 1 |
 *
 * Open addressing with linear probing. A place has no bytes but two hashes of them, under a key that is made when the
 * process makes its first index: two blocks that differ have equal hashes with a chance of 2^-64, and each try is a call;
 * nor can anybody choose dek_ids that crowd.
 *
 * The memory is JavaScript's, so an index ends with whoever holds it. Nothing in it is trusted: a hash is compared, a
 * number is handed back, a slot is a hint, every loop ends with the places.
 */
#include <pthread.h>
#include <string.h>

#include "addon.h"
#include "args.h"
#include "random.h"
#include "secmem.h"

#define LEAST_PLACES 256
#define MAX_PLACES (2 * MAX_KEYS)
#define NOT_FOUND (-1)
#define MAX_BYTES (KEY_BYTES + 2 + 16384) /* with the longest dek-block (docs/envelope.md) */
#define MAX_WORDS ((MAX_BYTES + 7) / 8)

struct place {
  uint64_t id_hash;    /* of dek_id; says where the search begins */
  uint64_t bytes_hash; /* of dek_id and what follows */
  uint32_t taken;      /* number + 1; 0 is a free place */
  uint32_t slot;
};

struct header {
  _Alignas(CACHE_LINE) uint32_t used;
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

__extension__ typedef unsigned __int128 wide;

static struct {
  pthread_once_t once;
  bool is_made;
  wide first, length, words[MAX_WORDS];
} key = {.once = PTHREAD_ONCE_INIT};

static void make_key(void);
static napi_value new_index(napi_env env, uint32_t count, struct table *out);
static struct table table_of(uint8_t *data, uint32_t count);
static bool take_index(napi_env env, napi_value value, struct table *out);
static bool take_id(napi_env env, napi_value value, struct bytes *out);
static wide add_words(wide sum, const uint8_t *bytes, size_t first, size_t end);
static uint64_t hash_id(const uint8_t *id);
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
  pthread_once(&key.once, make_key);
  if (!key.is_made) {
    return throw_fault(env, FAULT_RANDOM);
  }
  uint32_t count = is_given ? 2 * (from.mask + 1) : LEAST_PLACES;
  if (count > MAX_PLACES) {
    return throw_invalid(env, "from", "has all the places that an index can have");
  }
  napi_value result = new_index(env, count, &to);
  if (result == NULL) {
    return NULL;
  }
  for (uint32_t at = 0; is_given && at <= from.mask; at++) {
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
  if (bytes.length > MAX_BYTES) {
    return throw_invalid(env, "id", "comes with more than a dek-block can have");
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
  if (end - start > MAX_BYTES) {
    return number_of(env, NULL);
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
  if (!take_arguments(env, info, 2, argv) || !take_index(env, argv[0], &table) || !take_id(env, argv[1], &id)) {
    return NULL;
  }
  return number_of(env, find(&table, hash_id(id.data), NULL));
}

ENTRY_POINT(js_remove_from_index) {
  napi_value argv[2];
  struct table table;
  struct bytes id;
  if (!take_arguments(env, info, 2, argv) || !take_index(env, argv[0], &table) || !take_id(env, argv[1], &id)) {
    return NULL;
  }
  struct place *place = find(&table, hash_id(id.data), NULL);
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

static void make_key(void) { key.is_made = random_fill((uint8_t *)&key.first, sizeof key - offsetof(__typeof__(key), first)); }

/*
 * Multilinear hashing (Lemire and Kaser, "Strongly universal string hashing is fast", 2014): modulo 2^128, each word times
 * a random number of its own; the upper half of the sum. Shorter bytes are as if they went on with zeroes, and their
 * length is a word too.
 */
static wide add_words(wide sum, const uint8_t *bytes, size_t first, size_t end) {
  for (size_t at = first; at < end; at++) {
    uint64_t word;
    memcpy(&word, bytes + at * sizeof word, sizeof word);
    sum += key.words[at] * word;
  }
  return sum;
}

static uint64_t hash_id(const uint8_t *id) { return add_words(key.first, id, 0, KEY_BYTES / 8) >> 64; }

/* The place is asked for as soon as it is known, and comes while the rest is hashed. */
static struct hashes hash(const struct table *table, struct bytes bytes) {
  const size_t words = bytes.length / 8, odd = bytes.length % 8;
  wide sum = add_words(key.first, bytes.data, 0, KEY_BYTES / 8);
  struct hashes hashes = {.id = sum >> 64};
  const struct place *first = &table->places[hashes.id & table->mask];
  __builtin_prefetch(first);
  __builtin_prefetch((const uint8_t *)(first + 1) - 1);
  sum = add_words(sum, bytes.data, KEY_BYTES / 8, words);
  if (odd > 0) {
    uint64_t last = 0;
    memcpy(&last, bytes.data + words * 8, odd);
    sum += key.words[words] * last;
  }
  hashes.bytes = (sum + key.length * bytes.length) >> 64;
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
