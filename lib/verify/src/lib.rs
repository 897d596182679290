// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patterns that tell where they belong, and their way from one side of a
//! buffer to the other.

mod pattern;
mod transfer;

pub use pattern::{mix, pieces, Check, Pattern};
pub use transfer::{transfer, Finding, Side};
