#include "args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crypto.h"

#define MAX_SAFE_INTEGER 9007199254740991.0 /* 2^53 - 1 */

static void delete_reference(napi_env env, void *reference, void *unused);
static bool overlap(struct bytes a, struct bytes b);
static bool refuse(napi_env env, const char *name, const char *problem);
static bool is_usable_when_empty(napi_env env, napi_value buffer);

bool args_start(napi_env env) {
  static const char find[] = "Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, 'resizable').get";
  napi_value source, getter;
  napi_ref reference;
  return napi_create_string_utf8(env, find, NAPI_AUTO_LENGTH, &source) == napi_ok &&
         napi_run_script(env, source, &getter) == napi_ok &&
         napi_create_reference(env, getter, 1, &reference) == napi_ok &&
         napi_set_instance_data(env, reference, delete_reference, NULL) == napi_ok;
}

/* At the end of an environment: a worker thread's ends before the process. */
static void delete_reference(napi_env env, void *reference, void *unused) {
  (void)unused;
  napi_delete_reference(env, reference);
}

bool take_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *argv) {
  size_t given = count;
  return napi_get_cb_info(env, info, &given, argv, NULL, NULL) == napi_ok;
}

bool take_bytes(napi_env env, napi_value value, const char *name, struct bytes *out) {
  napi_typedarray_type type;
  napi_value buffer;
  size_t length;
  void *data;
  bool unshared = false;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, &buffer, NULL) != napi_ok ||
      type != napi_uint8_array) {
    return refuse(env, name, "must be a Uint8Array");
  }
  /* Shared bytes could change between the check and the use. */
  if (napi_is_arraybuffer(env, buffer, &unshared) != napi_ok || !unshared) {
    return refuse(env, name, "must not lie in a SharedArrayBuffer");
  }
  if (length == 0 && !is_usable_when_empty(env, buffer)) {
    return refuse(env, name, "lies in a detached or shrunk buffer");
  }
  out->data = data;
  out->length = length;
  return true;
}

bool take_bytes_or_null(napi_env env, napi_value value, const char *name, struct bytes *out, bool *given) {
  napi_valuetype type;
  *out = (struct bytes){NULL, 0};
  *given = napi_typeof(env, value, &type) != napi_ok || type != napi_null;
  return !*given || take_bytes(env, value, name, out);
}

bool take_prefix(napi_env env, napi_value view, napi_value length, const char *name, struct bytes *out) {
  uint64_t count;
  if (!take_bytes(env, view, name, out) || !take_integer(env, length, name, 0, out->length, &count)) {
    return false;
  }
  out->length = (size_t)count;
  return true;
}

bool take_suffix(napi_env env, napi_value view, napi_value offset, const char *name, struct bytes *out) {
  uint64_t skipped;
  if (!take_bytes(env, view, name, out) || !take_integer(env, offset, name, 0, out->length, &skipped)) {
    return false;
  }
  if (skipped > 0) {
    out->data += skipped;
    out->length -= (size_t)skipped;
  }
  return true;
}

bool take_integer(napi_env env, napi_value value, const char *name, uint64_t minimum, uint64_t maximum, uint64_t *out) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) {
    return refuse(env, name, "must come with an integer");
  }
  /* Written so that NaN fails; the cast is then defined. */
  if (!(number >= 0 && number <= MAX_SAFE_INTEGER) || number != (double)(uint64_t)number) {
    return refuse(env, name, "must come with a safe integer that is not negative");
  }
  if ((uint64_t)number < minimum || (uint64_t)number > maximum) {
    return refuse(env, name, "is out of bounds");
  }
  *out = (uint64_t)number;
  return true;
}

bool take_handle(napi_env env, napi_value value, const char *name, uint64_t *out) {
  return take_integer(env, value, name, 0, UINT64_MAX, out);
}

bool take_kind(napi_env env, napi_value value, uint32_t *out) {
  char text[8];
  size_t length;
  if (napi_get_value_string_utf8(env, value, text, sizeof text, &length) == napi_ok) {
    if (strcmp(text, "dek") == 0 && length == 3) {
      *out = SLOT_DEK;
      return true;
    }
    if (strcmp(text, "raw") == 0 && length == 3) {
      *out = SLOT_RAW;
      return true;
    }
  }
  return refuse(env, "kind", "must be 'dek' or 'raw'");
}

bool take_suite(napi_env env, napi_value value, const struct suite **out) {
  uint64_t id;
  char message[80];
  if (!take_integer(env, value, "suite", 0, UINT64_MAX, &id)) {
    return false;
  }
  *out = suite_by_id(id);
  if (*out != NULL) {
    return true;
  }
  const char *name = id == 3 ? "reserved (XChaCha20-Poly1305)" : id == 4 ? "reserved (streams)" : "unknown";
  snprintf(message, sizeof message, "suite %" PRIu64 " is %s", id, name);
  throw_code(env, "ERR_UNSUPPORTED_SUITE", message);
  return false;
}

bool take_room(napi_env env, struct bytes *out, const char *name, size_t written, struct bytes aad,
               struct bytes source) {
  if (out->length < written) {
    return refuse(env, name, "is too short");
  }
  out->length = written;
  return (!overlap(*out, aad) && !overlap(*out, source)) || refuse(env, name, "overlaps what it is made from");
}

static bool overlap(struct bytes a, struct bytes b) {
  uintptr_t first = (uintptr_t)a.data, second = (uintptr_t)b.data;
  return a.length > 0 && b.length > 0 && first < second + b.length && second < first + a.length;
}

static bool refuse(napi_env env, const char *name, const char *problem) {
  throw_invalid(env, name, problem);
  return false;
}

napi_value throw_code(napi_env env, const char *code, const char *message) {
  napi_throw_error(env, code, message);
  return NULL;
}

napi_value throw_invalid(napi_env env, const char *name, const char *problem) {
  char message[160];
  snprintf(message, sizeof message, "%s %s", name, problem);
  napi_throw_type_error(env, "ERR_INVALID_ARG", message);
  return NULL;
}

napi_value throw_fault(napi_env env, fault why) {
  switch (why) {
    case FAULT_NOT_OPEN:
      return throw_code(env, "ERR_NOT_OPEN", "no arena is open: call openArena first");
    case FAULT_STALE_HANDLE:
      return throw_code(env, "ERR_STALE_HANDLE", "the handle's slot was freed or never given out");
    case FAULT_WRONG_KIND:
      return throw_code(env, "ERR_WRONG_KIND", "the slot holds another kind of secret than this call works on");
    case FAULT_NO_MEMORY:
      return throw_code(env, "ERR_NO_MEMORY", "no secret memory is left for such a key");
    case FAULT_NO_LOCKED_MEMORY:
      return throw_code(env, "ERR_NO_LOCKED_MEMORY",
                        "no memory can be locked: raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=) to 64 KiB or more, "
                        "or set memory.lock: best-effort");
    case FAULT_AUTHENTICATION:
      return throw_code(env, "ERR_AUTHENTICATION", "authentication failed");
    case FAULT_MESSAGE_LIMIT:
      return throw_code(env, "ERR_MESSAGE_LIMIT",
                        "the key has sealed all the messages that AES-256-GCM allows (NIST SP 800-38D, section 8.3)");
    case FAULT_KEY_LENGTH:
      return throw_code(env, "ERR_KEY_LENGTH", "the file descriptor held fewer or more bytes than were asked for");
    case FAULT_NO_KEY:
      return throw_code(env, "ERR_NO_KEY", "the key channel holds no key, or its other end was closed");
    case FAULT_KEY_PACKET:
      return throw_code(env, "ERR_KEY_PACKET", "what came over the key channel has another size or id");
    case FAULT_RANDOM:
      return throw_system(env, "getrandom", errno);
    case FAULT_RECORD:
      return throw_code(env, "ERR_CRYPTO", "internal error: a sealed key does not open");
    case FAULT_CRYPTO:
    case FAULT_NONE:
      break;
  }
  return throw_code(env, "ERR_CRYPTO", "internal error: OpenSSL failed");
}

napi_value throw_system(napi_env env, const char *syscall, int error) {
  char message[200];
  napi_value code, description, exception, number, name;
  snprintf(message, sizeof message, "%s failed: %s", syscall, strerror(error));
  if (napi_create_string_utf8(env, "ERR_SYSTEM", NAPI_AUTO_LENGTH, &code) == napi_ok &&
      napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &description) == napi_ok &&
      napi_create_error(env, code, description, &exception) == napi_ok &&
      napi_create_int32(env, error, &number) == napi_ok &&
      napi_create_string_utf8(env, syscall, NAPI_AUTO_LENGTH, &name) == napi_ok &&
      napi_set_named_property(env, exception, "errno", number) == napi_ok &&
      napi_set_named_property(env, exception, "syscall", name) == napi_ok) {
    napi_throw(env, exception);
  }
  return NULL;
}

/*
 * A view over a detached ArrayBuffer, or past the end of a resizable one that was shrunk, reads as empty and would
 * seal as an empty plaintext. Only empty views pay for the look. A property named `resizable` could be the caller's own
 * getter, and take away the bytes of an earlier argument: so it is the intrinsic one that is called.
 */
static bool is_usable_when_empty(napi_env env, napi_value buffer) {
  void *resizable_getter;
  napi_value getter, answer;
  bool detached = true, resizable = true;
  return napi_is_detached_arraybuffer(env, buffer, &detached) == napi_ok && !detached &&
         napi_get_instance_data(env, &resizable_getter) == napi_ok &&
         napi_get_reference_value(env, (napi_ref)resizable_getter, &getter) == napi_ok &&
         napi_call_function(env, buffer, getter, 0, NULL, &answer) == napi_ok &&
         napi_get_value_bool(env, answer, &resizable) == napi_ok && !resizable;
}
