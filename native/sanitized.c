/*
 * Only in the sanitized build. Node and its OpenSSL are not instrumented, so AddressSanitizer would not see what they
 * read or write out of bounds for the addon. The linker (--wrap) puts these functions before theirs: each touches every
 * byte that it hands on.
 */
#include <node_api.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "openssl.h"

#define KEY_LENGTH 32
#define NONCE_LENGTH 12
#define DIGEST_LENGTH 32

static void touch(const volatile void *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    (void)((const volatile unsigned char *)bytes)[i];
  }
}

static void touch_given(const void *bytes, size_t length) {
  if (bytes != NULL) {
    touch(bytes, length);
  }
}

int __real_EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, const unsigned char *key,
                              const unsigned char *iv, int encrypts, const OSSL_PARAM *params);
int __wrap_EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, const unsigned char *key,
                              const unsigned char *iv, int encrypts, const OSSL_PARAM *params);
int __wrap_EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, const unsigned char *key,
                              const unsigned char *iv, int encrypts, const OSSL_PARAM *params) {
  touch_given(key, KEY_LENGTH);
  touch_given(iv, NONCE_LENGTH);
  return __real_EVP_CipherInit_ex2(ctx, cipher, key, iv, encrypts, params);
}

int __real_EVP_CipherUpdate(EVP_CIPHER_CTX *ctx, unsigned char *out, int *out_length, const unsigned char *in, int length);
int __wrap_EVP_CipherUpdate(EVP_CIPHER_CTX *ctx, unsigned char *out, int *out_length, const unsigned char *in, int length);
int __wrap_EVP_CipherUpdate(EVP_CIPHER_CTX *ctx, unsigned char *out, int *out_length, const unsigned char *in, int length) {
  touch_given(out, (size_t)length);
  touch(in, (size_t)length);
  return __real_EVP_CipherUpdate(ctx, out, out_length, in, length);
}

int __real_EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX *ctx, int type, int arg, void *ptr);
int __wrap_EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX *ctx, int type, int arg, void *ptr);
int __wrap_EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX *ctx, int type, int arg, void *ptr) {
  touch(ptr, (size_t)arg);
  return __real_EVP_CIPHER_CTX_ctrl(ctx, type, arg, ptr);
}

int __real_EVP_DigestUpdate(EVP_MD_CTX *ctx, const void *data, size_t length);
int __wrap_EVP_DigestUpdate(EVP_MD_CTX *ctx, const void *data, size_t length);
int __wrap_EVP_DigestUpdate(EVP_MD_CTX *ctx, const void *data, size_t length) {
  touch(data, length);
  return __real_EVP_DigestUpdate(ctx, data, length);
}

int __real_EVP_DigestFinal_ex(EVP_MD_CTX *ctx, unsigned char *digest, unsigned int *length);
int __wrap_EVP_DigestFinal_ex(EVP_MD_CTX *ctx, unsigned char *digest, unsigned int *length);
int __wrap_EVP_DigestFinal_ex(EVP_MD_CTX *ctx, unsigned char *digest, unsigned int *length) {
  touch(digest, DIGEST_LENGTH);
  return __real_EVP_DigestFinal_ex(ctx, digest, length);
}

int __real_CRYPTO_memcmp(const volatile void *a, const volatile void *b, size_t length);
int __wrap_CRYPTO_memcmp(const volatile void *a, const volatile void *b, size_t length);
int __wrap_CRYPTO_memcmp(const volatile void *a, const volatile void *b, size_t length) {
  touch(a, length);
  touch(b, length);
  return __real_CRYPTO_memcmp(a, b, length);
}

void __real_OPENSSL_cleanse(void *ptr, size_t length);
void __wrap_OPENSSL_cleanse(void *ptr, size_t length);
void __wrap_OPENSSL_cleanse(void *ptr, size_t length) {
  touch(ptr, length);
  __real_OPENSSL_cleanse(ptr, length);
}

napi_status __real_napi_create_buffer_copy(napi_env env, size_t length, const void *data, void **result_data,
                                           napi_value *result);
napi_status __wrap_napi_create_buffer_copy(napi_env env, size_t length, const void *data, void **result_data,
                                           napi_value *result);
napi_status __wrap_napi_create_buffer_copy(napi_env env, size_t length, const void *data, void **result_data,
                                           napi_value *result) {
  touch(data, length);
  return __real_napi_create_buffer_copy(env, length, data, result_data, result);
}

/* AddressSanitizer makes mlock(2) do nothing, since it would lock the shadow too. The addon locks single ranges. */
int __wrap_mlock(const void *address, size_t length);
int __wrap_mlock(const void *address, size_t length) { return (int)syscall(SYS_mlock, address, length); }
