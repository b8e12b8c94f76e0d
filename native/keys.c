/* openArena, arenaStatus, createKey, readKey, freeKey: a slot's life as JavaScript sees it. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "addon.h"
#include "random.h"
#include "keys.h"

#define MAX_ARENA_BYTES (UINT64_C(1) << 28) /* more than 2^20 slots would not fit a handle */

static bool take_options(napi_env env, napi_value value, struct arena_options *out);
static bool take_lock(napi_env env, napi_value value, bool *best_effort);
static int read_exactly(int fd, uint8_t *out, size_t length, size_t *got);

ENTRY_POINT(js_open_arena) {
  napi_value argv[1];
  struct arena_options options;
  if (!take_arguments(env, info, 1, argv) || !take_options(env, argv[0], &options)) {
    return NULL;
  }
  fault why = arena_open(&options);
  if (why == FAULT_NO_MEMORY) {
    return throw_system(env, "mmap", ENOMEM);
  }
  return why == FAULT_NONE ? js_arena_status(env, info) : throw_fault(env, why);
}

ENTRY_POINT(js_arena_status) {
  (void)info;
  static const char *const kinds[] = {
      [ARENA_MEMFD_SECRET] = "memfd_secret", [ARENA_MLOCK] = "mlock", [ARENA_UNLOCKED] = "unlocked"};
  struct arena_status status;
  fault why = arena_status(&status);
  if (why != FAULT_NONE) {
    return throw_fault(env, why);
  }
  const struct {
    const char *name;
    size_t value;
  } numbers[] = {{"requested", status.requested},
                 {"size", status.size},
                 {"slots", status.slots},
                 {"slotsUsed", status.used},
                 {"sealed", status.sealed},
                 {"maxSealed", status.max_sealed},
                 {"free", status.free},
                 {"layout", ARENA_LAYOUT}};
  napi_value result, value;
  if (napi_create_object(env, &result) != napi_ok ||
      napi_create_string_utf8(env, kinds[status.kind], NAPI_AUTO_LENGTH, &value) != napi_ok ||
      napi_set_named_property(env, result, "kind", value) != napi_ok) {
    return NULL;
  }
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    if (napi_create_double(env, (double)numbers[i].value, &value) != napi_ok ||
        napi_set_named_property(env, result, numbers[i].name, value) != napi_ok) {
      return NULL;
    }
  }
  return result;
}

ENTRY_POINT(js_create_key) {
  napi_value argv[1];
  uint32_t kind;
  struct draft draft;
  if (!take_arguments(env, info, 1, argv) || !take_kind(env, argv[0], &kind)) {
    return NULL;
  }
  fault why = slot_draft(kind, &draft);
  if (why != FAULT_NONE) {
    return throw_fault(env, why);
  }
  why = random_fill(own_bytes(draft), KEY_BYTES) ? FAULT_NONE : FAULT_RANDOM;
  return finish_key(env, draft, KEY_BYTES, why);
}

ENTRY_POINT(js_read_key) {
  napi_value argv[3];
  uint64_t fd, length;
  uint32_t kind;
  if (!take_arguments(env, info, 3, argv) || !take_integer(env, argv[0], "fd", 0, INT32_MAX, &fd) ||
      !take_kind(env, argv[1], &kind) || !take_integer(env, argv[2], "length", 1, RAW_BYTES, &length)) {
    return NULL;
  }
  if (kind == SLOT_DEK && length != KEY_BYTES) {
    return throw_invalid(env, "length", "of a dek is 32");
  }
  struct draft draft;
  size_t got;
  fault why = slot_draft(kind, &draft);
  if (why != FAULT_NONE) {
    return throw_fault(env, why);
  }
  int error = read_exactly((int)fd, own_bytes(draft), (size_t)length, &got);
  if (error != 0) {
    slot_discard(draft);
    return throw_system(env, "read", error);
  }
  return finish_key(env, draft, (uint32_t)length, got == length ? FAULT_NONE : FAULT_KEY_LENGTH);
}

ENTRY_POINT(js_free_key) {
  napi_value argv[1];
  uint64_t handle;
  if (!take_arguments(env, info, 1, argv) || !take_handle(env, argv[0], "handle", &handle)) {
    return NULL;
  }
  fault why = slot_free(handle);
  return why == FAULT_NONE ? NULL : throw_fault(env, why);
}

uint8_t *own_bytes(struct draft draft) { return draft.kind == SLOT_DEK ? draft.keys->dek : draft.keys->raw; }

napi_value finish_key(napi_env env, struct draft draft, uint32_t length, fault why) {
  napi_value result;
  uint64_t handle;
  if (why == FAULT_NONE && draft.kind == SLOT_DEK && !derive_dek(draft.keys, draft.dek_id)) {
    why = FAULT_CRYPTO;
  }
  if (why != FAULT_NONE) {
    slot_discard(draft);
    return throw_fault(env, why);
  }
  why = slot_publish(draft, length, &handle);
  if (why != FAULT_NONE) {
    return throw_fault(env, why);
  }
  if (napi_create_double(env, (double)handle, &result) != napi_ok) {
    slot_free(handle);
    return NULL;
  }
  return result;
}

fault pin_kind(uint64_t handle, uint32_t kind, struct pin *out) {
  fault why = slot_pin(handle, out);
  if (why == FAULT_NONE && out->control->kind != kind) {
    slot_unpin(*out);
    return FAULT_WRONG_KIND;
  }
  return why;
}

fault pin_use(uint64_t handle, uint64_t use, struct pin *out) {
  fault why = pin_kind(handle, use == USE_RAW ? SLOT_RAW : SLOT_DEK, out);
  if (why == FAULT_NONE && use == USE_RAW && out->control->raw_length != KEY_BYTES) {
    slot_unpin(*out);
    return FAULT_WRONG_KIND;
  }
  return why;
}

/* Straight into secret memory, and one byte more, to see that nothing follows. Returns an errno. */
static int read_exactly(int fd, uint8_t *out, size_t length, size_t *got) {
  uint8_t surplus;
  ssize_t count;
  *got = 0;
  do {
    bool full = *got == length;
    count = full ? read(fd, &surplus, 1) : read(fd, out + *got, length - *got);
    if (count > 0) {
      *got += (size_t)count;
    }
  } while ((count > 0 && *got <= length) || (count < 0 && errno == EINTR));
  OPENSSL_cleanse(&surplus, sizeof surplus);
  return count < 0 ? errno : 0;
}

static bool take_options(napi_env env, napi_value value, struct arena_options *out) {
  napi_valuetype type;
  napi_value size, lock, avoid, sealed;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_object) {
    throw_invalid(env, "options", "must be an object");
    return false;
  }
  /* A getter may throw: then that is what the caller sees. */
  if (napi_get_named_property(env, value, "size", &size) != napi_ok ||
      napi_get_named_property(env, value, "lock", &lock) != napi_ok ||
      napi_get_named_property(env, value, "avoidSecretMemory", &avoid) != napi_ok ||
      napi_get_named_property(env, value, "maxSealed", &sealed) != napi_ok ||
      !take_integer(env, size, "size", 1, MAX_ARENA_BYTES, &out->size) || !take_lock(env, lock, &out->best_effort) ||
      napi_typeof(env, sealed, &type) != napi_ok) {
    return false;
  }
  out->max_sealed = MAX_KEYS;
  if (type != napi_undefined && !take_integer(env, sealed, "maxSealed", 0, MAX_KEYS, &out->max_sealed)) {
    return false;
  }
  out->avoid_secret_memory = false;
  if (napi_typeof(env, avoid, &type) != napi_ok) {
    return false;
  }
  if (type != napi_undefined && napi_get_value_bool(env, avoid, &out->avoid_secret_memory) != napi_ok) {
    throw_invalid(env, "avoidSecretMemory", "must be a boolean");
    return false;
  }
  return true;
}

static bool take_lock(napi_env env, napi_value value, bool *best_effort) {
  char text[16];
  size_t length;
  if (napi_get_value_string_utf8(env, value, text, sizeof text, &length) != napi_ok ||
      (strcmp(text, "required") != 0 && strcmp(text, "best-effort") != 0)) {
    throw_invalid(env, "lock", "must be 'required' or 'best-effort'");
    return false;
  }
  *best_effort = strcmp(text, "best-effort") == 0;
  return true;
}
