/* readPassphraseKey: from a file descriptor to a key in a slot. */
#include <errno.h>
#include <unistd.h>

#include "addon.h"
#include "keys.h"

#define MIN_PASSPHRASE_BYTES 8
#define MAX_PASSPHRASE_BYTES SCRATCH_BYTES
#define MIN_LOG_N 10
#define MAX_LOG_N 20
#define MAX_R 32
#define MAX_P 16
#define MAX_TABLE_BYTES (UINT64_C(1) << 30)

static bool take_cost(napi_env env, const napi_value argv[3], struct scrypt_cost *out);
static int read_passphrase(int fd, struct bytes *out);
static int read_some(int fd, uint8_t *out, size_t room, size_t *got);

ENTRY_POINT(js_read_passphrase_key) {
  napi_value argv[5];
  uint64_t fd;
  struct bytes salt;
  struct scrypt_cost cost;
  if (!take_arguments(env, info, 5, argv) || !take_integer(env, argv[0], "fd", 0, INT32_MAX, &fd) ||
      !take_bytes(env, argv[1], "salt", &salt) || !take_cost(env, argv + 2, &cost)) {
    return NULL;
  }
  struct draft draft;
  fault why = slot_draft(SLOT_RAW, &draft);
  if (why != FAULT_NONE) {
    return throw_fault(env, why);
  }
  struct bytes passphrase = {scratch_take(), 0};
  const char *syscall = "read";
  int error = read_passphrase((int)fd, &passphrase);
  const bool fits = passphrase.length >= MIN_PASSPHRASE_BYTES && passphrase.length <= MAX_PASSPHRASE_BYTES;
  if (error == 0 && fits) {
    syscall = "mmap";
    error = scrypt(passphrase, salt, &cost, (struct bytes){own_bytes(draft), KEY_BYTES});
  }
  scratch_return();
  if (error != 0) {
    slot_discard(draft);
    return throw_system(env, syscall, error);
  }
  if (!fits) {
    slot_discard(draft);
    return throw_code(env, "ERR_KEY_LENGTH", "the passphrase has fewer than 8 or more than 1,024 bytes");
  }
  return finish_key(env, draft, KEY_BYTES, FAULT_NONE);
}

/* The bounds of RFC 7914, section 2, for N; the others keep a start from taking all memory or minutes. */
static bool take_cost(napi_env env, const napi_value argv[3], struct scrypt_cost *out) {
  uint64_t log_n, r, p;
  if (!take_integer(env, argv[0], "logN", MIN_LOG_N, MAX_LOG_N, &log_n) ||
      !take_integer(env, argv[1], "r", 1, MAX_R, &r) || !take_integer(env, argv[2], "p", 1, MAX_P, &p)) {
    return false;
  }
  if (log_n >= 16 * r) {
    throw_invalid(env, "logN", "must be less than 16 × r");
    return false;
  }
  if ((128 * r) << log_n > MAX_TABLE_BYTES) {
    throw_invalid(env, "logN", "and r ask for more than 1 GiB of memory");
    return false;
  }
  *out = (struct scrypt_cost){(uint32_t)log_n, (uint32_t)r, (uint32_t)p};
  return true;
}

/* Up to the end of the file, without one newline there. `length` is one more than allowed when it is too much; an errno. */
static int read_passphrase(int fd, struct bytes *out) {
  uint8_t surplus[2];
  size_t more = 0;
  int error = read_some(fd, out->data, MAX_PASSPHRASE_BYTES, &out->length);
  if (error == 0 && out->length == MAX_PASSPHRASE_BYTES) {
    error = read_some(fd, surplus, sizeof surplus, &more);
  }
  if (more > 0) {
    out->length += more == 1 && surplus[0] == '\n' ? 0 : 1;
  } else if (out->length > 0 && out->data[out->length - 1] == '\n') {
    out->length--;
  }
  OPENSSL_cleanse(surplus, sizeof surplus);
  return error;
}

/* Until `room` is full or the file ends. Returns an errno. */
static int read_some(int fd, uint8_t *out, size_t room, size_t *got) {
  *got = 0;
  while (*got < room) {
    const ssize_t count = read(fd, out + *got, room - *got);
    if (count == 0) {
      break;
    }
    if (count > 0) {
      *got += (size_t)count;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}
