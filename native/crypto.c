#include "crypto.h"

#include <pthread.h>
#include <stdlib.h>

EVP_CIPHER *aes_256_ecb, *aes_256_gcm;
EVP_MD *sha_256;

static pthread_once_t fetched = PTHREAD_ONCE_INIT;
static _Thread_local struct contexts contexts;

/* By name and once: what EVP_aes_256_gcm() gives is looked up again at every initialisation. */
static void fetch(void) {
  aes_256_ecb = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL);
  aes_256_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
  sha_256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
}

bool crypto_start(void) {
  pthread_once(&fetched, fetch);
  return aes_256_ecb != NULL && aes_256_gcm != NULL && sha_256 != NULL && thread_contexts() != NULL;
}

struct contexts *thread_contexts(void) {
  struct contexts *own = &contexts;
  if (own->digest != NULL) {
    return own;
  }
  own->ecb = own->ecb != NULL ? own->ecb : EVP_CIPHER_CTX_new();
  own->gcm = own->gcm != NULL ? own->gcm : EVP_CIPHER_CTX_new();
  own->digest = own->ecb != NULL && own->gcm != NULL ? EVP_MD_CTX_new() : NULL;
  return own->digest != NULL ? own : NULL;
}

void crypto_stop(void *unused) {
  (void)unused;
  EVP_CIPHER_CTX_free(contexts.ecb);
  EVP_CIPHER_CTX_free(contexts.gcm);
  EVP_MD_CTX_free(contexts.digest);
  contexts = (struct contexts){0};
}

bool equal(const uint8_t *a, const uint8_t *b, size_t length) { return CRYPTO_memcmp(a, b, length) == 0; }
