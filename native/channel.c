/*
 * openKeyChannel, closeKeyChannel, sendKey, receiveKey: DEKs between an agent's slots and the child process of an upstream, which JavaScript
 * of the agent never sees. A packet (unix(7), SOCK_SEQPACKET) is one key:
 *
 *   u64 id, big-endian | 32 bytes
 *
 * The kernel copies straight from and to the arena, memfd_secret(2) or not. What lay in its socket buffer is freed, not
 * zeroed (docs/threat-model.md).
 */
#include <endian.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "addon.h"
#include "keys.h"

#define PACKET_BYTES (sizeof(uint64_t) + KEY_BYTES)
#define MAX_ID ((UINT64_C(1) << 53) - 1)

static int require_channel(int fd);
static fault send_key(int fd, uint64_t id, uint64_t handle, int *error);
static int receive_packet(int fd, uint64_t *id, uint8_t *key, size_t *length);
static void discard_packet(int fd);

ENTRY_POINT(js_open_key_channel) {
  (void)info;
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) {
    return throw_system(env, "socketpair", errno);
  }
  napi_value result, parent, child;
  bool done = napi_create_object(env, &result) == napi_ok && napi_create_int32(env, fds[0], &parent) == napi_ok &&
              napi_create_int32(env, fds[1], &child) == napi_ok &&
              napi_set_named_property(env, result, "parent", parent) == napi_ok &&
              napi_set_named_property(env, result, "child", child) == napi_ok;
  if (!done) {
    close(fds[0]);
    close(fds[1]);
  }
  return done ? result : NULL;
}

ENTRY_POINT(js_close_key_channel) {
  napi_value argv[1];
  uint64_t fd;
  if (!take_arguments(env, info, 1, argv) || !take_integer(env, argv[0], "fd", 0, INT32_MAX, &fd)) {
    return NULL;
  }
  int error = require_channel((int)fd);
  if (error != 0) {
    return throw_system(env, "getsockopt", error);
  }
  /* close(2): the descriptor is gone even when it says EINTR. */
  close((int)fd);
  return NULL;
}

ENTRY_POINT(js_send_key) {
  napi_value argv[3];
  uint64_t fd, id, handle;
  if (!take_arguments(env, info, 3, argv) || !take_integer(env, argv[0], "fd", 0, INT32_MAX, &fd) ||
      !take_integer(env, argv[1], "id", 0, MAX_ID, &id) || !take_handle(env, argv[2], "handle", &handle)) {
    return NULL;
  }
  int error = require_channel((int)fd);
  if (error != 0) {
    return throw_system(env, "getsockopt", error);
  }
  fault why = send_key((int)fd, id, handle, &error);
  if (error != 0) {
    return throw_system(env, "sendmsg", error);
  }
  return why == FAULT_NONE ? NULL : throw_fault(env, why);
}

ENTRY_POINT(js_receive_key) {
  napi_value argv[3];
  uint64_t fd, id, got_id;
  uint32_t kind;
  if (!take_arguments(env, info, 3, argv) || !take_integer(env, argv[0], "fd", 0, INT32_MAX, &fd) ||
      !take_integer(env, argv[1], "id", 0, MAX_ID, &id) || !take_kind(env, argv[2], &kind)) {
    return NULL;
  }
  int error = require_channel((int)fd);
  if (error != 0) {
    return throw_system(env, "getsockopt", error);
  }
  struct draft draft;
  fault why = slot_draft(kind, &draft);
  if (why != FAULT_NONE) {
    /* The next call's key would else be taken for this one's. */
    discard_packet((int)fd);
    return throw_fault(env, why);
  }
  size_t length;
  error = receive_packet((int)fd, &got_id, own_bytes(draft), &length);
  if (error != 0) {
    slot_discard(draft);
    return error == EAGAIN || error == EWOULDBLOCK ? throw_fault(env, FAULT_NO_KEY) : throw_system(env, "recvmsg", error);
  }
  why = length == 0 ? FAULT_NO_KEY : length != PACKET_BYTES || got_id != id ? FAULT_KEY_PACKET : FAULT_NONE;
  return finish_key(env, draft, KEY_BYTES, why);
}

/* A descriptor that was closed may be anything by now: a key goes to a channel or nowhere. Returns an errno. */
static int require_channel(int fd) {
  int domain, type;
  socklen_t domain_size = sizeof domain, type_size = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) != 0 ||
      getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) != 0) {
    return errno;
  }
  return domain == AF_UNIX && type == SOCK_SEQPACKET ? 0 : EPROTOTYPE;
}

static fault send_key(int fd, uint64_t id, uint64_t handle, int *error) {
  struct pin pin;
  const struct keys *keys;
  fault why = pin_kind(handle, SLOT_DEK, &pin);
  if (why != FAULT_NONE) {
    return why;
  }
  why = keys_open(pin, &keys);
  if (why == FAULT_NONE) {
    uint64_t header = htobe64(id);
    struct iovec parts[] = {{&header, sizeof header}, {(void *)keys->dek, KEY_BYTES}};
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t sent;
    do {
      sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    *error = sent < 0 ? errno : 0;
    keys_close(keys);
  }
  slot_unpin(pin);
  return why;
}

/* Takes one packet; with MSG_TRUNC `length` is what it really had. 0 also when the other end was closed. Returns an errno. */
static int receive_packet(int fd, uint64_t *id, uint8_t *key, size_t *length) {
  uint64_t header = 0;
  struct iovec parts[] = {{&header, sizeof header}, {key, KEY_BYTES}};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
  ssize_t got;
  do {
    got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_TRUNC);
  } while (got < 0 && errno == EINTR);
  *id = be64toh(header);
  *length = got < 0 ? 0 : (size_t)got;
  return got < 0 ? errno : 0;
}

/* Reads none of it: the kernel drops what does not fit. */
static void discard_packet(int fd) {
  while (recv(fd, NULL, 0, MSG_DONTWAIT) < 0 && errno == EINTR) {
  }
}
