// SPDX-License-Identifier: GPL-2.0

//! Copies between buffers, by a DMA engine.
//!
//! To the buffers a copy is what read(2) and write(2) are: an access of the CPU,
//! which the engine makes for it. So it needs the CPU to own them, SYNC and
//! SET_CACHE wait until it has ended, and the owner is the same afterwards.

pub(crate) mod background;
pub(crate) mod begun;
pub(crate) mod engine;
pub(crate) mod job;
