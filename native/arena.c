#include "arena.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447 /* the same number on every architecture, Linux 5.14 */
#endif

typedef bool map_function(size_t size, struct mapping *out);

static map_function map_secret, map_locked, map_unlocked;
static bool map_what_fits(map_function *map, size_t wanted, struct mapping *out);
static size_t lockable_bytes(void);
static uint8_t *reserve(size_t size);
static void release(uint8_t *start, size_t size);
static bool keep_private(uint8_t *start, size_t size);
static size_t page_size(void);
static size_t whole_pages(size_t size);

bool map_arena(size_t wanted, bool avoid_secret_memory, bool best_effort, struct mapping *out) {
  size_t size = whole_pages(wanted + page_size() - 1);
  return (!avoid_secret_memory && map_what_fits(map_secret, size, out)) || map_what_fits(map_locked, size, out) ||
         (best_effort && map_unlocked(size, out));
}

void unmap_arena(const struct mapping *mapping) { release(mapping->start, mapping->size); }

/*
 * The whole size first: CAP_IPC_LOCK lifts the limit. Then what RLIMIT_MEMLOCK leaves beside the memory that is locked
 * already, then halves down to one page: another thread may lock memory meanwhile, and /proc may be absent.
 */
static bool map_what_fits(map_function *map, size_t wanted, struct mapping *out) {
  if (map(wanted, out)) {
    return true;
  }
  size_t room = lockable_bytes();
  size_t size = whole_pages(room >= page_size() && room < wanted ? room : wanted / 2);
  for (; size >= page_size(); size = whole_pages(size / 2)) {
    if (map(size, out)) {
      return true;
    }
  }
  return false;
}

/* memfd_secret(2): the pages leave the kernel's direct map, so not even root reads them through /proc/PID/mem. */
static bool map_secret(size_t size, struct mapping *out) {
  int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
  if (fd < 0) {
    return false; /* ENOSYS before Linux 5.14 or with secretmem.enable=0, EPERM under some seccomp filters */
  }
  uint8_t *start = ftruncate(fd, (off_t)size) == 0 ? reserve(size) : NULL;
  /* EAGAIN here when RLIMIT_MEMLOCK is too low. */
  bool mapped = start != NULL &&
                mmap(start, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED &&
                keep_private(start, size);
  close(fd);
  if (!mapped) {
    release(start, size);
    return false;
  }
  *out = (struct mapping){.start = start, .size = size, .kind = ARENA_MEMFD_SECRET};
  return true;
}

static bool map_locked(size_t size, struct mapping *out) {
  if (!map_unlocked(size, out)) {
    return false;
  }
  if (mlock(out->start, size) != 0) {
    release(out->start, size);
    return false;
  }
  out->kind = ARENA_MLOCK;
  return true;
}

static bool map_unlocked(size_t size, struct mapping *out) {
  uint8_t *start = reserve(size);
  if (start == NULL || mprotect(start, size, PROT_READ | PROT_WRITE) != 0 || !keep_private(start, size)) {
    release(start, size);
    return false;
  }
  *out = (struct mapping){.start = start, .size = size, .kind = ARENA_UNLOCKED};
  return true;
}

/* Address space without access, one page more on either side: what stays of it are the guard pages. */
static uint8_t *reserve(size_t size) {
  uint8_t *whole = mmap(NULL, size + 2 * page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return whole == MAP_FAILED ? NULL : whole + page_size();
}

static void release(uint8_t *start, size_t size) {
  if (start != NULL) {
    munmap(start - page_size(), size + 2 * page_size());
  }
}

/* madvise(2): not in a forked child, not in a core dump. Both are asked of secret memory too, whatever it implies. */
static bool keep_private(uint8_t *start, size_t size) {
  return madvise(start, size, MADV_DONTFORK) == 0 && madvise(start, size, MADV_DONTDUMP) == 0;
}

/* RLIMIT_MEMLOCK less what the process has locked (VmLck in proc_pid_status(5), in KiB). */
static size_t lockable_bytes(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) {
    return 0;
  }
  size_t locked = 0;
  char line[128];
  FILE *status = fopen("/proc/self/status", "re");
  while (status != NULL && fgets(line, sizeof line, status) != NULL) {
    if (sscanf(line, "VmLck: %zu", &locked) == 1) {
      break;
    }
  }
  if (status != NULL) {
    fclose(status);
  }
  locked *= 1024;
  return limit.rlim_cur > locked ? (size_t)limit.rlim_cur - locked : 0;
}

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static size_t whole_pages(size_t size) { return size - size % page_size(); }
