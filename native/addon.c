/* What JavaScript sees, and the gate before it: nothing is exported unless every known answer comes out. */
#include "addon.h"

#include <stdio.h>

#include "keys.h"

#define FUNCTION(name, function) {name, NULL, function, NULL, NULL, NULL, napi_enumerable, NULL}
#define COUNT(array) (sizeof(array) / sizeof *(array))

static bool require_self_test(napi_env env) {
  const char *failed = crypto_start() ? self_test() : "algorithms of node's OpenSSL";
  if (failed == NULL) {
    return true;
  }
  char message[128];
  snprintf(message, sizeof message, "self-test failed: %s", failed);
  throw_code(env, "ERR_CRYPTO", message);
  return false;
}

static ENTRY_POINT(js_self_test) {
  (void)info;
  require_self_test(env);
  return NULL;
}

static bool set_constant(napi_env env, napi_value exports, const char *name, uint32_t number) {
  napi_value value;
  return napi_create_uint32(env, number, &value) == napi_ok &&
         napi_set_named_property(env, exports, name, value) == napi_ok;
}

NAPI_MODULE_INIT() {
  static const napi_property_descriptor functions[] = {
      FUNCTION("selfTest", js_self_test),       FUNCTION("openArena", js_open_arena),
      FUNCTION("arenaStatus", js_arena_status), FUNCTION("createKey", js_create_key),
      FUNCTION("readKey", js_read_key),         FUNCTION("freeKey", js_free_key),
      FUNCTION("deriveKey", js_derive_key),     FUNCTION("hmac", js_hmac),
      FUNCTION("hmacVerify", js_hmac_verify),   FUNCTION("dekId", js_dek_id),
      FUNCTION("blockMac", js_block_mac),       FUNCTION("blockVerify", js_block_verify),
      FUNCTION("createIndex", js_create_index), FUNCTION("addToIndex", js_add_to_index),
      FUNCTION("findInIndex", js_find_in_index), FUNCTION("findIdInIndex", js_find_id_in_index),
      FUNCTION("removeFromIndex", js_remove_from_index),
      FUNCTION("seal", js_seal),                FUNCTION("open", js_open),
      FUNCTION("sealAsync", js_seal_async),     FUNCTION("openAsync", js_open_async),
      FUNCTION("sealDataKey", js_seal_data_key), FUNCTION("wrapKey", js_wrap_key),
      FUNCTION("unwrapKey", js_unwrap_key),     FUNCTION("cleanse", js_cleanse),
      FUNCTION("boottimeMs", js_boottime_ms),   FUNCTION("peerCredentials", js_peer_credentials),
      FUNCTION("readPassphraseKey", js_read_passphrase_key), FUNCTION("hardenProcess", js_harden_process),
      FUNCTION("lockFile", js_lock_file),       FUNCTION("openKeyChannel", js_open_key_channel),
      FUNCTION("closeKeyChannel", js_close_key_channel), FUNCTION("sendKey", js_send_key),
      FUNCTION("receiveKey", js_receive_key),
      FUNCTION("limitProcess", js_limit_process), FUNCTION("endWithParent", js_end_with_parent),
  };
  bool ready = require_self_test(env) && args_start(env) && napi_add_env_cleanup_hook(env, crypto_stop, NULL) == napi_ok &&
               napi_define_properties(env, exports, COUNT(functions), functions) == napi_ok &&
               set_constant(env, exports, "USE_RAW", USE_RAW) &&
               set_constant(env, exports, "USE_MESSAGE", USE_MESSAGE) &&
               set_constant(env, exports, "USE_DATA_KEY", USE_DATA_KEY);
  return ready ? exports : NULL;
}
