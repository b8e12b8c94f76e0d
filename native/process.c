/* cleanse, boottimeMs, hardenProcess, limitProcess, endWithParent, lockFile. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "addon.h"
#include "keys.h"

static bool data_bytes(uint64_t *out);
static bool lower_limit(int resource, rlim_t wanted);

ENTRY_POINT(js_cleanse) {
  napi_value argv[1];
  struct bytes bytes;
  if (take_arguments(env, info, 1, argv) && take_bytes(env, argv[0], "bytes", &bytes) && bytes.length > 0) {
    OPENSSL_cleanse(bytes.data, bytes.length);
  }
  return NULL;
}

ENTRY_POINT(js_boottime_ms) {
  (void)info;
  napi_value result;
  return napi_create_double(env, boottime_ms(), &result) == napi_ok ? result : NULL;
}

/* clock_gettime(2) cannot fail here: CLOCK_BOOTTIME is older (Linux 2.6.39) than everything else that is needed. */
double boottime_ms(void) {
  struct timespec now = {0};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* PR_SET_DUMPABLE(2const): no core dump, no ptrace(2) by the same uid, and /proc/PID belongs to root. */
ENTRY_POINT(js_harden_process) {
  (void)info;
  const struct rlimit none = {0, 0};
  struct rlimit now;
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
    return throw_system(env, "prctl", errno);
  }
  if (setrlimit(RLIMIT_CORE, &none) != 0 || getrlimit(RLIMIT_CORE, &now) != 0) {
    return throw_system(env, "setrlimit", errno);
  }
  napi_value result, dumpable, limit;
  bool done = napi_create_object(env, &result) == napi_ok &&
              napi_get_boolean(env, prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1, &dumpable) == napi_ok &&
              napi_create_double(env, (double)now.rlim_cur, &limit) == napi_ok &&
              napi_set_named_property(env, result, "dumpable", dumpable) == napi_ok &&
              napi_set_named_property(env, result, "coreLimit", limit) == napi_ok;
  return done ? result : NULL;
}

/*
 * getrlimit(2): RLIMIT_AS would count the address space that V8 reserves and never touches, hundreds of gigabytes; RLIMIT_DATA
 * counts what is writable, but that too begins with half a gigabyte for V8's code: so the limit is on what comes on top.
 */
ENTRY_POINT(js_limit_process) {
  napi_value argv[2];
  uint64_t growth, files, data;
  if (!take_arguments(env, info, 2, argv) ||
      !take_integer(env, argv[0], "growthBytes", UINT64_C(1) << 24, UINT64_C(1) << 38, &growth) ||
      !take_integer(env, argv[1], "openFiles", 16, UINT64_C(1) << 20, &files)) {
    return NULL;
  }
  if (!data_bytes(&data)) {
    return throw_system(env, "fopen", errno);
  }
  if (!lower_limit(RLIMIT_DATA, data + growth) || !lower_limit(RLIMIT_NOFILE, files)) {
    return throw_system(env, "setrlimit", errno);
  }
  return NULL;
}

/* proc_pid_statm(5): the sixth number, in pages. */
static bool data_bytes(uint64_t *out) {
  FILE *file = fopen("/proc/self/statm", "re");
  uint64_t pages;
  if (file == NULL) {
    return false;
  }
  bool read = fscanf(file, "%*u %*u %*u %*u %*u %" SCNu64, &pages) == 1;
  if (!read) {
    errno = EIO;
  }
  fclose(file);
  *out = read ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
  return read;
}

static bool lower_limit(int resource, rlim_t wanted) {
  struct rlimit now;
  if (getrlimit(resource, &now) != 0) {
    return false;
  }
  rlim_t limit = wanted < now.rlim_max ? wanted : now.rlim_max;
  return setrlimit(resource, &(struct rlimit){limit, limit}) == 0;
}

ENTRY_POINT(js_end_with_parent) {
  (void)info;
  return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 ? NULL : throw_system(env, "prctl", errno);
}

/* flock(2): the lock belongs to the open file, so it ends with the process, however that ends. */
ENTRY_POINT(js_lock_file) {
  napi_value argv[1];
  uint64_t fd;
  if (!take_arguments(env, info, 1, argv) || !take_integer(env, argv[0], "fd", 0, INT32_MAX, &fd)) {
    return NULL;
  }
  int result;
  do {
    result = flock((int)fd, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result != 0 && errno != EWOULDBLOCK) {
    return throw_system(env, "flock", errno);
  }
  napi_value held;
  return napi_get_boolean(env, result == 0, &held) == napi_ok ? held : NULL;
}
