// SPDX-License-Identifier: GPL-2.0

//! What is allowed and what follows from it, without any kernel object: the
//! words of the uAPI, the table of policies and machines, what a buffer shall be,
//! who owns which bytes and who may use them at the same time, and every reason
//! for which it cannot be had.
//!
//! Each file has its KUnit tests at its end.

#[macro_use]
mod uapi_enum;

pub(crate) mod access;
pub(crate) mod block;
pub(crate) mod counts;
pub(crate) mod decimal;
pub(crate) mod direction;
pub(crate) mod failure;
pub(crate) mod kind;
pub(crate) mod line_set;
pub(crate) mod machine;
pub(crate) mod mapping;
pub(crate) mod name;
pub(crate) mod ownership;
pub(crate) mod pairs;
pub(crate) mod policy;
pub(crate) mod range;
pub(crate) mod range_lock;
pub(crate) mod room;
pub(crate) mod setting;
pub(crate) mod size;
pub(crate) mod spec;
pub(crate) mod uapi;
