// SPDX-License-Identifier: GPL-2.0

//! An open file on a buffer, and its file operations. The ioctls are in
//! `ioctl.rs`.

use super::private::Private;
use crate::{
    buffer::object::Buffer,
    copy::{
        background::Background,
        engine::Engine, //
    },
    rules::failure::Failure,
    sys::{
        address_space::AddressSpace,
        cpu,
        node::{
            NodeOperations,
            Ready, //
        },
        poll_queue::PollQueue,
        rights::Rights,
        transfer::Settle,
        vma::NewVma,
        wait_queue::Patience, //
    },
};
use kernel::{
    bindings,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollCondVar,
        Arc, //
    },
};

/// What the node of a buffer gives access to.
#[derive(Clone)]
pub(crate) struct Opened {
    /// The buffer.
    pub(crate) buffer: Arc<Buffer>,
    /// Where private buffers come from.
    pub(crate) private: Arc<Private>,
    /// The DMA engine that copies between buffers.
    pub(crate) engine: Arc<Engine>,
}

/// An open file on a buffer.
#[pin_data(PinnedDrop)]
pub(crate) struct Handle {
    pub(super) opened: Opened,
    #[pin]
    pub(super) background: Background,
    pub(super) rights: Rights,
    /// The buffer's count of returns when what is lent was last looked for.
    pub(super) seen: Atomic<u64>,
}

#[pinned_drop]
impl PinnedDrop for Handle {
    fn drop(self: Pin<&mut Self>) {
        self.background.stop();
    }
}

impl NodeOperations for Handle {
    type Data = Opened;

    fn open(opened: &Opened, flags: u32) -> Result<Pin<KBox<Self>>> {
        Self::new(opened.clone(), Rights::of(flags))
    }

    fn address_space(&self) -> Arc<AddressSpace> {
        self.buffer().address_space().clone()
    }

    fn size(&self) -> usize {
        self.buffer().size()
    }

    fn phys(&self) -> bindings::phys_addr_t {
        self.buffer().phys()
    }

    fn read(&self, position: u64, iter: &mut IovIterDest<'_>, patience: Patience) -> Result<usize> {
        self.note(self.buffer().read(position, iter, patience))
    }

    fn write(
        &self,
        position: u64,
        iter: &mut IovIterSource<'_>,
        settle: Settle,
        patience: Patience,
    ) -> Result<usize> {
        self.note(self.buffer().write(position, iter, settle, patience))
    }

    fn fsync(&self, first: u64, last: u64) -> Result {
        self.note(self.buffer().bring_to_memory(first, last))
    }

    fn mmap(&self, vma: NewVma<'_>, synchronous: bool) -> Result {
        let mapped = self.buffer().mmap(vma, synchronous);
        self.note(mapped.map_err(|failure| logged("mmap", failure)))
    }

    fn ioctl(&self, cmd: u32, arg: usize, patience: Patience) -> Result<isize> {
        self.note(self.dispatch(cmd, arg, patience))
    }

    fn news(&self) -> Arc<PollQueue> {
        self.buffer().news().clone()
    }

    fn poll(&self, register: impl FnOnce(&PollCondVar)) -> Ready {
        register(self.opened.engine.ended());
        Ready {
            transfers: self.background.is_idle(),
            news: self.buffer().returns() != self.seen.load(Relaxed),
        }
    }

    fn show_fdinfo(&self, m: &SeqFile) {
        self.buffer().snapshot().each_line(|name, value| {
            for (n, word) in name.split(' ').enumerate() {
                seq_print!(m, "{}{word}", if n > 0 { "-" } else { "" });
            }
            seq_print!(m, ":\t{value}\n");
        });
    }
}

impl Handle {
    /// A handle of what was `opened`. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn new(opened: Opened, rights: Rights) -> Result<Pin<KBox<Self>>> {
        let handle = pin_init!(Self {
            seen: Atomic::new(opened.buffer.returns()),
            opened,
            background <- Background::new(),
            rights,
        });
        KBox::pin_init(handle, GFP_KERNEL_ACCOUNT)
    }

    /// The buffer that it is open on.
    pub(super) fn buffer(&self) -> &Arc<Buffer> {
        &self.opened.buffer
    }

    fn note<T>(&self, result: Result<T>) -> Result<T> {
        self.buffer().counters().note(result)
    }
}

/// Says in the log what a program can only see as a number.
pub(super) fn logged(call: &str, failure: Failure) -> Error {
    if !matches!(failure, Failure::Other(_)) && cpu::log_allowed() {
        pr_notice!("{call}: {failure}\n");
    }
    failure.into()
}
