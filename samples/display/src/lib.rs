// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's display, whose driver imports frames as dma-bufs.

mod card;

pub use card::{Card, Framebuffer, Screen};
