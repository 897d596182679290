// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patterns in which every word tells where it belongs, and a transfer that writes
//! one through one side of a buffer and verifies it through another: a mapping,
//! read(2) and write(2), a DMA engine.

mod pattern;
mod transfer;

pub use pattern::{mix, pieces, Check, Pattern};
pub use transfer::{transfer, Finding, Side};
