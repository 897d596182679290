// SPDX-License-Identifier: GPL-2.0

//! shmbuf: physically contiguous memory shared between a program, the kernel
//! and DMA devices, with the cache attributes that the program chose.
//!
//! Each folder is a floor, and uses only those below it:
//!
//! | floor | what stands there |
//! |---|---|
//! | [`interface`] | how a buffer is had and seen: handle and ioctls, dma-buf, configfs, device tree, parameters, debugfs |
//! | [`copy`] | copies between buffers by a DMA engine |
//! | [`buffer`] | a buffer and its contract: mappings, transfers, SYNC, importers |
//! | [`memory`] | where memory comes from, a file for each kind |
//! | [`sys`] | safe wrappers of what the kernel crate lacks; the only `unsafe` |
//! | [`rules`] | what is allowed and what follows, without kernel objects |

// Addresses on a bus have 32 bits on some kernels, and 64 on others, where a conversion is none.
#![allow(clippy::useless_conversion)]
// In a pattern a constant that the kernel crate does not have is a variable, which all values match.
#![deny(non_snake_case)]

mod buffer;
mod copy;
mod interface;
mod memory;
mod rules;
mod sys;

use buffer::object::Kept;
use interface::{
    configfs::Root,
    devicetree::Bound,
    driver::{
        self,
        Driver, //
    },
    named::Named,
    params, //
};
use kernel::{
    configfs::Subsystem,
    driver::Registration,
    platform,
    prelude::*, //
};
use memory::allocator::Source;
use sys::global;

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
                _global: global::set(driver.clone())?,
                _default: default_buffer(&driver)?,
                _configfs <- Root::new(),
                _devicetree <- Registration::new(c"shmbuf", module),
            }))
        })
    }
}

/// /dev/shmbuf, or the reason in the log.
fn default_buffer(driver: &Driver) -> Result<Pin<KBox<Named>>> {
    let spec = params::given().map_err(|bad| {
        pr_err!("default buffer: {bad}\n");
        Error::from(bad)
    })?;
    let name = params::device().map_err(|bad| {
        pr_err!("default buffer: {bad}\n");
        Error::from(bad)
    })?;
    driver::dma_device(name, None, spec.kind)
        .and_then(|device| driver.publish(None, &spec, device, Source::Allocated, Kept::Nothing))
        .map_err(|failure| {
            pr_err!("default buffer: {failure}\n");
            Error::from(failure)
        })
}
