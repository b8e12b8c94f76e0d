/* Slots and what is made of them at the border to JavaScript. */
#ifndef DEKD_KEYS_H
#define DEKD_KEYS_H

#include "args.h"
#include "crypto.h"
#include "secmem.h"

enum { USE_RAW = 0, USE_MESSAGE = 1, USE_DATA_KEY = 2 };

/* Derives a DEK's keys, publishes the slot and returns its handle; or throws `why` and discards the slot. */
napi_value finish_key(napi_env env, struct pin pin, uint32_t kind, uint32_t length, fault why);

/* slot_pin, and ERR_WRONG_KIND when the slot holds something else. */
fault pin_kind(uint64_t handle, uint32_t kind, struct pin *out);
/* The 32 bytes that `use` names; USE_RAW wants a raw key of exactly that length. */
fault pin_use(uint64_t handle, uint64_t use, struct pin *out, const uint8_t **key);

/* Seals under `key` into out = nonce | ciphertext | tag and counts the message against `slot`. */
fault seal_counted(struct slot *slot, const uint8_t *key, const struct suite *suite, struct bytes aad,
                   struct bytes plaintext, uint8_t *out);

double boottime_ms(void);

#endif
