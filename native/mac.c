/* deriveKey, hmac, hmacVerify, dekId, blockMac, blockVerify: what is computed from a slot's keys besides sealing. */
#include "addon.h"
#include "keys.h"

static fault derive(struct pin from, struct bytes salt, struct bytes label, struct bytes out);
static napi_value mac_entry(napi_env env, napi_callback_info info, uint32_t kind);
static fault pinned_hmac(struct pin pin, struct bytes data, uint8_t out[MAC_BYTES]);
static fault slot_hmac(uint64_t handle, uint32_t kind, struct bytes data, uint8_t out[MAC_BYTES]);
static napi_value new_buffer(napi_env env, const uint8_t *data, size_t length);
static napi_value new_boolean(napi_env env, bool value);

ENTRY_POINT(js_derive_key) {
  napi_value argv[4];
  uint64_t handle, length;
  struct bytes salt, label;
  if (!take_arguments(env, info, 4, argv) || !take_handle(env, argv[0], "handle", &handle) ||
      !take_bytes(env, argv[1], "salt", &salt) || !take_bytes(env, argv[2], "info", &label) ||
      !take_integer(env, argv[3], "length", 1, RAW_BYTES, &length)) {
    return NULL;
  }
  struct pin from;
  struct draft to;
  fault why = pin_kind(handle, SLOT_RAW, &from);
  if (why != FAULT_NONE) {
    return throw_fault(env, why);
  }
  why = slot_draft(SLOT_RAW, &to);
  if (why != FAULT_NONE) {
    slot_unpin(from);
    return throw_fault(env, why);
  }
  why = derive(from, salt, label, (struct bytes){to.keys->raw, (size_t)length});
  slot_unpin(from);
  return finish_key(env, to, (uint32_t)length, why);
}

ENTRY_POINT(js_hmac) { return mac_entry(env, info, SLOT_RAW); }

ENTRY_POINT(js_block_mac) { return mac_entry(env, info, SLOT_DEK); }

ENTRY_POINT(js_hmac_verify) {
  napi_value argv[3];
  uint64_t handle;
  struct bytes data, mac;
  if (!take_arguments(env, info, 3, argv) || !take_handle(env, argv[0], "handle", &handle) ||
      !take_bytes(env, argv[1], "data", &data) || !take_bytes(env, argv[2], "mac", &mac)) {
    return NULL;
  }
  uint8_t expected[MAC_BYTES];
  fault why = slot_hmac(handle, SLOT_RAW, data, expected);
  bool same = why == FAULT_NONE && mac.length == MAC_BYTES && equal(expected, mac.data, MAC_BYTES);
  OPENSSL_cleanse(expected, sizeof expected);
  return why == FAULT_NONE ? new_boolean(env, same) : throw_fault(env, why);
}

ENTRY_POINT(js_dek_id) {
  napi_value argv[1];
  uint64_t handle;
  struct pin pin;
  if (!take_arguments(env, info, 1, argv) || !take_handle(env, argv[0], "handle", &handle)) {
    return NULL;
  }
  fault why = pin_kind(handle, SLOT_DEK, &pin);
  if (why != FAULT_NONE) {
    return throw_fault(env, why);
  }
  napi_value result = new_buffer(env, pinned_dek_id(pin), KEY_BYTES);
  slot_unpin(pin);
  return result;
}

ENTRY_POINT(js_block_verify) {
  napi_value argv[3];
  uint64_t handle;
  struct bytes id, block;
  if (!take_arguments(env, info, 3, argv) || !take_handle(env, argv[0], "handle", &handle) ||
      !take_bytes(env, argv[1], "id", &id) || !take_bytes(env, argv[2], "block", &block)) {
    return NULL;
  }
  struct pin pin;
  fault why = pin_kind(handle, SLOT_DEK, &pin);
  if (why != FAULT_NONE) {
    return throw_fault(env, why);
  }
  bool well_formed = id.length == KEY_BYTES && block.length >= MAC_BYTES;
  struct bytes body = {block.data, well_formed ? block.length - MAC_BYTES : 0};
  uint8_t expected[MAC_BYTES];
  bool same = false;
  why = pinned_hmac(pin, body, expected);
  if (why == FAULT_NONE && well_formed) {
    bool same_id = equal(pinned_dek_id(pin), id.data, KEY_BYTES);
    bool same_mac = equal(expected, block.data + body.length, MAC_BYTES);
    same = same_id & same_mac;
  }
  if (same) {
    keep_mac(pin, expected, (uint64_t)boottime_ms());
  }
  OPENSSL_cleanse(expected, sizeof expected);
  slot_unpin(pin);
  return why == FAULT_NONE ? new_boolean(env, same) : throw_fault(env, why);
}

static napi_value mac_entry(napi_env env, napi_callback_info info, uint32_t kind) {
  napi_value argv[2];
  uint64_t handle;
  struct bytes data;
  uint8_t mac[MAC_BYTES];
  if (!take_arguments(env, info, 2, argv) || !take_handle(env, argv[0], "handle", &handle) ||
      !take_bytes(env, argv[1], "data", &data)) {
    return NULL;
  }
  fault why = slot_hmac(handle, kind, data, mac);
  return why == FAULT_NONE ? new_buffer(env, mac, sizeof mac) : throw_fault(env, why);
}

static fault derive(struct pin from, struct bytes salt, struct bytes label, struct bytes out) {
  const struct keys *keys;
  fault why = keys_open(from, &keys);
  if (why != FAULT_NONE) {
    return why;
  }
  uint8_t prk[MAC_BYTES];
  bool done = hkdf_extract(salt, (struct bytes){(uint8_t *)keys->raw, from.control->raw_length}, prk) &&
              hkdf_expand(prk, label, out);
  OPENSSL_cleanse(prk, sizeof prk);
  keys_close(keys);
  return done ? FAULT_NONE : FAULT_CRYPTO;
}

static fault slot_hmac(uint64_t handle, uint32_t kind, struct bytes data, uint8_t out[MAC_BYTES]) {
  struct pin pin;
  fault why = pin_kind(handle, kind, &pin);
  if (why != FAULT_NONE) {
    return why;
  }
  why = pinned_hmac(pin, data, out);
  slot_unpin(pin);
  return why;
}

/* Under the raw key itself, or a DEK's K_block. */
static fault pinned_hmac(struct pin pin, struct bytes data, uint8_t out[MAC_BYTES]) {
  const struct keys *keys;
  fault why = keys_open(pin, &keys);
  if (why != FAULT_NONE) {
    return why;
  }
  struct bytes key = pin.control->kind == SLOT_DEK ? (struct bytes){(uint8_t *)keys->block, KEY_BYTES}
                                                   : (struct bytes){(uint8_t *)keys->raw, pin.control->raw_length};
  bool done = hmac_sha256(key, &data, 1, out);
  keys_close(keys);
  return done ? FAULT_NONE : FAULT_CRYPTO;
}

static napi_value new_buffer(napi_env env, const uint8_t *data, size_t length) {
  napi_value result;
  return napi_create_buffer_copy(env, length, data, NULL, &result) == napi_ok ? result : NULL;
}

static napi_value new_boolean(napi_env env, bool value) {
  napi_value result;
  return napi_get_boolean(env, value, &result) == napi_ok ? result : NULL;
}
