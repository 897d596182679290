// SPDX-License-Identifier: GPL-2.0

//! Module parameters that `module!` does not have: strings and sizes. They are
//! in `params.c`; all but the limits are read-only in sysfs.

use super::ffi;
use kernel::prelude::*;

/// # Safety
///
/// `param` must be a NUL-terminated string that lives as long as the module.
unsafe fn bytes(param: *const u8) -> &'static [u8] {
    // SAFETY: By this function's contract.
    unsafe { CStr::from_char_ptr(param) }.to_bytes()
}

/// Size of the default buffer, as given.
pub(crate) fn size() -> &'static [u8] {
    // SAFETY: A charp parameter is such a string.
    unsafe { bytes(ffi::shmbuf_param_size()) }
}

/// Kind of the default buffer, as given.
pub(crate) fn kind() -> &'static [u8] {
    // SAFETY: A charp parameter is such a string.
    unsafe { bytes(ffi::shmbuf_param_kind()) }
}

/// Cache policy of the default buffer, as given.
pub(crate) fn policy() -> &'static [u8] {
    // SAFETY: A charp parameter is such a string.
    unsafe { bytes(ffi::shmbuf_param_policy()) }
}

/// How user mappings of the default buffer are made, as given.
pub(crate) fn mapping() -> &'static [u8] {
    // SAFETY: A charp parameter is such a string.
    unsafe { bytes(ffi::shmbuf_param_mapping()) }
}

/// Name of the DMA engine that copies, as given; empty for any.
pub(crate) fn engine() -> &'static CStr {
    // SAFETY: A charp parameter is a NUL-terminated string that lives as long as the module.
    unsafe { CStr::from_char_ptr(ffi::shmbuf_param_engine()) }
}

/// Name of the device that the default buffer is for, as given.
pub(crate) fn device() -> &'static CStr {
    // SAFETY: A charp parameter is a NUL-terminated string that lives as long as the module.
    unsafe { CStr::from_char_ptr(ffi::shmbuf_param_device()) }
}

/// Bytes that all private buffers together may have. It can change at any time.
pub(crate) fn limit() -> usize {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_param_limit() }
}

/// Percent of the limit that one user's private buffers may have, at most 100. It can change at any
/// time.
pub(crate) fn user_share() -> u32 {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_param_user_share() }
}

/// Whether non-cached pages with a cacheable kernel alias are accepted.
pub(crate) fn accept_alias() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_param_accept_alias() }
}
