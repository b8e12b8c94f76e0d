/* seal, open, sealDataKey: the hot path. It takes no lock but a room's, and none while it works on a message. */
#include <string.h>

#include "addon.h"
#include "keys.h"
#include "random.h"

#define MAX_DATA_KEY_BYTES 1024

static fault start_aead(struct pin pin, uint64_t use, const struct suite *suite, const uint8_t *nonce, bool seals,
                        EVP_CIPHER_CTX **ctx);
static fault seal_new_key(struct pin pin, const struct suite *suite, struct bytes aad, size_t length,
                          uint8_t *plaintext_out, uint8_t *out);
static fault add_new_key(EVP_CIPHER_CTX *ctx, size_t length, uint8_t *plaintext_out, uint8_t *out);
static bool take_key(napi_env env, napi_value value, uint64_t *handle);
static napi_value new_length(napi_env env, size_t length);

ENTRY_POINT(js_seal) {
  napi_value argv[8];
  uint64_t handle, use;
  const struct suite *suite;
  struct bytes aad, plaintext, out;
  if (!take_arguments(env, info, 8, argv) || !take_key(env, argv[0], &handle) ||
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
  fault why = pin_use(handle, use, &pin);
  if (why == FAULT_NONE) {
    why = seal_counted(pin, use, suite, aad, plaintext, out.data);
    slot_unpin(pin);
  }
  return why == FAULT_NONE ? new_length(env, written) : throw_fault(env, why);
}

ENTRY_POINT(js_open) {
  napi_value argv[8];
  uint64_t handle, use;
  const struct suite *suite;
  struct bytes aad, sealed, out;
  if (!take_arguments(env, info, 8, argv) || !take_key(env, argv[0], &handle) ||
      !take_integer(env, argv[1], "use", USE_RAW, USE_DATA_KEY, &use) || !take_suite(env, argv[2], &suite) ||
      !take_prefix(env, argv[3], argv[4], "aad", &aad) || !take_suffix(env, argv[5], argv[6], "sealed", &sealed) ||
      !take_bytes(env, argv[7], "out", &out)) {
    return NULL;
  }
  struct pin pin;
  fault why = pin_use(handle, use, &pin);
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
  why = open_pinned(pin, use, suite, sealed.data, aad, body, out.data);
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
  if (!take_arguments(env, info, 8, argv) || !take_key(env, argv[0], &handle) ||
      !take_suite(env, argv[1], &suite) || !take_prefix(env, argv[2], argv[3], "aad", &aad) ||
      !take_integer(env, argv[4], "length", 1, MAX_DATA_KEY_BYTES, &length) ||
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
  fault why = pin_use(handle, USE_DATA_KEY, &pin);
  if (why == FAULT_NONE) {
    why = seal_new_key(pin, suite, aad, (size_t)length, plaintext.data, out.data);
    slot_unpin(pin);
  }
  return why == FAULT_NONE ? new_length(env, written) : throw_fault(env, why);
}

fault seal_counted(struct pin pin, uint64_t use, const struct suite *suite, struct bytes aad, struct bytes plaintext,
                   uint8_t *out) {
  fault why = count_message(pin.control, suite->message_limit, plaintext.length);
  return why == FAULT_NONE ? seal_pinned(pin, use, suite, aad, plaintext, out) : why;
}

fault seal_pinned(struct pin pin, uint64_t use, const struct suite *suite, struct bytes aad, struct bytes plaintext,
                  uint8_t *out) {
  /* SP 800-38D, section 8.2.2: the whole nonce is random, and the kernel's. */
  if (!random_fill(out, suite->nonce_bytes)) {
    return FAULT_RANDOM;
  }
  EVP_CIPHER_CTX *ctx;
  fault why = start_aead(pin, use, suite, out, true, &ctx);
  return why == FAULT_NONE ? aead_seal_started(ctx, aad, plaintext, out + suite->nonce_bytes) : why;
}

fault open_pinned(struct pin pin, uint64_t use, const struct suite *suite, const uint8_t *nonce, struct bytes aad,
                  struct bytes body, uint8_t *out) {
  EVP_CIPHER_CTX *ctx;
  fault why = start_aead(pin, use, suite, nonce, false, &ctx);
  return why == FAULT_NONE ? aead_open_started(ctx, aad, body, out) : why;
}

/* A sealed DEK's keys are in a room no longer than this takes. */
static fault start_aead(struct pin pin, uint64_t use, const struct suite *suite, const uint8_t *nonce, bool seals,
                        EVP_CIPHER_CTX **ctx) {
  const struct keys *keys;
  fault why = keys_open(pin, &keys);
  if (why == FAULT_NONE) {
    const uint8_t *key = use == USE_MESSAGE ? keys->message : use == USE_DATA_KEY ? keys->data_key : keys->raw;
    why = aead_start(suite, key, nonce, seals, ctx);
    keys_close(keys);
  }
  return why;
}

static fault seal_new_key(struct pin pin, const struct suite *suite, struct bytes aad, size_t length,
                          uint8_t *plaintext_out, uint8_t *out) {
  fault why = count_message(pin.control, suite->message_limit, length);
  if (why != FAULT_NONE) {
    return why;
  }
  EVP_CIPHER_CTX *ctx;
  uint8_t *ciphertext = out + suite->nonce_bytes;
  why = random_fill(out, suite->nonce_bytes) ? start_aead(pin, USE_DATA_KEY, suite, out, true, &ctx) : FAULT_RANDOM;
  why = why == FAULT_NONE ? aead_add(ctx, aad, NULL) : why;
  why = why == FAULT_NONE ? add_new_key(ctx, length, plaintext_out, ciphertext) : why;
  why = why == FAULT_NONE ? aead_finish_seal(ctx, ciphertext + length) : why;
  if (why != FAULT_NONE && plaintext_out != NULL) {
    OPENSSL_cleanse(plaintext_out, length);
  }
  return why;
}

/* A room's length at a time, each made and sealed there. */
static fault add_new_key(EVP_CIPHER_CTX *ctx, size_t length, uint8_t *plaintext_out, uint8_t *out) {
  struct keys *room = room_take();
  fault why = FAULT_NONE;
  for (size_t done = 0; why == FAULT_NONE && done < length; done += RAW_BYTES) {
    struct bytes fresh = {room->raw, length - done < RAW_BYTES ? length - done : RAW_BYTES};
    if (!random_fill(fresh.data, fresh.length)) {
      aead_abandon(ctx);
      why = FAULT_RANDOM;
      break;
    }
    why = aead_add(ctx, fresh, out + done);
    if (plaintext_out != NULL) {
      memcpy(plaintext_out + done, fresh.data, fresh.length);
    }
  }
  room_return(room);
  return why;
}

static bool take_key(napi_env env, napi_value value, uint64_t *handle) {
  if (!take_handle(env, value, "handle", handle)) {
    return false;
  }
  slot_prefetch(*handle);
  return true;
}

static napi_value new_length(napi_env env, size_t length) {
  napi_value result;
  return napi_create_double(env, (double)length, &result) == napi_ok ? result : NULL;
}
