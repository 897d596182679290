// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moves of more than a word by as few instructions as the processor has for it. In memory that is
//! not cached each load is a transaction on the bus, however much it loads.

/// What one access moves: so much is possible in memory of any type.
pub type Word = usize;

/// The bytes of a [`Word`].
pub const WORD: usize = size_of::<Word>();

/// The bytes of a [`Burst`].
pub const BURST: usize = 32;

/// What is moved at once.
pub type Burst = [Word; BURST / WORD];

/// Moves a burst by aligned accesses, each of which is made once.
///
/// # Safety
///
/// As of `to.write_volatile(from.read_volatile())`.
#[cfg(target_arch = "arm")]
pub unsafe fn move_burst(to: *mut Burst, from: *const Burst) {
    // SAFETY: the caller has promised it; the compiler reserves none of these registers.
    unsafe {
        std::arch::asm!(
            "ldmia {from}, {{r2-r5, r8, r10, r12, lr}}",
            "stmia {to}, {{r2-r5, r8, r10, r12, lr}}",
            from = in(reg) from,
            to = in(reg) to,
            out("r2") _, out("r3") _, out("r4") _, out("r5") _,
            out("r8") _, out("r10") _, out("r12") _, out("lr") _,
            options(nostack, preserves_flags),
        );
    }
}

/// Moves a burst by aligned accesses, each of which is made once.
///
/// # Safety
///
/// As of `to.write_volatile(from.read_volatile())`.
#[cfg(target_arch = "aarch64")]
pub unsafe fn move_burst(to: *mut Burst, from: *const Burst) {
    // SAFETY: the caller has promised it.
    unsafe {
        std::arch::asm!(
            "ldp {a}, {b}, [{from}]",
            "ldp {c}, {d}, [{from}, #16]",
            "stp {a}, {b}, [{to}]",
            "stp {c}, {d}, [{to}, #16]",
            from = in(reg) from,
            to = in(reg) to,
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Moves a burst by aligned accesses, each of which is made once.
///
/// # Safety
///
/// As of `to.write_volatile(from.read_volatile())`.
#[cfg(not(any(target_arch = "arm", target_arch = "aarch64")))]
pub unsafe fn move_burst(to: *mut Burst, from: *const Burst) {
    for i in 0..BURST / WORD {
        // SAFETY: the caller has promised it.
        unsafe {
            let word = from.cast::<Word>().add(i).read_volatile();
            to.cast::<Word>().add(i).write_volatile(word);
        }
    }
}
