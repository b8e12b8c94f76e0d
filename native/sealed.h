/*
 * Second tier: DEKs sealed on the heap, for when slots run out. The seal is XAES-256-GCM (c2sp.org/XAES-256-GCM) with 24
 * random bytes as nonce, which need no counting and do not repeat in a cloned VM, under a key that is made when the arena
 * opens. Associated data: the handle, which is given out once in a process, and dek_id. So no record opens in another's
 * place, nor an earlier one in its own.
 */
#ifndef DEKD_SEALED_H
#define DEKD_SEALED_H

#include "crypto.h"
#include "secmem.h"

struct record {
  _Alignas(CACHE_LINE) struct control control;
  uint8_t dek_id[KEY_BYTES];
  uint8_t nonce[MAX_NONCE_BYTES];
  uint8_t sealed[sizeof(struct keys) + TAG_BYTES];
};
static_assert(sizeof(struct record) == 256, "ArenaOptions.maxSealed says so");

/* Address space for `count` records; memory is taken as they are used. NULL when there is none. */
struct record *reserve_records(size_t count);
/* Memory for record number `index`, the next that was never used. */
bool commit_record(struct record *records, size_t index);

fault seal_record(struct record *record, uint64_t handle, const uint8_t sealing_key[KEY_BYTES],
                  const struct keys *keys);
/* FAULT_RECORD when it is not what was sealed under this handle; on a failure `out` holds zeroes. */
fault open_record(const struct record *record, uint64_t handle, const uint8_t sealing_key[KEY_BYTES], struct keys *out);

#endif
