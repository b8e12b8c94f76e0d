/* wrapKey, unwrapKey: the wrap of `local`, from slot to slot (docs/envelope.md, wrap algorithms 5 and 6). */
#include "addon.h"
#include "keys.h"

#define MAX_WRAPPED_BYTES (MAX_NONCE_BYTES + KEY_BYTES + TAG_BYTES)

static fault wrap(uint64_t kek, uint64_t dek, const struct suite *suite, struct bytes aad, uint8_t *out);
static fault wrap_pinned(struct pin kek, struct pin dek, const struct suite *suite, struct bytes aad, uint8_t *out);
static fault unwrap(uint64_t kek, const struct suite *suite, struct bytes wrapped, struct bytes aad, uint8_t *to);

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
  struct draft to;
  fault why = slot_draft(kind, &to);
  if (why != FAULT_NONE) {
    return throw_fault(env, why);
  }
  return finish_key(env, to, KEY_BYTES, unwrap(kek, suite, wrapped, aad, own_bytes(to)));
}

static fault wrap(uint64_t kek, uint64_t dek, const struct suite *suite, struct bytes aad, uint8_t *out) {
  struct pin kek_pin, dek_pin;
  fault why = pin_use(kek, USE_RAW, &kek_pin);
  if (why != FAULT_NONE) {
    return why;
  }
  why = slot_pin(dek, &dek_pin);
  if (why == FAULT_NONE) {
    why = dek_pin.control->raw_length == KEY_BYTES ? wrap_pinned(kek_pin, dek_pin, suite, aad, out) : FAULT_WRONG_KIND;
    slot_unpin(dek_pin);
  }
  slot_unpin(kek_pin);
  return why;
}

static fault wrap_pinned(struct pin kek, struct pin dek, const struct suite *suite, struct bytes aad, uint8_t *out) {
  const struct keys *keys;
  fault why = keys_open(dek, &keys);
  if (why == FAULT_NONE) {
    const uint8_t *own = dek.control->kind == SLOT_DEK ? keys->dek : keys->raw;
    why = seal_counted(kek, USE_RAW, suite, aad, (struct bytes){(uint8_t *)own, KEY_BYTES}, out);
    keys_close(keys);
  }
  return why;
}

static fault unwrap(uint64_t kek, const struct suite *suite, struct bytes wrapped, struct bytes aad, uint8_t *to) {
  struct pin pin;
  fault why = pin_use(kek, USE_RAW, &pin);
  if (why != FAULT_NONE) {
    return why;
  }
  if (wrapped.length != (size_t)suite->nonce_bytes + KEY_BYTES + TAG_BYTES) {
    why = FAULT_AUTHENTICATION;
  } else {
    struct bytes body = {wrapped.data + suite->nonce_bytes, KEY_BYTES + TAG_BYTES};
    why = open_pinned(pin, USE_RAW, suite, wrapped.data, aad, body, to);
  }
  slot_unpin(pin);
  return why;
}
