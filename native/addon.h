/* The entry points that addon.c exports, by their names in binding.d.ts, which says what each takes and throws. */
#ifndef DEKD_ADDON_H
#define DEKD_ADDON_H

#include <node_api.h>

#define ENTRY_POINT(name) napi_value name(napi_env env, napi_callback_info info)

/* keys.c */
ENTRY_POINT(js_open_arena);
ENTRY_POINT(js_arena_status);
ENTRY_POINT(js_create_key);
ENTRY_POINT(js_read_key);
ENTRY_POINT(js_free_key);
/* passphrase.c */
ENTRY_POINT(js_read_passphrase_key);
/* mac.c */
ENTRY_POINT(js_derive_key);
ENTRY_POINT(js_hmac);
ENTRY_POINT(js_hmac_verify);
ENTRY_POINT(js_dek_id);
ENTRY_POINT(js_block_mac);
ENTRY_POINT(js_block_verify);
/* index.c */
ENTRY_POINT(js_create_index);
ENTRY_POINT(js_add_to_index);
ENTRY_POINT(js_find_in_index);
ENTRY_POINT(js_find_id_in_index);
ENTRY_POINT(js_remove_from_index);
/* seal.c */
ENTRY_POINT(js_seal);
ENTRY_POINT(js_open);
ENTRY_POINT(js_seal_data_key);
/* async.c */
ENTRY_POINT(js_seal_async);
ENTRY_POINT(js_open_async);
/* wrap.c */
ENTRY_POINT(js_wrap_key);
ENTRY_POINT(js_unwrap_key);
/* channel.c */
ENTRY_POINT(js_open_key_channel);
ENTRY_POINT(js_close_key_channel);
ENTRY_POINT(js_send_key);
ENTRY_POINT(js_receive_key);
/* process.c, peer.c */
ENTRY_POINT(js_cleanse);
ENTRY_POINT(js_boottime_ms);
ENTRY_POINT(js_harden_process);
ENTRY_POINT(js_limit_process);
ENTRY_POINT(js_end_with_parent);
ENTRY_POINT(js_lock_file);
ENTRY_POINT(js_peer_credentials);

#endif
