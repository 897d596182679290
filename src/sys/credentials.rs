// SPDX-License-Identifier: GPL-2.0

//! Who the running program is.

use super::ffi;
use kernel::{
    bindings,
    prelude::*, //
};

/// The number of the user who runs the program: the real one, as for other limits of a user. A user
/// namespace has as many numbers as it likes, so it is who made the outermost one, for all programs
/// in it.
pub(crate) fn user() -> u32 {
    // SAFETY: We are in process context.
    unsafe { ffi::shmbuf_user() }
}

/// Whether the program may exceed what is meant for one user (CAP_SYS_RESOURCE).
pub(crate) fn may_exceed_shares() -> bool {
    // Who lacks it has done nothing that wants a record.
    // SAFETY: We are in process context, and the capability exists.
    unsafe { ffi::shmbuf_capable_noaudit(bindings::CAP_SYS_RESOURCE as c_int) }
}
