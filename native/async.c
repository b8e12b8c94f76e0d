/*
 * sealAsync, openAsync: long messages, in libuv's thread pool, each on a pinned handle.
 *
 * Node-API keeps a view alive, but not its bytes: whoever holds the buffer may transfer it while a thread reads, and the
 * memory goes with it. So a job works on a copy, in place, in memory of its own; JavaScript is handed that memory when
 * the job is done, and a plaintext not before it is authentic.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "addon.h"
#include "keys.h"

/* prefix | nonce | payload | tag of a seal, nonce | payload | tag of an open. */
struct memory {
  size_t length;
  uint8_t bytes[];
};

struct job {
  napi_async_work work;
  napi_deferred deferred;
  struct pin pin;
  bool pinned, seals;
  uint64_t use;
  const struct suite *suite;
  struct memory *memory, *aad;
  size_t nonce_offset, payload_length;
  fault why;
  int error; /* errno of it */
};

typedef struct job *prepare_function(napi_env env, napi_callback_info info);

static prepare_function prepare_seal, prepare_open;
static napi_value promise_of(napi_env env, napi_callback_info info, prepare_function *prepare);
static struct job *new_job(napi_env env, const struct job *facts, size_t length, struct bytes aad);
static bool start(napi_env env, struct job *job);
static void execute(napi_env env, void *data);
static void complete(napi_env env, napi_status status, void *data);
static napi_value hand_over(napi_env env, struct job *job);
static void reject(napi_env env, napi_deferred deferred);
static void copy(uint8_t *to, struct bytes from);
static void unpin(struct job *job);
static void free_job(struct job *job);
static struct memory *allocate(size_t length);
static void cleanse_and_free(struct memory *memory);
static void free_plaintext(napi_env env, void *data, void *memory);
static void free_envelope(napi_env env, void *data, void *memory);

ENTRY_POINT(js_seal_async) { return promise_of(env, info, prepare_seal); }

ENTRY_POINT(js_open_async) { return promise_of(env, info, prepare_open); }

static napi_value promise_of(napi_env env, napi_callback_info info, prepare_function *prepare) {
  napi_value promise;
  napi_deferred deferred;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok) {
    return NULL;
  }
  struct job *job = prepare(env, info);
  if (job != NULL) {
    job->deferred = deferred;
    if (start(env, job)) {
      return promise;
    }
    free_job(job);
    throw_code(env, "ERR_SYSTEM", "internal error: no job in the thread pool");
  }
  reject(env, deferred);
  return promise;
}

static struct job *prepare_seal(napi_env env, napi_callback_info info) {
  napi_value argv[7];
  uint64_t handle;
  struct job facts = {.seals = true};
  struct bytes aad, plaintext, prefix;
  if (!take_arguments(env, info, 7, argv) || !take_handle(env, argv[0], "handle", &handle) ||
      !take_integer(env, argv[1], "use", USE_RAW, USE_DATA_KEY, &facts.use) ||
      !take_suite(env, argv[2], &facts.suite) || !take_prefix(env, argv[3], argv[4], "aad", &aad) ||
      !take_bytes(env, argv[5], "plaintext", &plaintext) || !take_bytes(env, argv[6], "prefix", &prefix)) {
    return NULL;
  }
  if (plaintext.length > GCM_MAX_BYTES) {
    throw_invalid(env, "plaintext", "is longer than AES-GCM allows");
    return NULL;
  }
  fault why = pin_use(handle, facts.use, &facts.pin);
  if (why == FAULT_NONE) {
    why = count_message(facts.pin.control, facts.suite->message_limit, plaintext.length);
    if (why != FAULT_NONE) {
      slot_unpin(facts.pin);
    }
  }
  if (why != FAULT_NONE) {
    throw_fault(env, why);
    return NULL;
  }
  facts.nonce_offset = prefix.length;
  facts.payload_length = plaintext.length;
  const size_t payload_offset = prefix.length + facts.suite->nonce_bytes;
  struct job *job = new_job(env, &facts, payload_offset + plaintext.length + TAG_BYTES, aad);
  if (job != NULL) {
    copy(job->memory->bytes, prefix);
    copy(job->memory->bytes + payload_offset, plaintext);
  }
  return job;
}

static struct job *prepare_open(napi_env env, napi_callback_info info) {
  napi_value argv[7];
  uint64_t handle;
  struct job facts = {.seals = false};
  struct bytes aad, sealed;
  if (!take_arguments(env, info, 7, argv) || !take_handle(env, argv[0], "handle", &handle) ||
      !take_integer(env, argv[1], "use", USE_RAW, USE_DATA_KEY, &facts.use) ||
      !take_suite(env, argv[2], &facts.suite) || !take_prefix(env, argv[3], argv[4], "aad", &aad) ||
      !take_suffix(env, argv[5], argv[6], "sealed", &sealed)) {
    return NULL;
  }
  const size_t overhead = (size_t)facts.suite->nonce_bytes + TAG_BYTES;
  fault why = pin_use(handle, facts.use, &facts.pin);
  if (why == FAULT_NONE && sealed.length < overhead) {
    slot_unpin(facts.pin);
    why = FAULT_AUTHENTICATION;
  }
  if (why != FAULT_NONE) {
    throw_fault(env, why);
    return NULL;
  }
  facts.payload_length = sealed.length - overhead;
  struct job *job = new_job(env, &facts, sealed.length, aad);
  if (job != NULL) {
    copy(job->memory->bytes, sealed);
  }
  return job;
}

/* With the facts' pin, which ends here when there is no memory. */
static struct job *new_job(napi_env env, const struct job *facts, size_t length, struct bytes aad) {
  struct job *job = malloc(sizeof *job);
  if (job == NULL) {
    slot_unpin(facts->pin);
    throw_system(env, "malloc", ENOMEM);
    return NULL;
  }
  *job = *facts;
  job->pinned = true;
  job->memory = allocate(length);
  job->aad = allocate(aad.length);
  if (job->memory == NULL || job->aad == NULL) {
    free_job(job);
    throw_system(env, "malloc", ENOMEM);
    return NULL;
  }
  copy(job->aad->bytes, aad);
  return job;
}

static bool start(napi_env env, struct job *job) {
  napi_value name;
  if (napi_create_string_utf8(env, "dekd:aead", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, NULL, name, execute, complete, job, &job->work) != napi_ok) {
    return false;
  }
  if (napi_queue_async_work(env, job->work) == napi_ok) {
    return true;
  }
  napi_delete_async_work(env, job->work);
  return false;
}

/* On a thread of the pool. The pin ends here and not in complete(), which a thread that ends may be late to run. */
static void execute(napi_env env, void *data) {
  (void)env;
  struct job *job = data;
  struct bytes aad = {job->aad->bytes, job->aad->length};
  uint8_t *nonce = job->memory->bytes + job->nonce_offset, *payload = nonce + job->suite->nonce_bytes;
  if (job->seals) {
    struct bytes plaintext = {payload, job->payload_length};
    job->why = seal_pinned(job->pin, job->use, job->suite, aad, plaintext, nonce);
  } else {
    struct bytes body = {payload, job->payload_length + TAG_BYTES};
    job->why = open_pinned(job->pin, job->use, job->suite, nonce, aad, body, payload);
  }
  job->error = errno;
  unpin(job);
  crypto_stop(NULL);
}

static void complete(napi_env env, napi_status status, void *data) {
  struct job *job = data;
  napi_value result = NULL;
  if (status == napi_ok && job->why == FAULT_NONE) {
    result = hand_over(env, job);
  } else if (status == napi_ok) {
    errno = job->error;
    throw_fault(env, job->why);
  }
  if (result != NULL) {
    napi_resolve_deferred(env, job->deferred, result);
  } else {
    reject(env, job->deferred);
  }
  napi_delete_async_work(env, job->work);
  free_job(job);
}

/* The memory itself, as a Buffer; NULL in an environment that ends. */
static napi_value hand_over(napi_env env, struct job *job) {
  napi_value result;
  struct memory *memory = job->memory;
  size_t offset = job->seals ? 0 : job->nonce_offset + job->suite->nonce_bytes;
  size_t length = job->seals ? memory->length : job->payload_length;
  napi_finalize free_it = job->seals ? free_envelope : free_plaintext;
  if (napi_create_external_buffer(env, length, memory->bytes + offset, free_it, memory, &result) != napi_ok) {
    return NULL;
  }
  job->memory = NULL;
  return result;
}

/* With what was thrown. */
static void reject(napi_env env, napi_deferred deferred) {
  napi_value error;
  if (napi_get_and_clear_last_exception(env, &error) == napi_ok) {
    napi_reject_deferred(env, deferred, error);
  }
}

/* memcpy wants no NULL, which an empty view may have. */
static void copy(uint8_t *to, struct bytes from) {
  if (from.length > 0) {
    memcpy(to, from.data, from.length);
  }
}

static void unpin(struct job *job) {
  if (job->pinned) {
    slot_unpin(job->pin);
    job->pinned = false;
  }
}

static void free_job(struct job *job) {
  unpin(job);
  cleanse_and_free(job->memory);
  cleanse_and_free(job->aad);
  free(job);
}

static struct memory *allocate(size_t length) {
  struct memory *memory = length < SIZE_MAX - sizeof *memory ? malloc(sizeof *memory + length) : NULL;
  if (memory != NULL) {
    memory->length = length;
  }
  return memory;
}

static void cleanse_and_free(struct memory *memory) {
  if (memory != NULL) {
    OPENSSL_cleanse(memory->bytes, memory->length);
    free(memory);
  }
}

static void free_plaintext(napi_env env, void *data, void *memory) {
  (void)env;
  (void)data;
  cleanse_and_free(memory);
}

static void free_envelope(napi_env env, void *data, void *memory) {
  (void)env;
  (void)data;
  free(memory);
}
