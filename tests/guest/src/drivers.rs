// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is used of other drivers: the structures and numbers of their calls,
//! derived from the headers that define them, and the dma-buf heaps.

#![allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals
)]
#![allow(clippy::all, clippy::undocumented_unsafe_blocks)]

include!(concat!(env!("OUT_DIR"), "/drivers.rs"));
