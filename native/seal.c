/* seal, open, sealDataKey: the hot path. It takes no lock but sealDataKey's for the scratch space. */
#include <string.h>

#include "addon.h"
#include "keys.h"

static fault seal_new_key(struct slot *slot, const uint8_t *key, const struct suite *suite, struct bytes aad,
                          size_t length, uint8_t *plaintext_out, uint8_t *out);
static napi_value new_length(napi_env env, size_t length);

ENTRY_POINT(js_seal) {
  napi_value argv[8];
  uint64_t handle, use;
  const struct suite *suite;
  struct bytes aad, plaintext, out;
  if (!take_arguments(env, info, 8, argv) || !take_handle(env, argv[0], "handle", &handle) ||
      !take_integer(env, argv[1], "use", USE_RAW, USE_DATA_KEY, &use) || !take_suite(env, argv[2], &suite) ||
      !take_prefix(env, argv[3], argv[4], "aad", &aad) || !take_bytes(env, argv[5], "plaintext", &plaintext) ||
      !take_suffix(env, argv[6], argv[7], "out", &out)) {
    return NULL;
  }
  if (plaintext.length > GCM_MAX_BYTES) {
    return throw_invalid(env, "plaintext", "is longer than AES-GCM allows");
  }
  size_t written = suite->nonce_bytes + plaintext.length + TAG_BYTES;
  if (!take_room(env, &out, "out", written, aad, plaintext)) {
    return NULL;
  }
  struct pin pin;
  const uint8_t *key;
  fault why = pin_use(handle, use, &pin, &key);
  if (why == FAULT_NONE) {
    why = seal_counted(pin.slot, key, suite, aad, plaintext, out.data);
    slot_unpin(pin);
  }
  return why == FAULT_NONE ? new_length(env, written) : throw_fault(env, why);
}

ENTRY_POINT(js_open) {
  napi_value argv[8];
  uint64_t handle, use;
  const struct suite *suite;
  struct bytes aad, sealed, out;
  if (!take_arguments(env, info, 8, argv) || !take_handle(env, argv[0], "handle", &handle) ||
      !take_integer(env, argv[1], "use", USE_RAW, USE_DATA_KEY, &use) || !take_suite(env, argv[2], &suite) ||
      !take_prefix(env, argv[3], argv[4], "aad", &aad) || !take_suffix(env, argv[5], argv[6], "sealed", &sealed) ||
      !take_bytes(env, argv[7], "out", &out)) {
    return NULL;
  }
  struct pin pin;
  const uint8_t *key;
  fault why = pin_use(handle, use, &pin, &key);
  if (why != FAULT_NONE) {
    return throw_fault(env, why);
  }
  size_t overhead = (size_t)suite->nonce_bytes + TAG_BYTES;
  if (sealed.length < overhead) {
    slot_unpin(pin);
    return throw_fault(env, FAULT_AUTHENTICATION);
  }
  size_t length = sealed.length - overhead;
  if (!take_room(env, &out, "out", length, aad, sealed)) {
    slot_unpin(pin);
    return NULL;
  }
  struct bytes body = {sealed.data + suite->nonce_bytes, sealed.length - suite->nonce_bytes};
  why = aead_open(suite, key, sealed.data, aad, body, out.data);
  slot_unpin(pin);
  return why == FAULT_NONE ? new_length(env, length) : throw_fault(env, why);
}

ENTRY_POINT(js_seal_data_key) {
  napi_value argv[8];
  uint64_t handle, length;
  const struct suite *suite;
  struct bytes aad, plaintext, out;
  bool handed_out;
  const struct bytes none = {NULL, 0};
  if (!take_arguments(env, info, 8, argv) || !take_handle(env, argv[0], "handle", &handle) ||
      !take_suite(env, argv[1], &suite) || !take_prefix(env, argv[2], argv[3], "aad", &aad) ||
      !take_integer(env, argv[4], "length", 1, SCRATCH_BYTES, &length) ||
      !take_bytes_or_null(env, argv[5], "plaintextOut", &plaintext, &handed_out) ||
      !take_suffix(env, argv[6], argv[7], "out", &out)) {
    return NULL;
  }
  size_t written = suite->nonce_bytes + (size_t)length + TAG_BYTES;
  if ((handed_out && !take_room(env, &plaintext, "plaintextOut", (size_t)length, aad, none)) ||
      !take_room(env, &out, "out", written, aad, plaintext)) {
    return NULL;
  }
  struct pin pin;
  const uint8_t *key;
  fault why = pin_use(handle, USE_DATA_KEY, &pin, &key);
  if (why == FAULT_NONE) {
    why = seal_new_key(pin.slot, key, suite, aad, (size_t)length, plaintext.data, out.data);
    slot_unpin(pin);
  }
  return why == FAULT_NONE ? new_length(env, written) : throw_fault(env, why);
}

fault seal_counted(struct slot *slot, const uint8_t *key, const struct suite *suite, struct bytes aad,
                   struct bytes plaintext, uint8_t *out) {
  fault why = slot_count_message(slot, suite->message_limit, plaintext.length);
  if (why != FAULT_NONE) {
    return why;
  }
  /* SP 800-38D, section 8.2.2: the whole nonce is random, and the kernel's. */
  if (!random_fill(out, suite->nonce_bytes)) {
    return FAULT_RANDOM;
  }
  return aead_seal(suite, key, out, aad, plaintext, out + suite->nonce_bytes);
}

static fault seal_new_key(struct slot *slot, const uint8_t *key, const struct suite *suite, struct bytes aad,
                          size_t length, uint8_t *plaintext_out, uint8_t *out) {
  struct bytes fresh = {scratch_take(), length};
  fault why = random_fill(fresh.data, length) ? FAULT_NONE : FAULT_RANDOM;
  if (why == FAULT_NONE) {
    why = seal_counted(slot, key, suite, aad, fresh, out);
  }
  if (why == FAULT_NONE && plaintext_out != NULL) {
    memcpy(plaintext_out, fresh.data, length);
  }
  scratch_return();
  return why;
}

static napi_value new_length(napi_env env, size_t length) {
  napi_value result;
  return napi_create_double(env, (double)length, &result) == napi_ok ? result : NULL;
}
