// SPDX-License-Identifier: GPL-2.0

//! shmbuf: physically contiguous memory shared between a program, the kernel
//! and DMA devices, with the cache attributes that the program chose.
//!
//! `params` understands the module's parameters, `device` the calls of a
//! program; `buffer` is a memory object and its contract; `kind` where its
//! memory comes from; `cache`, `ownership` and `range` are the rules, without
//! kernel types; `sys` is the only `unsafe`.

mod buffer;
mod cache;
mod debugfs;
mod device;
mod kind;
mod ownership;
mod params;
mod range;
mod sys;
mod uapi;

use buffer::Buffer;
use device::Handle;
use kernel::{
    debugfs::{
        Dir,
        Scope, //
    },
    prelude::*,
    sync::Arc, //
};
use params::Params;
use sys::{
    dma::DmaDevice,
    node::Node, //
};

module! {
    type: Shmbuf,
    name: "shmbuf",
    authors: ["The shmbuf authors"],
    description: "Shared contiguous memory with honest cache attributes",
    license: "GPL v2",
}

#[pin_data]
struct Shmbuf {
    // First the names go, then the memory.
    #[pin]
    _node: Node<Handle>,
    #[pin]
    _debugfs: Scope<Arc<Buffer>>,
}

impl kernel::InPlaceModule for Shmbuf {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let debugfs = Dir::new(c"shmbuf");
        try_pin_init!(Self {
            _debugfs <- debugfs::folder(&debugfs, c"default", default_buffer()?),
            _node <- Node::new(c"shmbuf", 0o600, _debugfs.clone()),
        })
    }
}

/// The buffer of /dev/shmbuf, or the reason in the log.
fn default_buffer() -> Result<Arc<Buffer>> {
    let params = Params::given().map_err(|invalid| {
        pr_err!("{invalid}\n");
        EINVAL
    })?;
    let machine = sys::cpu::machine();
    let policy = params
        .policy
        .unwrap_or_else(|| machine.default_policy(params.kind));
    let device = DmaDevice::new(c"shmbuf")?;
    let buffer =
        Buffer::new(&device, machine, params.kind, params.size, policy).map_err(|failure| {
            pr_err!("default buffer: {failure}\n");
            Error::from(failure)
        })?;
    pr_info!(
        "default buffer: {} bytes of kind {}, {policy}\n",
        params.size,
        params.kind
    );
    Ok(buffer)
}
