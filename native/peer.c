/* peerCredentials: who is at the other end of a Unix socket, as the kernel noted it at connect(2) (unix(7), socket(7)). */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "addon.h"
#include "args.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59 /* Linux 4.13; asm-generic, so the same on x86-64 and arm64 */
#endif

static int read_groups(int fd, gid_t **groups, size_t *count);
static bool set_number(napi_env env, napi_value object, const char *name, double number);
static bool set_groups(napi_env env, napi_value object, const gid_t *groups, size_t count);

ENTRY_POINT(js_peer_credentials) {
  napi_value argv[1], result;
  uint64_t fd;
  if (!take_arguments(env, info, 1, argv) || !take_integer(env, argv[0], "fd", 0, INT32_MAX, &fd)) {
    return NULL;
  }
  struct ucred peer;
  int listens;
  socklen_t size = sizeof peer, listens_size = sizeof listens;
  if (getsockopt((int)fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
      getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_size) != 0) {
    return throw_system(env, "getsockopt", errno);
  }
  /* A listening socket answers with its own process's credentials, an unconnected one and TCP's with nobody's. */
  if (listens || peer.uid == (uid_t)-1) {
    return throw_system(env, "getsockopt", ENOTCONN);
  }
  gid_t *groups = NULL;
  size_t count = 0;
  int error = read_groups((int)fd, &groups, &count);
  if (error != 0) {
    free(groups);
    return throw_system(env, "getsockopt", error);
  }
  bool done = napi_create_object(env, &result) == napi_ok && set_number(env, result, "pid", peer.pid) &&
              set_number(env, result, "uid", peer.uid) && set_number(env, result, "gid", peer.gid) &&
              set_groups(env, result, groups, count);
  free(groups);
  return done ? result : NULL;
}

/* getsockopt(2) says ERANGE, and how much it needs, until the buffer is large enough: 65,536 groups at most. */
static int read_groups(int fd, gid_t **groups, size_t *count) {
  socklen_t size = 32 * sizeof(gid_t);
  for (;;) {
    gid_t *larger = realloc(*groups, size);
    if (larger == NULL) {
      return ENOMEM;
    }
    *groups = larger;
    socklen_t room = size;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, larger, &size) == 0) {
      *count = size / sizeof(gid_t);
      return 0;
    }
    if (errno != ERANGE || size <= room) {
      return errno;
    }
  }
}

static bool set_number(napi_env env, napi_value object, const char *name, double number) {
  napi_value value;
  return napi_create_double(env, number, &value) == napi_ok &&
         napi_set_named_property(env, object, name, value) == napi_ok;
}

/* The kernel keeps a process's groups sorted, so equal ones are neighbours. */
static bool set_groups(napi_env env, napi_value object, const gid_t *groups, size_t count) {
  napi_value array, value;
  uint32_t next = 0;
  if (napi_create_array(env, &array) != napi_ok) {
    return false;
  }
  for (size_t i = 0; i < count; i++) {
    if (i > 0 && groups[i] == groups[i - 1]) {
      continue;
    }
    if (napi_create_double(env, groups[i], &value) != napi_ok ||
        napi_set_element(env, array, next++, value) != napi_ok) {
      return false;
    }
  }
  return napi_set_named_property(env, object, "groups", array) == napi_ok;
}
