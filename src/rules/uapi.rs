// SPDX-License-Identifier: GPL-2.0

//! The ABI, generated from `include/uapi/shmbuf.h`.

#![allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    unreachable_pub,
    clippy::all,
    reason = "generated from a C header"
)]

use kernel::{
    ffi,
    prelude::*, //
};
use zerocopy_derive::Immutable;

include!(concat!(env!("SHMBUF_GENERATED"), "/uapi.rs"));
