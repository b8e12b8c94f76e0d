//! kryoptic as a PKCS#11 library: its crate is a Rust library only, and this gives it the one symbol that a PKCS#11 client looks for.
use std::ffi::{c_ulong, c_void};

#[unsafe(no_mangle)]
pub extern "C" fn C_GetFunctionList(list: *mut c_void) -> c_ulong {
    kryoptic_lib::fns::general::fn_get_function_list(list as _)
}
