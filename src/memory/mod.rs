// SPDX-License-Identifier: GPL-2.0

//! Where the memory of a buffer comes from, a file for each kind, and one
//! [`storage::Storage`] over them. Kinds streaming and scatter are pages with a
//! mapping for a device of the buffer's own.

pub(crate) mod allocator;
mod coherent;
pub(crate) mod limit;
pub(crate) mod machine;
mod pages;
pub(crate) mod pool;
mod region;
pub(crate) mod storage;
mod streaming;
pub(crate) mod window;
