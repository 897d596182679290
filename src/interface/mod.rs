// SPDX-License-Identifier: GPL-2.0

//! How a buffer is had and seen: the ways to make one, the ways to open one, and
//! what programs and root are told.

pub(crate) mod configfs;
mod debugfs;
pub(crate) mod devicetree;
mod dmabuf;
pub(crate) mod driver;
mod handle;
mod imported;
mod ioctl;
pub(crate) mod named;
pub(crate) mod params;
mod private;
mod request;
