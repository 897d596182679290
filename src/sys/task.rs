// SPDX-License-Identifier: GPL-2.0

//! What the running task owes to others while it works on what a program made large.

use super::ffi;
use crate::rules::range::Range;
use kernel::prelude::*;

/// How many bytes are worked on at once: a millisecond where caches and memory are slow. A read(2)
/// of so many takes 120 k instructions on an ARM926, which maintains each line three times.
pub(crate) const STRETCH: usize = 128 << 10;

/// Lets other tasks run, if it is their turn: for loops whose length a program chooses, and that have
/// to come to their end. May sleep.
pub(crate) fn cond_resched() {
    // SAFETY: We may sleep.
    unsafe { ffi::shmbuf_cond_resched() };
}

/// [`cond_resched`], for what can be left where it is when the process was killed.
///
/// # Errors
///
/// [`EINTR`] if it was; no program sees it.
pub(crate) fn go_on() -> Result {
    cond_resched();
    // SAFETY: The function has no requirements.
    match unsafe { ffi::shmbuf_fatal_signal_pending() } {
        true => Err(EINTR),
        false => Ok(()),
    }
}

/// Whether a signal came. Work that the kernel has for the task is none: a call that io_uring makes
/// is not made again because of that, but fails.
pub(crate) fn is_signalled() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { ffi::shmbuf_sigpending() }
}

/// Calls `f` with one [`STRETCH`] of `range` after the other, as long as the process lives: what is in
/// one, as most is, is done. May sleep.
///
/// # Errors
///
/// Those of `f`, and of [`go_on`].
pub(crate) fn in_stretches(range: Range, mut f: impl FnMut(Range) -> Result) -> Result {
    range.pieces(STRETCH).try_for_each(|stretch| {
        if stretch.start() > range.start() {
            go_on()?;
        }
        f(stretch)
    })
}
