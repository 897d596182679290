// SPDX-License-Identifier: GPL-2.0

//! Small safe wrappers over what the kernel crate does not have yet. The only
//! `unsafe` of this driver is here.

pub(crate) mod address_space;
pub(crate) mod cache_mode;
pub(crate) mod compat;
pub(crate) mod configfs;
pub(crate) mod cpu;
pub(crate) mod credentials;
pub(crate) mod dma_attachment;
pub(crate) mod dma_buf;
pub(crate) mod dma_buf_import;
pub(crate) mod dma_coherent;
pub(crate) mod dma_device;
pub(crate) mod dma_engine;
pub(crate) mod dma_fence;
pub(crate) mod dma_mapping;
pub(crate) mod dma_pool;
pub(crate) mod errno;
pub(crate) mod eventfd;
mod ffi;
pub(crate) mod global;
pub(crate) mod io_region;
pub(crate) mod kernel_view;
mod mapped_memory;
pub(crate) mod node;
pub(crate) mod pages;
pub(crate) mod params;
pub(crate) mod poll_queue;
pub(crate) mod reserved_memory;
pub(crate) mod rights;
pub(crate) mod span;
mod stay;
pub(crate) mod task;
pub(crate) mod transfer;
pub(crate) mod user;
pub(crate) mod vma;
pub(crate) mod vmap;
pub(crate) mod wait_queue;
pub(crate) mod work;

use kernel::{
    str::CStr,
    ModuleMetadata, //
};

/// The name of the module, for what the kernel shows of ours.
const NAME: &CStr = <crate::LocalModule as ModuleMetadata>::NAME;
