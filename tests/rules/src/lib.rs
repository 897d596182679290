// SPDX-License-Identifier: GPL-2.0
//! The driver's own files of src/rules, on the host: `cargo test` runs their KUnit tests, and the
//! properties here.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the driver uses what nothing uses here"
)]

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod properties;
#[path = "../../../src/rules/mod.rs"]
mod rules;

/// The errors, which the kernel crate has by these names from Linux 7.3 on.
mod sys {
    pub(crate) mod errno {
        pub(crate) use kernel::error::code::*;
    }
}
