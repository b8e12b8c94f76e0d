/*
 * The primitives: pointers in, pointers out, no Node-API and no slots. Requests and the self-test both come through here.
 *
 * No cipher or digest context outlives a call: a live one keeps the raw key and its round keys on the malloc heap.
 */
#ifndef DEKD_CRYPTO_H
#define DEKD_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "fault.h"
#include "openssl.h"
#include "secmem.h"

#define TAG_BYTES 16
#define MAC_BYTES 32
#define MAX_NONCE_BYTES 24
#define GCM_MAX_BYTES ((UINT64_C(1) << 36) - 32) /* SP 800-38D, section 5.2.1.1 */

/* One thread's context shells, empty between calls, and the process's algorithms, fetched once. */
struct contexts {
  EVP_CIPHER_CTX *ecb, *gcm;
  EVP_MD_CTX *digest;
};
extern EVP_CIPHER *aes_256_ecb, *aes_256_gcm;
extern EVP_MD *sha_256;

/* False when OpenSSL lacks an algorithm or memory. Once per environment, on its thread. */
bool crypto_start(void);
/* Frees this thread's shells. */
void crypto_stop(void *unused);
/* NULL without memory. */
struct contexts *thread_contexts(void);

/* An envelope suite: what differs between them in bytes. */
struct suite {
  uint8_t id;
  uint8_t nonce_bytes;
  bool message_limit; /* 2^32 messages per key, SP 800-38D */
};
#define SUITE_XAES_256_GCM 1
#define SUITE_AES_256_GCM 2
/* NULL for every other number. */
const struct suite *suite_by_id(uint64_t id);

/* out = ciphertext | tag. `out` may begin where the plaintext does, else nothing may overlap. On a failure it holds zeroes. */
fault aead_seal(const struct suite *suite, const uint8_t key[KEY_BYTES], const uint8_t *nonce, struct bytes aad,
                struct bytes plaintext, uint8_t *out);
/* sealed = ciphertext | tag, at least a tag long; `out` as above. */
fault aead_open(const struct suite *suite, const uint8_t key[KEY_BYTES], const uint8_t *nonce, struct bytes aad,
                struct bytes sealed, uint8_t *out);

/*
 * The same in steps, for a key that should go at once: this thread's context holds it from aead_start until another step
 * ends the message, as a failure does.
 */
fault aead_start(const struct suite *suite, const uint8_t key[KEY_BYTES], const uint8_t *nonce, bool seals,
                 EVP_CIPHER_CTX **out);
fault aead_seal_started(EVP_CIPHER_CTX *ctx, struct bytes aad, struct bytes plaintext, uint8_t *out);
fault aead_open_started(EVP_CIPHER_CTX *ctx, struct bytes aad, struct bytes sealed, uint8_t *out);
/* Sealing piece by piece: first the associated data, with `out` NULL. */
fault aead_add(EVP_CIPHER_CTX *ctx, struct bytes in, uint8_t *out);
fault aead_finish_seal(EVP_CIPHER_CTX *ctx, uint8_t tag[TAG_BYTES]);
void aead_abandon(EVP_CIPHER_CTX *ctx);

/* RFC 2104 with SHA-256, over the parts as if they were one. */
bool hmac_sha256(struct bytes key, const struct bytes *parts, size_t count, uint8_t out[MAC_BYTES]);
/* RFC 5869: extract to a pseudo-random key, and expand it, to at most 255 × 32 bytes. */
bool hkdf_extract(struct bytes salt, struct bytes key, uint8_t prk[MAC_BYTES]);
bool hkdf_expand(const uint8_t prk[MAC_BYTES], struct bytes info, struct bytes out);
/* A DEK's dek_id and keys, from keys->dek (docs/envelope.md). */
bool derive_dek(struct keys *keys, uint8_t dek_id[KEY_BYTES]);
/* Overwrites 2 KiB of stack below the caller's frame, where the functions that it has called left what they worked on. */
void burn_stack(void);
/*
 * Zeroes the vector registers, which hold what was copied or computed last: the dynamic linker writes all of them to the
 * stack when Node calls a function of a library for the first time.
 */
void burn_registers(void);

struct scrypt_cost {
  uint32_t log_n, r, p;
};
/* RFC 7914: 128·r·2^log_n bytes of memory for a moment. An errno when it cannot be had, EIO when OpenSSL failed. */
int scrypt(struct bytes passphrase, struct bytes salt, const struct scrypt_cost *cost, struct bytes out);
/* In constant time. */
bool equal(const uint8_t *a, const uint8_t *b, size_t length);

/* NULL when every known answer came out, else the primitive's name. */
const char *self_test(void);

#endif
