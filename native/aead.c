/* AES-256-GCM (NIST SP 800-38D) with 96-bit nonces and 128-bit tags, and XAES-256-GCM (c2sp.org/XAES-256-GCM) on it. */
#include <endian.h>
#include <string.h>

#include "crypto.h"

#define BLOCK_BYTES 16
#define GCM_NONCE_BYTES 12
#define CHUNK_BYTES (1u << 30) /* EVP takes an int */

static bool key_and_nonce(struct contexts *own, const struct suite *suite, const uint8_t **key, const uint8_t **nonce,
                          uint8_t derived[KEY_BYTES]);
static bool xaes_derive(EVP_CIPHER_CTX *ctx, const uint8_t key[KEY_BYTES], const uint8_t *nonce,
                        uint8_t derived[KEY_BYTES]);
static void double_subkey(uint8_t subkey[BLOCK_BYTES]);
static void xor_block(uint8_t to[BLOCK_BYTES], const uint8_t from[BLOCK_BYTES]);
static fault finish_open(EVP_CIPHER_CTX *ctx, uint8_t tag[TAG_BYTES]);
static fault failed(EVP_CIPHER_CTX *ctx);

const struct suite *suite_by_id(uint64_t id) {
  static const struct suite xaes = {.id = SUITE_XAES_256_GCM, .nonce_bytes = 24, .message_limit = false};
  static const struct suite gcm = {.id = SUITE_AES_256_GCM, .nonce_bytes = GCM_NONCE_BYTES, .message_limit = true};
  return id == SUITE_XAES_256_GCM ? &xaes : id == SUITE_AES_256_GCM ? &gcm : NULL;
}

fault aead_seal(const struct suite *suite, const uint8_t key[KEY_BYTES], const uint8_t *nonce, struct bytes aad,
                struct bytes plaintext, uint8_t *out) {
  EVP_CIPHER_CTX *ctx;
  fault why = aead_start(suite, key, nonce, true, &ctx);
  return why == FAULT_NONE ? aead_seal_started(ctx, aad, plaintext, out) : why;
}

fault aead_open(const struct suite *suite, const uint8_t key[KEY_BYTES], const uint8_t *nonce, struct bytes aad,
                struct bytes sealed, uint8_t *out) {
  EVP_CIPHER_CTX *ctx;
  fault why = aead_start(suite, key, nonce, false, &ctx);
  return why == FAULT_NONE ? aead_open_started(ctx, aad, sealed, out) : why;
}

fault aead_start(const struct suite *suite, const uint8_t key[KEY_BYTES], const uint8_t *nonce, bool seals,
                 EVP_CIPHER_CTX **out) {
  struct contexts *own = thread_contexts();
  if (own == NULL) {
    return FAULT_CRYPTO;
  }
  uint8_t derived[KEY_BYTES];
  bool started = key_and_nonce(own, suite, &key, &nonce, derived) &&
                 EVP_CipherInit_ex2(own->gcm, aes_256_gcm, key, nonce, seals, NULL) == 1;
  OPENSSL_cleanse(derived, sizeof derived);
  *out = own->gcm;
  return started ? FAULT_NONE : failed(own->gcm);
}

fault aead_seal_started(EVP_CIPHER_CTX *ctx, struct bytes aad, struct bytes plaintext, uint8_t *out) {
  fault why = aead_add(ctx, aad, NULL);
  why = why == FAULT_NONE ? aead_add(ctx, plaintext, out) : why;
  why = why == FAULT_NONE ? aead_finish_seal(ctx, out + plaintext.length) : why;
  if (why != FAULT_NONE) {
    OPENSSL_cleanse(out, plaintext.length + TAG_BYTES);
  }
  return why;
}

fault aead_open_started(EVP_CIPHER_CTX *ctx, struct bytes aad, struct bytes sealed, uint8_t *out) {
  struct bytes ciphertext = {sealed.data, sealed.length - TAG_BYTES};
  fault why = aead_add(ctx, aad, NULL);
  why = why == FAULT_NONE ? aead_add(ctx, ciphertext, out) : why;
  why = why == FAULT_NONE ? finish_open(ctx, sealed.data + ciphertext.length) : why;
  if (why != FAULT_NONE) {
    /* GCM decrypts before it knows the tag: what it wrote must not reach anybody. */
    OPENSSL_cleanse(out, ciphertext.length);
  }
  return why;
}

fault aead_add(EVP_CIPHER_CTX *ctx, struct bytes in, uint8_t *out) {
  int length;
  while (in.length > 0) {
    size_t chunk = in.length < CHUNK_BYTES ? in.length : CHUNK_BYTES;
    if (EVP_CipherUpdate(ctx, out, &length, in.data, (int)chunk) != 1) {
      return failed(ctx);
    }
    in.data += chunk;
    in.length -= chunk;
    out = out != NULL ? out + chunk : NULL;
  }
  return FAULT_NONE;
}

fault aead_finish_seal(EVP_CIPHER_CTX *ctx, uint8_t tag[TAG_BYTES]) {
  int length;
  if (EVP_CipherFinal_ex(ctx, tag, &length) != 1 || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag) != 1) {
    return failed(ctx);
  }
  EVP_CIPHER_CTX_reset(ctx);
  return FAULT_NONE;
}

static fault finish_open(EVP_CIPHER_CTX *ctx, uint8_t tag[TAG_BYTES]) {
  uint8_t nothing[TAG_BYTES];
  int length;
  if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) != 1) {
    return failed(ctx);
  }
  if (EVP_CipherFinal_ex(ctx, nothing, &length) != 1) {
    failed(ctx);
    return FAULT_AUTHENTICATION;
  }
  EVP_CIPHER_CTX_reset(ctx);
  return FAULT_NONE;
}

void aead_abandon(EVP_CIPHER_CTX *ctx) { EVP_CIPHER_CTX_reset(ctx); }

static fault failed(EVP_CIPHER_CTX *ctx) {
  aead_abandon(ctx);
  ERR_clear_error();
  return FAULT_CRYPTO;
}

/* What GCM works with: the key and nonce as they are, or for XAES a key of this message's own and the nonce's rest. */
static bool key_and_nonce(struct contexts *own, const struct suite *suite, const uint8_t **key, const uint8_t **nonce,
                          uint8_t derived[KEY_BYTES]) {
  if (suite->id != SUITE_XAES_256_GCM) {
    return true;
  }
  if (!xaes_derive(own->ecb, *key, *nonce, derived)) {
    return false;
  }
  *key = derived;
  *nonce += GCM_NONCE_BYTES;
  return true;
}

/*
 * Kx = CMAC(K, 0x0001 "X" 0x00 N[:12]) | CMAC(K, 0x0002 "X" 0x00 N[:12]): SP 800-108r1's KDF in counter mode. Each
 * message is one whole block, so its CMAC (SP 800-38B) is one AES of it xored with the subkey K1 = 2 · AES_K(0).
 */
static bool xaes_derive(EVP_CIPHER_CTX *ctx, const uint8_t key[KEY_BYTES], const uint8_t *nonce,
                        uint8_t derived[KEY_BYTES]) {
  uint8_t subkey[BLOCK_BYTES] = {0}, blocks[2 * BLOCK_BYTES] = {0, 1, 'X', 0, [BLOCK_BYTES] = 0, 2, 'X', 0};
  int length;
  memcpy(blocks + 4, nonce, GCM_NONCE_BYTES);
  memcpy(blocks + BLOCK_BYTES + 4, nonce, GCM_NONCE_BYTES);

  bool done = EVP_CipherInit_ex2(ctx, aes_256_ecb, key, NULL, 1, NULL) == 1 &&
              EVP_CipherUpdate(ctx, subkey, &length, subkey, sizeof subkey) == 1;
  double_subkey(subkey);
  for (size_t at = 0; at < sizeof blocks; at += BLOCK_BYTES) {
    xor_block(blocks + at, subkey);
  }
  done = done && EVP_CipherUpdate(ctx, derived, &length, blocks, sizeof blocks) == 1;

  EVP_CIPHER_CTX_reset(ctx);
  OPENSSL_cleanse(subkey, sizeof subkey);
  OPENSSL_cleanse(blocks, sizeof blocks);
  return done;
}

/* Times x in GF(2^128), as SP 800-38B, section 6.1, has it: a shift, and the reduction without a branch. */
static void double_subkey(uint8_t subkey[BLOCK_BYTES]) {
  uint64_t words[2];
  memcpy(words, subkey, BLOCK_BYTES);
  const uint64_t high = be64toh(words[0]), low = be64toh(words[1]);
  words[0] = htobe64(high << 1 | low >> 63);
  words[1] = htobe64(low << 1 ^ (0x87 & -(high >> 63)));
  memcpy(subkey, words, BLOCK_BYTES);
  OPENSSL_cleanse(words, sizeof words);
}

static void xor_block(uint8_t to[BLOCK_BYTES], const uint8_t from[BLOCK_BYTES]) {
  for (size_t i = 0; i < BLOCK_BYTES; i++) {
    to[i] ^= from[i];
  }
}
