/* Slots and what is made of them at the border to JavaScript. */
#ifndef DEKD_KEYS_H
#define DEKD_KEYS_H

#include "args.h"
#include "crypto.h"
#include "secmem.h"

enum { USE_RAW = 0, USE_MESSAGE = 1, USE_DATA_KEY = 2 };

/* Where a draft's own bytes go, 32 of a DEK or up to 128 of a raw key. */
uint8_t *own_bytes(struct draft draft);
/* Derives a DEK's keys, publishes the draft and returns its handle; or throws `why` and discards the draft. */
napi_value finish_key(napi_env env, struct draft draft, uint32_t length, fault why);

/* slot_pin, and ERR_WRONG_KIND when the handle names something else. */
fault pin_kind(uint64_t handle, uint32_t kind, struct pin *out);
/* The same for what `use` works with; USE_RAW wants a raw key of exactly 32 bytes. */
fault pin_use(uint64_t handle, uint64_t use, struct pin *out);

/* Seals under the key that `use` names, into out = nonce | ciphertext | tag, and counts the message first. */
fault seal_counted(struct pin pin, uint64_t use, const struct suite *suite, struct bytes aad, struct bytes plaintext,
                   uint8_t *out);
/* The same for a message that is counted already. */
fault seal_pinned(struct pin pin, uint64_t use, const struct suite *suite, struct bytes aad, struct bytes plaintext,
                  uint8_t *out);
/* body = ciphertext | tag */
fault open_pinned(struct pin pin, uint64_t use, const struct suite *suite, const uint8_t *nonce, struct bytes aad,
                  struct bytes body, uint8_t *out);

double boottime_ms(void);

#endif
