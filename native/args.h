/*
 * Arguments in, errors out. Each take_* reads one argument, and when it is not what the entry point needs, throws
 * ERR_INVALID_ARG with the argument's name and returns false: the caller then returns NULL at once.
 */
#ifndef DEKD_ARGS_H
#define DEKD_ARGS_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "fault.h"

struct suite;

/* Once per environment, before any other call. */
bool args_start(napi_env env);

/* Missing arguments arrive as undefined, so every take_* refuses them; surplus ones are ignored. */
bool take_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *argv);

/*
 * A Uint8Array (Buffer included) over an attached ArrayBuffer; no other view, no SharedArrayBuffer. The pointer is good
 * until JavaScript runs, so no take_* of bytes, integers, handles or kinds runs any: no getter, no valueOf.
 */
bool take_bytes(napi_env env, napi_value value, const char *name, struct bytes *out);
/* `given` is false for null, and then `out` is empty; an empty view is given. */
bool take_bytes_or_null(napi_env env, napi_value value, const char *name, struct bytes *out, bool *given);
/* The first `length` bytes, or the bytes from `offset` on, of a Uint8Array. */
bool take_prefix(napi_env env, napi_value view, napi_value length, const char *name, struct bytes *out);
bool take_suffix(napi_env env, napi_value view, napi_value offset, const char *name, struct bytes *out);
/* An integer between minimum and maximum (at most 2^53 - 1), both included. */
bool take_integer(napi_env env, napi_value value, const char *name, uint64_t minimum, uint64_t maximum, uint64_t *out);
/* A safe integer: that it names a live slot is found when the slot is pinned. */
bool take_handle(napi_env env, napi_value value, const char *name, uint64_t *out);
bool take_kind(napi_env env, napi_value value, uint32_t *out);
/* ERR_UNSUPPORTED_SUITE for what is reserved or unknown. */
bool take_suite(napi_env env, napi_value value, const struct suite **out);
/* Cuts `out` to `written` bytes: throws when it has fewer, or when they overlap a source. */
bool take_room(napi_env env, struct bytes *out, const char *name, size_t written, struct bytes aad,
               struct bytes source);

/* All return NULL, so that an entry point can say `return throw_…`. */
napi_value throw_code(napi_env env, const char *code, const char *message);
napi_value throw_invalid(napi_env env, const char *name, const char *problem);
napi_value throw_fault(napi_env env, fault why);
/* ERR_SYSTEM with `errno` and `syscall`. */
napi_value throw_system(napi_env env, const char *syscall, int error);

#endif
