// SPDX-License-Identifier: GPL-2.0

//! Copies to and from programs that do not fault.

use super::ffi;

/// Runs `f` without page faults: copies to and from user space in it are short where a page is not
/// there.
pub(crate) fn without_faults<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: Ended below.
    unsafe { ffi::shmbuf_pagefault_disable() };
    let result = f();
    // SAFETY: Begun above.
    unsafe { ffi::shmbuf_pagefault_enable() };
    result
}

/// [`without_faults`], and without preemption: where there is one CPU no other program runs
/// meanwhile. `f` must not sleep, as under a spin lock.
pub(crate) fn alone_without_faults<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: Ended below.
    unsafe { ffi::shmbuf_atomic_begin() };
    let result = f();
    // SAFETY: Begun above.
    unsafe { ffi::shmbuf_atomic_end() };
    result
}
