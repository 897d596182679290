// SPDX-License-Identifier: GPL-2.0

//! The name of a buffer: its node, and its folder in debugfs.

use crate::{
    buffer::Buffer,
    debugfs,
    device::{
        Handle,
        Opened, //
    },
    sys::node::Node, //
};
use kernel::{
    debugfs::{
        Dir,
        Scope, //
    },
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// A buffer that can be opened by name. Dropping this takes the name away and nothing else: open
/// handles, mappings and dma-bufs keep the buffer.
#[pin_data]
pub(crate) struct Named {
    #[pin]
    node: Node<Handle>,
    #[pin]
    debugfs: Scope<Arc<Buffer>>,
}

impl Named {
    /// Makes /dev/shmbuf-NAME, or /dev/shmbuf for a buffer without a name, for root alone, and the
    /// folder NAME or `default` in `parent`. May sleep.
    ///
    /// # Errors
    ///
    /// [`EEXIST`] if another buffer has the name, [`EBUSY`] if there is no minor number left,
    /// [`ENOMEM`].
    pub(crate) fn new(parent: &Dir, opened: Opened) -> Result<Pin<KBox<Self>>> {
        let buffer = opened.buffer.clone();
        let folder = buffer.name().unwrap_or(c"default");
        let node_name = node_name(&buffer)?;
        let shown = buffer.clone();
        KBox::try_pin_init(
            try_pin_init!(Self {
                node <- Node::new(node_name, 0o600, opened),
                debugfs <- debugfs::folder(parent, folder, shown),
            }),
            GFP_KERNEL,
        )
    }
}

fn node_name(buffer: &Buffer) -> Result<CString> {
    match buffer.name() {
        Some(name) => CString::try_from_fmt(fmt!("shmbuf-{name}")),
        None => CString::try_from_fmt(fmt!("shmbuf")),
    }
}
