// SPDX-License-Identifier: GPL-2.0

//! shmbuf: physically contiguous memory shared between a program, the kernel
//! and DMA devices, with the cache attributes that the program chose.
//!
//! `params` understands the module's parameters, `spec` what a buffer shall be,
//! `device` the calls of a program; `buffer` is a memory object and its contract;
//! `kind` where its memory comes from; `copy` is what a DMA engine does with two; `named` (by `configfs` and `devicetree`),
//! `private` and `dmabuf` are how it can be had; `cache`, `ownership` and `range`
//! are the rules, without kernel types; `sys` is the only `unsafe`.

// Addresses on a bus have 32 bits on some kernels, and 64 on others, where a conversion is none.
#![allow(clippy::useless_conversion)]

#[path = "copy/background.rs"]
mod background;
#[path = "buffer/mod.rs"]
mod buffer;
#[path = "rules/policy.rs"]
mod cache;
#[path = "interface/configfs.rs"]
mod configfs;
#[path = "copy/mod.rs"]
mod copy;
#[path = "interface/debugfs.rs"]
mod debugfs;
#[path = "interface/handle.rs"]
mod device;
#[path = "interface/devicetree.rs"]
mod devicetree;
#[path = "interface/dmabuf.rs"]
mod dmabuf;
#[path = "interface/driver.rs"]
mod driver;
#[path = "memory/storage.rs"]
mod kind;
#[path = "interface/named.rs"]
mod named;
#[path = "rules/ownership.rs"]
mod ownership;
#[path = "interface/params.rs"]
mod params;
#[path = "interface/private.rs"]
mod private;
#[path = "rules/range.rs"]
mod range;
#[path = "rules/spec.rs"]
mod spec;
mod sys;
#[path = "rules/uapi.rs"]
mod uapi;

use buffer::Origin;
use configfs::Root;
use devicetree::Bound;
use driver::Driver;
use kernel::{
    configfs::Subsystem,
    driver::Registration,
    platform,
    prelude::*, //
};
use kind::Memory;
use named::Named;
use sys::{
    dma::DmaDevice,
    global, //
};

module! {
    type: Shmbuf,
    name: "shmbuf",
    authors: ["The shmbuf authors"],
    description: "Shared contiguous memory with honest cache attributes",
    license: "GPL v2",
    imports_ns: ["DMA_BUF"],
}

#[pin_data]
struct Shmbuf {
    // First the names go, then the memory.
    #[pin]
    _devicetree: Registration<platform::Adapter<Bound>>,
    #[pin]
    _configfs: Subsystem<Root>,
    _default: Pin<KBox<Named>>,
    _global: global::Set,
}

impl kernel::InPlaceModule for Shmbuf {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let driver = Driver::new()?;
            Ok(try_pin_init!(Self {
                _global: global::set(driver.clone()),
                _default: default_buffer(&driver)?,
                _configfs <- Root::new(driver),
                _devicetree <- Registration::new(c"shmbuf", module),
            }))
        })
    }
}

/// /dev/shmbuf, or the reason in the log.
fn default_buffer(driver: &Driver) -> Result<Pin<KBox<Named>>> {
    let spec = params::given().map_err(|invalid| {
        pr_err!("{invalid}\n");
        EINVAL
    })?;
    driver
        .publish(
            None,
            &spec,
            DmaDevice::new(None)?,
            Memory::Allocated,
            Origin::Parameters,
        )
        .map_err(|failure| {
            pr_err!("default buffer: {failure}\n");
            Error::from(failure)
        })
}
