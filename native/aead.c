/* AES-256-GCM (NIST SP 800-38D) with 96-bit nonces and 128-bit tags, and XAES-256-GCM (c2sp.org/XAES-256-GCM) on it. */
#include <string.h>

#include "crypto.h"

#define BLOCK_BYTES 16
#define GCM_NONCE_BYTES 12
#define CHUNK_BYTES (1u << 30) /* EVP takes an int */

static bool key_and_nonce(const struct suite *suite, const uint8_t **key, const uint8_t **nonce,
                          uint8_t derived[KEY_BYTES]);
static bool xaes_derive(const uint8_t key[KEY_BYTES], const uint8_t *nonce, uint8_t derived[KEY_BYTES]);
static fault finish_open(uint8_t tag[TAG_BYTES]);
static fault failed(void);

const struct suite *suite_by_id(uint64_t id) {
  static const struct suite xaes = {.id = SUITE_XAES_256_GCM, .nonce_bytes = 24, .message_limit = false};
  static const struct suite gcm = {.id = SUITE_AES_256_GCM, .nonce_bytes = GCM_NONCE_BYTES, .message_limit = true};
  return id == SUITE_XAES_256_GCM ? &xaes : id == SUITE_AES_256_GCM ? &gcm : NULL;
}

fault aead_seal(const struct suite *suite, const uint8_t key[KEY_BYTES], const uint8_t *nonce, struct bytes aad,
                struct bytes plaintext, uint8_t *out) {
  fault why = aead_start(suite, key, nonce, true);
  return why == FAULT_NONE ? aead_seal_started(aad, plaintext, out) : why;
}

fault aead_open(const struct suite *suite, const uint8_t key[KEY_BYTES], const uint8_t *nonce, struct bytes aad,
                struct bytes sealed, uint8_t *out) {
  fault why = aead_start(suite, key, nonce, false);
  return why == FAULT_NONE ? aead_open_started(aad, sealed, out) : why;
}

fault aead_start(const struct suite *suite, const uint8_t key[KEY_BYTES], const uint8_t *nonce, bool seals) {
  uint8_t derived[KEY_BYTES];
  bool started = thread_contexts() != NULL && key_and_nonce(suite, &key, &nonce, derived) &&
                 EVP_CipherInit_ex2(thread_contexts()->gcm, aes_256_gcm, key, nonce, seals, NULL) == 1;
  OPENSSL_cleanse(derived, sizeof derived);
  return started ? FAULT_NONE : failed();
}

fault aead_seal_started(struct bytes aad, struct bytes plaintext, uint8_t *out) {
  fault why = aead_add(aad, NULL);
  why = why == FAULT_NONE ? aead_add(plaintext, out) : why;
  why = why == FAULT_NONE ? aead_finish_seal(out + plaintext.length) : why;
  if (why != FAULT_NONE) {
    OPENSSL_cleanse(out, plaintext.length + TAG_BYTES);
  }
  return why;
}

fault aead_open_started(struct bytes aad, struct bytes sealed, uint8_t *out) {
  struct bytes ciphertext = {sealed.data, sealed.length - TAG_BYTES};
  fault why = aead_add(aad, NULL);
  why = why == FAULT_NONE ? aead_add(ciphertext, out) : why;
  why = why == FAULT_NONE ? finish_open(sealed.data + ciphertext.length) : why;
  if (why != FAULT_NONE) {
    /* GCM decrypts before it knows the tag: what it wrote must not reach anybody. */
    OPENSSL_cleanse(out, ciphertext.length);
  }
  return why;
}

fault aead_add(struct bytes in, uint8_t *out) {
  int length;
  while (in.length > 0) {
    size_t chunk = in.length < CHUNK_BYTES ? in.length : CHUNK_BYTES;
    if (EVP_CipherUpdate(thread_contexts()->gcm, out, &length, in.data, (int)chunk) != 1) {
      return failed();
    }
    in.data += chunk;
    in.length -= chunk;
    out = out != NULL ? out + chunk : NULL;
  }
  return FAULT_NONE;
}

fault aead_finish_seal(uint8_t tag[TAG_BYTES]) {
  EVP_CIPHER_CTX *ctx = thread_contexts()->gcm;
  int length;
  if (EVP_CipherFinal_ex(ctx, tag, &length) != 1 || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag) != 1) {
    return failed();
  }
  EVP_CIPHER_CTX_reset(ctx);
  return FAULT_NONE;
}

static fault finish_open(uint8_t tag[TAG_BYTES]) {
  EVP_CIPHER_CTX *ctx = thread_contexts()->gcm;
  uint8_t nothing[TAG_BYTES];
  int length;
  if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) != 1) {
    return failed();
  }
  bool authentic = EVP_CipherFinal_ex(ctx, nothing, &length) == 1;
  aead_abandon();
  return authentic ? FAULT_NONE : FAULT_AUTHENTICATION;
}

void aead_abandon(void) {
  if (thread_contexts() != NULL) {
    EVP_CIPHER_CTX_reset(thread_contexts()->gcm);
  }
}

static fault failed(void) {
  aead_abandon();
  ERR_clear_error();
  return FAULT_CRYPTO;
}

/* What GCM works with: the key and nonce as they are, or for XAES a key of this message's own and the nonce's rest. */
static bool key_and_nonce(const struct suite *suite, const uint8_t **key, const uint8_t **nonce,
                          uint8_t derived[KEY_BYTES]) {
  if (suite->id != SUITE_XAES_256_GCM) {
    return true;
  }
  if (!xaes_derive(*key, *nonce, derived)) {
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
static bool xaes_derive(const uint8_t key[KEY_BYTES], const uint8_t *nonce, uint8_t derived[KEY_BYTES]) {
  EVP_CIPHER_CTX *ctx = thread_contexts()->ecb;
  uint8_t subkey[BLOCK_BYTES] = {0}, blocks[2 * BLOCK_BYTES] = {0, 1, 'X', 0, [BLOCK_BYTES] = 0, 2, 'X', 0};
  int length;
  memcpy(blocks + 4, nonce, GCM_NONCE_BYTES);
  memcpy(blocks + BLOCK_BYTES + 4, nonce, GCM_NONCE_BYTES);

  bool done = EVP_CipherInit_ex2(ctx, aes_256_ecb, key, NULL, 1, NULL) == 1 &&
              EVP_CipherUpdate(ctx, subkey, &length, subkey, sizeof subkey) == 1;
  uint8_t carry = subkey[0] >> 7;
  for (size_t i = 0; i < BLOCK_BYTES - 1; i++) {
    subkey[i] = (uint8_t)(subkey[i] << 1 | subkey[i + 1] >> 7);
  }
  subkey[BLOCK_BYTES - 1] = (uint8_t)(subkey[BLOCK_BYTES - 1] << 1 ^ (0x87 & -carry));
  for (size_t i = 0; i < sizeof blocks; i++) {
    blocks[i] ^= subkey[i % BLOCK_BYTES];
  }
  done = done && EVP_CipherUpdate(ctx, derived, &length, blocks, sizeof blocks) == 1;

  EVP_CIPHER_CTX_reset(ctx);
  OPENSSL_cleanse(subkey, sizeof subkey);
  OPENSSL_cleanse(blocks, sizeof blocks);
  return done;
}
