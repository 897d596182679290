// SPDX-License-Identifier: GPL-2.0

//! shmbuf: physically contiguous memory shared between a program, the kernel
//! and DMA devices, with the cache attributes that the program chose.
//!
//! `params` understands the module's parameters, `spec` what a buffer shall be,
//! `device` the calls of a program; `buffer` is a memory object and its contract;
//! `kind` where its memory comes from; `named`, `private` and `dmabuf` are how it
//! can be had; `cache`, `ownership` and `range` are the rules, without kernel
//! types; `sys` is the only `unsafe`.

mod buffer;
mod cache;
mod debugfs;
mod device;
mod dmabuf;
mod kind;
mod named;
mod ownership;
mod params;
mod private;
mod range;
mod spec;
mod sys;
mod uapi;

use buffer::Buffer;
use device::Opened;
use kernel::{
    debugfs::{
        Dir,
        Scope, //
    },
    prelude::*,
    sync::Arc, //
};
use kind::{
    Allocator,
    Pools, //
};
use named::Named;
use private::Private;
use sys::{
    dma::DmaDevice,
    pages::Charge, //
};

module! {
    type: Shmbuf,
    name: "shmbuf",
    authors: ["The shmbuf authors"],
    description: "Shared contiguous memory with honest cache attributes",
    license: "GPL v2",
    imports_ns: ["DMA_BUF"],
}

struct Shmbuf {
    // First the names go, then the memory.
    _default: Pin<KBox<Named>>,
    _private: Pin<KBox<Scope<Arc<Private>>>>,
    _debugfs: Dir,
}

impl kernel::Module for Shmbuf {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let folder = Dir::new(c"shmbuf");
        let opened = default_buffer()?;
        Ok(Self {
            _private: KBox::pin_init(
                debugfs::private_folder(&folder, opened.private.clone()),
                GFP_KERNEL,
            )?,
            _default: Named::new(&folder, opened)?,
            _debugfs: folder,
        })
    }
}

/// What /dev/shmbuf gives access to, or the reason in the log.
fn default_buffer() -> Result<Opened> {
    let spec = params::given().map_err(|invalid| {
        pr_err!("{invalid}\n");
        EINVAL
    })?;
    let allocator = Allocator {
        device: DmaDevice::new(c"shmbuf")?,
        machine: sys::cpu::machine(),
        pools: Pools::new()?,
        charge: Charge::Kernel,
    };
    let buffer = spec
        .check(&allocator.machine)
        .and_then(|spec| {
            let buffer = Buffer::new(allocator.clone(), &spec, None, None)?;
            pr_info!(
                "default buffer: {} bytes of kind {}, {}\n",
                spec.size,
                spec.kind,
                spec.policy
            );
            Ok(buffer)
        })
        .map_err(|failure| {
            pr_err!("default buffer: {failure}\n");
            Error::from(failure)
        })?;
    let private = Private::new(Allocator {
        charge: Charge::Caller,
        ..allocator
    })?;
    Ok(Opened { buffer, private })
}
