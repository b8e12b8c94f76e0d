#include "sealed.h"

#include <string.h>
#include <sys/mman.h>

#include "random.h"

#define COMMIT_BYTES (UINT32_C(1) << 18)

/* Whole steps, so that the last record lies in memory too. */
static size_t mapping_bytes(size_t count) {
  size_t bytes = count * sizeof(struct record);
  return (bytes + COMMIT_BYTES - 1) / COMMIT_BYTES * COMMIT_BYTES;
}

struct record *reserve_records(size_t count) {
  void *start = mmap(NULL, mapping_bytes(count), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return start == MAP_FAILED ? NULL : start;
}

bool commit_record(struct record *records, size_t index) {
  size_t offset = index * sizeof *records;
  return offset % COMMIT_BYTES != 0 ||
         mprotect((uint8_t *)records + offset, COMMIT_BYTES, PROT_READ | PROT_WRITE) == 0;
}

struct seal_aad {
  uint8_t handle[sizeof(uint64_t)];
  uint8_t dek_id[KEY_BYTES];
};

static struct seal_aad associated_data(const struct record *record, uint64_t handle) {
  struct seal_aad aad;
  memcpy(aad.handle, &handle, sizeof handle);
  memcpy(aad.dek_id, record->dek_id, KEY_BYTES);
  return aad;
}

fault seal_record(struct record *record, uint64_t handle, const uint8_t sealing_key[KEY_BYTES],
                  const struct keys *keys) {
  struct seal_aad aad = associated_data(record, handle);
  if (!random_fill(record->nonce, sizeof record->nonce)) {
    return FAULT_RANDOM;
  }
  return aead_seal(suite_by_id(SUITE_XAES_256_GCM), sealing_key, record->nonce, (struct bytes){(uint8_t *)&aad, sizeof aad},
                   (struct bytes){(uint8_t *)keys, sizeof *keys}, record->sealed);
}

fault open_record(const struct record *record, uint64_t handle, const uint8_t sealing_key[KEY_BYTES], struct keys *out) {
  struct seal_aad aad = associated_data(record, handle);
  fault why = aead_open(suite_by_id(SUITE_XAES_256_GCM), sealing_key, record->nonce,
                        (struct bytes){(uint8_t *)&aad, sizeof aad},
                        (struct bytes){(uint8_t *)record->sealed, sizeof record->sealed}, out->raw);
  return why == FAULT_AUTHENTICATION ? FAULT_RECORD : why;
}
