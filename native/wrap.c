/* wrapKey, unwrapKey: the wrap of `local`, from slot to slot (docs/envelope.md, wrap algorithms 5 and 6). */
#include "addon.h"
#include "keys.h"

#define MAX_WRAPPED_BYTES (MAX_NONCE_BYTES + KEY_BYTES + TAG_BYTES)

static fault wrap(uint64_t kek, uint64_t dek, const struct suite *suite, struct bytes aad, uint8_t *out);
static fault unwrap(uint64_t kek, const struct suite *suite, struct bytes wrapped, struct bytes aad, struct slot *to);

ENTRY_POINT(js_wrap_key) {
  napi_value argv[4], result;
  uint64_t kek, dek;
  const struct suite *suite;
  struct bytes aad;
  uint8_t wrapped[MAX_WRAPPED_BYTES];
  if (!take_arguments(env, info, 4, argv) || !take_handle(env, argv[0], "kek", &kek) ||
      !take_suite(env, argv[1], &suite) || !take_handle(env, argv[2], "dek", &dek) ||
      !take_bytes(env, argv[3], "aad", &aad)) {
    return NULL;
  }
  fault why = wrap(kek, dek, suite, aad, wrapped);
  if (why != FAULT_NONE) {
    return throw_fault(env, why);
  }
  size_t length = suite->nonce_bytes + KEY_BYTES + TAG_BYTES;
  return napi_create_buffer_copy(env, length, wrapped, NULL, &result) == napi_ok ? result : NULL;
}

ENTRY_POINT(js_unwrap_key) {
  napi_value argv[5];
  uint64_t kek;
  uint32_t kind;
  const struct suite *suite;
  struct bytes wrapped, aad;
  if (!take_arguments(env, info, 5, argv) || !take_handle(env, argv[0], "kek", &kek) ||
      !take_suite(env, argv[1], &suite) || !take_bytes(env, argv[2], "wrapped", &wrapped) ||
      !take_bytes(env, argv[3], "aad", &aad) || !take_kind(env, argv[4], &kind)) {
    return NULL;
  }
  struct pin to;
  fault why = slot_allocate(&to);
  if (why != FAULT_NONE) {
    return throw_fault(env, why);
  }
  return finish_key(env, to, kind, KEY_BYTES, unwrap(kek, suite, wrapped, aad, to.slot));
}

static fault wrap(uint64_t kek, uint64_t dek, const struct suite *suite, struct bytes aad, uint8_t *out) {
  struct pin kek_pin, dek_pin;
  const uint8_t *key;
  fault why = pin_use(kek, USE_RAW, &kek_pin, &key);
  if (why != FAULT_NONE) {
    return why;
  }
  why = slot_pin(dek, &dek_pin);
  if (why == FAULT_NONE) {
    /* A DEK's own bytes come first in its slot, as a raw key's do. */
    why = dek_pin.slot->raw_length == KEY_BYTES
              ? seal_counted(kek_pin.slot, key, suite, aad, (struct bytes){dek_pin.slot->raw, KEY_BYTES}, out)
              : FAULT_WRONG_KIND;
    slot_unpin(dek_pin);
  }
  slot_unpin(kek_pin);
  return why;
}

static fault unwrap(uint64_t kek, const struct suite *suite, struct bytes wrapped, struct bytes aad, struct slot *to) {
  struct pin pin;
  const uint8_t *key;
  fault why = pin_use(kek, USE_RAW, &pin, &key);
  if (why != FAULT_NONE) {
    return why;
  }
  struct bytes body = {wrapped.data + suite->nonce_bytes, KEY_BYTES + TAG_BYTES};
  why = wrapped.length == suite->nonce_bytes + body.length
            ? aead_open(suite, key, wrapped.data, aad, body, to->raw)
            : FAULT_AUTHENTICATION;
  slot_unpin(pin);
  return why;
}
