/* HMAC-SHA-256 (RFC 2104), HKDF-SHA-256 (RFC 5869), and a DEK's keys made with them. */
#include <string.h>

#include "crypto.h"

#define HASH_BLOCK_BYTES 64

static bool hash(const uint8_t *pad, const struct bytes *parts, size_t count, uint8_t out[MAC_BYTES]);

bool derive_dek(struct keys *keys, uint8_t dek_id[KEY_BYTES]) {
  const struct {
    const char *label;
    uint8_t *out;
  } outputs[] = {{"dek-id", dek_id}, {"dek-block", keys->block}, {"message", keys->message}, {"data-key", keys->data_key}};
  uint8_t prk[MAC_BYTES];
  bool done = hkdf_extract((struct bytes){(uint8_t *)"dekd v1", 7}, (struct bytes){keys->dek, KEY_BYTES}, prk);
  for (size_t i = 0; done && i < sizeof outputs / sizeof *outputs; i++) {
    struct bytes info = {(uint8_t *)outputs[i].label, strlen(outputs[i].label)};
    done = hkdf_expand(prk, info, (struct bytes){outputs[i].out, KEY_BYTES});
  }
  OPENSSL_cleanse(prk, sizeof prk);
  return done;
}

bool hkdf_extract(struct bytes salt, struct bytes key, uint8_t prk[MAC_BYTES]) {
  /* An absent salt stands for 32 zeroes, and HMAC pads an empty key to the same block. */
  return hmac_sha256(salt, &key, 1, prk);
}

/* T(n) = HMAC(PRK, T(n-1) | info | n), as many as `out` needs: at most 255. */
bool hkdf_expand(const uint8_t prk[MAC_BYTES], struct bytes info, struct bytes out) {
  uint8_t block[MAC_BYTES], n = 0;
  const struct bytes key = {(uint8_t *)prk, MAC_BYTES};
  struct bytes parts[] = {{block, 0}, info, {&n, 1}};
  bool done = out.length <= 255 * MAC_BYTES;
  while (done && out.length > 0) {
    size_t length = out.length < MAC_BYTES ? out.length : MAC_BYTES;
    n++;
    done = hmac_sha256(key, parts, 3, block);
    memcpy(out.data, block, length);
    parts[0].length = MAC_BYTES;
    out.data += length;
    out.length -= length;
  }
  OPENSSL_cleanse(block, sizeof block);
  return done;
}

/* H(K ^ opad | H(K ^ ipad | data)), spelt out, so that the padded key lies where it is cleansed. */
bool hmac_sha256(struct bytes key, const struct bytes *parts, size_t count, uint8_t out[MAC_BYTES]) {
  uint8_t pad[HASH_BLOCK_BYTES] = {0}, inner[MAC_BYTES] = {0};
  const struct bytes inner_part = {inner, sizeof inner};
  bool done = true;
  if (key.length > HASH_BLOCK_BYTES) {
    done = hash(NULL, &key, 1, pad);
  } else if (key.length > 0) {
    memcpy(pad, key.data, key.length);
  }
  for (size_t i = 0; i < sizeof pad; i++) {
    pad[i] ^= 0x36;
  }
  done = done && hash(pad, parts, count, inner);
  for (size_t i = 0; i < sizeof pad; i++) {
    pad[i] ^= 0x36 ^ 0x5c;
  }
  done = done && hash(pad, &inner_part, 1, out);
  OPENSSL_cleanse(pad, sizeof pad);
  OPENSSL_cleanse(inner, sizeof inner);
  burn_stack();
  return done;
}

/* SHA-256 of the pad, when there is one, and the parts. */
static bool hash(const uint8_t *pad, const struct bytes *parts, size_t count, uint8_t out[MAC_BYTES]) {
  struct contexts *own = thread_contexts();
  if (own == NULL) {
    return false;
  }
  bool done = EVP_DigestInit_ex2(own->digest, sha_256, NULL) == 1 &&
              (pad == NULL || EVP_DigestUpdate(own->digest, pad, HASH_BLOCK_BYTES) == 1);
  for (size_t i = 0; done && i < count; i++) {
    done = parts[i].length == 0 || EVP_DigestUpdate(own->digest, parts[i].data, parts[i].length) == 1;
  }
  done = done && EVP_DigestFinal_ex(own->digest, out, NULL) == 1;
  EVP_MD_CTX_reset(own->digest);
  if (!done) {
    ERR_clear_error();
  }
  return done;
}

/*
 * SHA-256 without SHA instructions expands the padded key into a message schedule on the stack, below this frame, and
 * leaves it there. Not inlined, so that its array takes the same place.
 */
__attribute__((noinline)) void burn_stack(void) {
  uint8_t below[2048];
  OPENSSL_cleanse(below, sizeof below);
}

/* Clobbers are not named: a call may change them all, but for the half of v8 to v15 that AAPCS64 keeps and no key is in. */
__attribute__((noinline)) void burn_registers(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) {
    __asm__ volatile(".irp n,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
                     "vpxord %zmm\\n, %zmm\\n, %zmm\\n\n"
                     ".endr");
  }
  if (__builtin_cpu_supports("avx")) {
    __asm__ volatile("vzeroall");
  } else {
    __asm__ volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
                     "pxor %xmm\\n, %xmm\\n\n"
                     ".endr");
  }
#elif defined(__aarch64__)
  __asm__ volatile(".irp n,0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
                   "movi v\\n\\().2d, #0\n"
                   ".endr");
#endif
}
