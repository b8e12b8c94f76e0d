/*
 * Known answers of every primitive, through the functions that requests use. The keys are published test keys, so they
 * may lie outside the arena.
 */
#include <string.h>

#include "crypto.h"

#define TEXT(literal) ((struct bytes){(uint8_t *)(literal), sizeof(literal) - 1})

static bool test_aead(const struct suite *suite, const char key[KEY_BYTES], struct bytes nonce, struct bytes aad,
                      struct bytes plaintext, const char *expected);
static bool test_aes_256_gcm(void);
static bool test_xaes_256_gcm(void);
static bool test_hmac(void);
static bool test_hkdf(void);
static bool test_scrypt(void);
static bool test_dek(void);
static bool test_equal(void);

const char *self_test(void) {
  static const struct {
    bool (*passes)(void);
    const char *name;
  } tests[] = {
      {test_aes_256_gcm, "AES-256-GCM"}, {test_xaes_256_gcm, "XAES-256-GCM"}, {test_hmac, "HMAC-SHA-256"},
      {test_hkdf, "HKDF-SHA-256"},       {test_scrypt, "scrypt"},           {test_dek, "DEK derivation"},        {test_equal, "constant-time compare"},
  };
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    if (!tests[i].passes()) {
      return tests[i].name;
    }
  }
  return NULL;
}

/* McGrew and Viega, "The Galois/Counter Mode of Operation", test case 16, the last of SP 800-38D's own examples. */
static bool test_aes_256_gcm(void) {
  static const char key[] =
      "\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08"
      "\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08";
  static const char plaintext[] =
      "\xd9\x31\x32\x25\xf8\x84\x06\xe5\xa5\x59\x09\xc5\xaf\xf5\x26\x9a"
      "\x86\xa7\xa9\x53\x15\x34\xf7\xda\x2e\x4c\x30\x3d\x8a\x31\x8a\x72"
      "\x1c\x3c\x0c\x95\x95\x68\x09\x53\x2f\xcf\x0e\x24\x49\xa6\xb5\x25"
      "\xb1\x6a\xed\xf5\xaa\x0d\xe6\x57\xba\x63\x7b\x39";
  static const char expected[] =
      "\x52\x2d\xc1\xf0\x99\x56\x7d\x07\xf4\x7f\x37\xa3\x2a\x84\x42\x7d"
      "\x64\x3a\x8c\xdc\xbf\xe5\xc0\xc9\x75\x98\xa2\xbd\x25\x55\xd1\xaa"
      "\x8c\xb0\x8e\x48\x59\x0d\xbb\x3d\xa7\xb0\x8b\x10\x56\x82\x88\x38"
      "\xc5\xf6\x1e\x63\x93\xba\x7a\x0a\xbc\xc9\xf6\x62"
      "\x76\xfc\x6e\xce\x0f\x4e\x17\x68\xcd\xdf\x88\x53\xbb\x2d\x55\x1b";
  return test_aead(suite_by_id(SUITE_AES_256_GCM), key, TEXT("\xca\xfe\xba\xbe\xfa\xce\xdb\xad\xde\xca\xf8\x88"),
                   TEXT("\xfe\xed\xfa\xce\xde\xad\xbe\xef\xfe\xed\xfa\xce\xde\xad\xbe\xef\xab\xad\xda\xd2"),
                   TEXT(plaintext), expected);
}

/* c2sp.org/XAES-256-GCM, "Test vectors": between them they take both ways through the subkey's doubling. */
static bool test_xaes_256_gcm(void) {
  static const char first[] =
      "\xce\x54\x6e\xf6\x3c\x9c\xc6\x07\x65\x92\x36\x09"
      "\xb3\x3a\x9a\x19\x74\xe9\x6e\x52\xda\xf2\xfc\xf7\x07\x5e\x22\x71";
  static const char second[] =
      "\x98\x6e\xc1\x83\x25\x93\xdf\x54\x43\xa1\x79\x43"
      "\x7f\xd0\x83\xbf\x3f\xdb\x41\xab\xd7\x40\xa2\x1f\x71\xeb\x76\x9d";
  const struct suite *suite = suite_by_id(SUITE_XAES_256_GCM);
  const struct bytes nonce = TEXT("ABCDEFGHIJKLMNOPQRSTUVWX"), plaintext = TEXT("XAES-256-GCM");
  char ones[KEY_BYTES], threes[KEY_BYTES];
  memset(ones, 1, sizeof ones);
  memset(threes, 3, sizeof threes);
  return test_aead(suite, ones, nonce, TEXT(""), plaintext, first) &&
         test_aead(suite, threes, nonce, TEXT("c2sp.org/XAES-256-GCM"), plaintext, second);
}

/* Seals, opens, and refuses to open what was changed. */
static bool test_aead(const struct suite *suite, const char key[KEY_BYTES], struct bytes nonce, struct bytes aad,
                      struct bytes plaintext, const char *expected) {
  uint8_t out[64 + TAG_BYTES], back[64];
  const uint8_t zeroes[64] = {0}, *raw = (const uint8_t *)key;
  struct bytes sealed = {out, plaintext.length + TAG_BYTES};
  if (nonce.length != suite->nonce_bytes || plaintext.length > sizeof back ||
      aead_seal(suite, raw, nonce.data, aad, plaintext, out) != FAULT_NONE || memcmp(out, expected, sealed.length) != 0 ||
      aead_open(suite, raw, nonce.data, aad, sealed, back) != FAULT_NONE ||
      memcmp(back, plaintext.data, plaintext.length) != 0) {
    return false;
  }
  out[0] ^= 1;
  return aead_open(suite, raw, nonce.data, aad, sealed, back) == FAULT_AUTHENTICATION &&
         memcmp(back, zeroes, plaintext.length) == 0;
}

/* RFC 4231, section 4.3 */
static bool test_hmac(void) {
  static const char expected[] =
      "\x5b\xdc\xc1\x46\xbf\x60\x75\x4e\x6a\x04\x24\x26\x08\x95\x75\xc7"
      "\x5a\x00\x3f\x08\x9d\x27\x39\x83\x9d\xec\x58\xb9\x64\xec\x38\x43";
  const struct bytes parts[] = {TEXT("what do ya want "), TEXT("for nothing?")};
  uint8_t mac[MAC_BYTES];
  return hmac_sha256(TEXT("Jefe"), parts, 2, mac) && memcmp(mac, expected, sizeof mac) == 0;
}

/* RFC 5869, appendix A.1 */
static bool test_hkdf(void) {
  static const char expected[] =
      "\x3c\xb2\x5f\x25\xfa\xac\xd5\x7a\x90\x43\x4f\x64\xd0\x36\x2f\x2a"
      "\x2d\x2d\x0a\x90\xcf\x1a\x5a\x4c\x5d\xb0\x2d\x56\xec\xc4\xc5\xbf"
      "\x34\x00\x72\x08\xd5\xb8\x87\x18\x58\x65";
  const struct bytes salt = TEXT("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c");
  const struct bytes info = TEXT("\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9");
  uint8_t key[22], prk[MAC_BYTES], out[42];
  memset(key, 0x0b, sizeof key);
  return hkdf_extract(salt, (struct bytes){key, sizeof key}, prk) &&
         hkdf_expand(prk, info, (struct bytes){out, sizeof out}) && memcmp(out, expected, sizeof out) == 0;
}

/* RFC 7914, section 12, the first vector: the smallest cost. */
static bool test_scrypt(void) {
  static const char expected[] =
      "\x77\xd6\x57\x62\x38\x65\x7b\x20\x3b\x19\xca\x42\xc1\x8a\x04\x97"
      "\xf1\x6b\x48\x44\xe3\x07\x4a\xe8\xdf\xdf\xfa\x3f\xed\xe2\x14\x42"
      "\xfc\xd0\x06\x9d\xed\x09\x48\xf8\x32\x6a\x75\x3a\x0f\xc8\x1f\x17"
      "\xe8\xd3\xe0\xfb\x2e\x0d\x36\x28\xcf\x35\xe2\x0c\x38\xd1\x89\x06";
  const struct scrypt_cost cost = {.log_n = 4, .r = 1, .p = 1};
  uint8_t out[64];
  return scrypt(TEXT(""), TEXT(""), &cost, (struct bytes){out, sizeof out}) == 0 &&
         memcmp(out, expected, sizeof out) == 0;
}

/* docs/envelope.md: the DEK 00…1f; K_block, K_msg, K_data and dek_id. */
static bool test_dek(void) {
  static const char block_key[] =
      "\x03\x5a\xf8\xd2\xab\x89\x46\xbb\x24\xd8\xa0\xd8\xd8\x5e\x06\x6f"
      "\x1b\xb5\x1d\xe4\xa6\x2b\x48\xf4\xb2\x53\x58\x12\x3b\x8e\x9a\x49";
  static const char message_key[] =
      "\x51\xd7\xb8\x39\x56\x74\x44\xab\xeb\x90\xaf\x67\x2d\x12\x07\xab"
      "\x6f\xef\x8d\x58\x36\x95\x2a\xcb\x87\x28\xc8\x59\x0c\xfa\x14\xea";
  static const char data_key[] =
      "\xc0\xb6\xde\xf1\x81\x03\xee\x90\x26\xac\x73\xc6\x93\xda\x45\x0e"
      "\x37\xa4\xab\x51\xe7\x41\x12\x72\xcc\x82\x72\x03\x10\x77\x73\x6d";
  static const char dek_id[] =
      "\x43\x48\xdf\x81\xd3\xf8\x07\x9c\xb6\x55\x2d\xa9\xa3\x17\xbf\x7a"
      "\xc1\x02\xc4\xac\xc7\xe5\xe0\x26\x65\xd7\xc4\x88\x19\x10\x9b\xfd";
  struct keys keys = {0};
  uint8_t id[KEY_BYTES];
  for (uint8_t i = 0; i < KEY_BYTES; i++) {
    keys.dek[i] = i;
  }
  return derive_dek(&keys, id) && memcmp(keys.block, block_key, KEY_BYTES) == 0 &&
         memcmp(keys.message, message_key, KEY_BYTES) == 0 && memcmp(keys.data_key, data_key, KEY_BYTES) == 0 &&
         memcmp(id, dek_id, KEY_BYTES) == 0;
}

static bool test_equal(void) {
  const uint8_t a[] = {1, 2, 3, 4}, b[] = {1, 2, 3, 5}, c[] = {129, 2, 3, 4};
  return equal(a, a, sizeof a) && !equal(a, b, sizeof a) && !equal(a, c, sizeof a) && equal(a, b, sizeof a - 1);
}
