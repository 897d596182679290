// SPDX-License-Identifier: GPL-2.0

//! Copies between buffers, by a DMA engine.
//!
//! To the buffers a copy is what read(2) and write(2) are: an access of the CPU,
//! which the engine makes for it. So it needs the CPU to own them, SYNC and
//! SET_CACHE wait until it has ended, and the owner is the same afterwards.

use crate::{
    buffer::{
        Buffer,
        Io, //
    },
    cache::Caches,
    range::Range,
    sys::{
        cpu,
        dma::{
            Backing,
            DeviceMapping, //
        },
        dma_engine::{
            Channel,
            Progress, //
        },
        transfer::Bounce,
    },
};
use core::cmp::min;
use kernel::{
    bindings,
    dma::DataDirection,
    new_condvar, new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        CondVar,
        Mutex, //
    },
    time::Jiffies, //
};

/// The DMA engine of this machine: one channel of it, for one copy at a time.
#[pin_data]
pub(crate) struct Engine {
    #[pin]
    channel: Mutex<Slot>,
    /// Woken when the channel is put back.
    #[pin]
    free: CondVar,
}

/// Where the channel is.
enum Slot {
    /// Nobody has asked for it yet, or there was none.
    Unknown,
    Free(Channel),
    InUse,
}

impl Engine {
    /// No engine is looked for yet.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                channel <- new_mutex!(Slot::Unknown, "shmbuf::engine"),
                free <- new_condvar!("shmbuf::engine"),
            }),
            GFP_KERNEL,
        )
    }

    /// The name of its device, if there is one. From then on the channel is ours. Waits for copies
    /// of others; may sleep.
    pub(crate) fn name(&self) -> Option<CString> {
        self.with(|channel| CString::try_from_fmt(fmt!("{}", channel.device().name())))
            .ok()?
            .ok()
    }

    /// Calls `f` with the channel, while nobody else has it. Waits for copies of others.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if no engine copies memory; [`EINTR`] if a signal came.
    fn with<R>(&self, f: impl FnOnce(&mut Channel) -> R) -> Result<R> {
        let mut channel = self.take()?;
        let result = f(&mut channel);
        *self.channel.lock() = Slot::Free(channel);
        self.free.notify_one();
        Ok(result)
    }

    fn take(&self) -> Result<Channel> {
        let mut slot = self.channel.lock();
        loop {
            match core::mem::replace(&mut *slot, Slot::InUse) {
                Slot::Free(channel) => return Ok(channel),
                Slot::Unknown => {
                    return Channel::request().ok_or_else(|| {
                        *slot = Slot::Unknown;
                        EOPNOTSUPP
                    })
                }
                Slot::InUse => {
                    if self.free.wait_interruptible(&mut slot) {
                        return Err(EINTR);
                    }
                }
            }
        }
    }
}

/// A range of a buffer that takes part in a copy.
struct Side {
    io: Io<Arc<Buffer>>,
    range: Range,
    backing: Backing,
}

impl Side {
    /// # Errors
    ///
    /// - [`EBUSY`] if a device owns the buffer;
    /// - [`EOPNOTSUPP`] if devices do not reach it;
    /// - [`EINTR`] if a signal came while waiting for a SYNC.
    fn new(buffer: Arc<Buffer>, range: Range) -> Result<Self> {
        let io = Io::begin(buffer)?;
        let backing = io.storage().backing().ok_or(EOPNOTSUPP)?;
        Ok(Self { io, range, backing })
    }

    fn buffer(&self) -> &Arc<Buffer> {
        self.io.buffer()
    }

    /// Whether there are lines of it in a cache that the engine does not see.
    fn is_maintained(&self) -> bool {
        let snoops = self.buffer().machine().caches == Caches::Snooping;
        self.io.storage().policy().is_cached() && !snoops
    }

    fn map(&self, channel: &Channel, direction: DataDirection, range: Range) -> Result<DeviceMapping> {
        let pages = range.enclosing(PAGE_SIZE, self.buffer().size());
        DeviceMapping::new(channel.device(), self.backing.clone(), pages, direction)
    }
}

/// A copy that has begun: neither buffer goes to a device while it lives.
pub(crate) struct Copy {
    from: Side,
    to: Side,
}

impl Copy {
    /// From a range of a buffer to one of another, or of the same, of the same length.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if the ranges overlap;
    /// - [`EACCES`] if devices only read the second buffer;
    /// - [`EBUSY`] if a device owns one of them;
    /// - [`EOPNOTSUPP`] if devices do not reach one of them;
    /// - [`EINTR`] if a signal came while waiting for a SYNC.
    pub(crate) fn new(from: (Arc<Buffer>, Range), to: (Arc<Buffer>, Range)) -> Result<Self> {
        if Arc::ptr_eq(&from.0, &to.0) && from.1.intersect(to.1).is_some() {
            return Err(EINVAL);
        }
        if !to.0.is_written_by_devices() {
            return Err(EACCES);
        }
        Ok(Self {
            from: Side::new(from.0, from.1)?,
            to: Side::new(to.0, to.1)?,
        })
    }

    /// Does it, in at most `patience` of the engine. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::with`], [`Channel::copy`] and [`Buffer::transfer`]; [`ENOMEM`].
    pub(crate) fn run(&self, engine: &Engine, progress: &Progress, patience: Jiffies) -> Result {
        // The engine gets whole lines: of the others, some bytes are somebody else's.
        let whole = match self.to.is_maintained() {
            true => self.to.range.enclosed(cpu::cache_line()),
            false => Some(self.to.range),
        };
        let Some(whole) = whole else {
            engine.with(|_| ())?;
            return self.by_cpu(self.to.range);
        };
        for side in [&self.from, &self.to] {
            side.buffer().flush_mappings(side.io.storage().policy(), side.range);
        }
        engine.with(|channel| self.by_engine(channel, whole, progress, patience))??;
        [self.to.range.before(whole), self.to.range.behind(whole)]
            .into_iter()
            .flatten()
            .try_for_each(|edge| self.by_cpu(edge))
    }

    /// Where the bytes of `range` of the second buffer come from.
    fn source(&self, range: Range) -> Range {
        let start = self.from.range.start() + range.start() - self.to.range.start();
        Range::between(start, start + range.len())
    }

    fn by_cpu(&self, range: Range) -> Result {
        const CHUNK: usize = 64;
        for piece in range.pieces(CHUNK) {
            let mut bytes = [0; CHUNK];
            let bytes = &mut bytes[..piece.len()];
            let source = self.source(piece);
            self.from.buffer().transfer(source, &mut Bounce::to(bytes))?;
            self.to.buffer().transfer(piece, &mut Bounce::from(bytes))?;
        }
        Ok(())
    }

    fn by_engine(
        &self,
        channel: &mut Channel,
        whole: Range,
        progress: &Progress,
        mut patience: Jiffies,
    ) -> Result {
        let source = self.source(whole);
        // The DMA API's debugging cannot tell mappings of one page for one device apart.
        let (from, to) = if Arc::ptr_eq(self.from.buffer(), self.to.buffer()) {
            let both = self.to.map(channel, DataDirection::Bidirectional, whole.hull(source))?;
            let both = Arc::new(both, GFP_KERNEL)?;
            (both.clone(), both)
        } else {
            let from = self.from.map(channel, DataDirection::ToDevice, source)?;
            let to = self.to.map(channel, DataDirection::FromDevice, whole)?;
            (Arc::new(from, GFP_KERNEL)?, Arc::new(to, GFP_KERNEL)?)
        };
        let (sources, targets) = (from.segments(source)?, to.segments(whole)?);
        if self.from.is_maintained() {
            from.sync_for_device(source);
        }
        if self.to.is_maintained() {
            to.sync_for_device(whole);
        }
        cpu::drain_write_buffer();
        let copied = Pairs::new(&sources, &targets).try_for_each(|(from, to, len)| {
            patience = channel.copy(from, to, len, progress, patience)?;
            Ok(())
        });
        if self.from.is_maintained() {
            from.sync_for_cpu(source);
        }
        if self.to.is_maintained() {
            to.sync_for_cpu(whole);
        }
        copied
    }
}

/// Addresses and lengths in two lists of segments that are as long as each other.
struct Pairs<'a> {
    from: &'a [Segment],
    to: &'a [Segment],
    /// What has been taken of the first of each.
    done: (usize, usize),
}

type Segment = (bindings::dma_addr_t, usize);

impl<'a> Pairs<'a> {
    fn new(from: &'a [Segment], to: &'a [Segment]) -> Self {
        Self {
            from,
            to,
            done: (0, 0),
        }
    }
}

impl Iterator for Pairs<'_> {
    type Item = (bindings::dma_addr_t, bindings::dma_addr_t, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let (&(from, from_len), &(to, to_len)) = (self.from.first()?, self.to.first()?);
        let (from_done, to_done) = self.done;
        let len = min(from_len - from_done, to_len - to_done);
        let item = (
            from + from_done as bindings::dma_addr_t,
            to + to_done as bindings::dma_addr_t,
            len,
        );
        self.done = (from_done + len, to_done + len);
        if self.done.0 == from_len {
            (self.from, self.done.0) = (&self.from[1..], 0);
        }
        if self.done.1 == to_len {
            (self.to, self.done.1) = (&self.to[1..], 0);
        }
        Some(item)
    }
}

#[kunit_tests(shmbuf_copy)]
mod tests {
    use super::*;

    #[test]
    fn pairs_cover_both_lists() {
        let from = [(0x1000, 3), (0x2000, 5)];
        let to = [(0x8000, 4), (0x9000, 1), (0xa000, 3)];
        let expected = [
            (0x1000, 0x8000, 3),
            (0x2000, 0x8003, 1),
            (0x2001, 0x9000, 1),
            (0x2002, 0xa000, 3),
        ];
        assert!(Pairs::new(&from, &to).eq(expected));
        assert!(Pairs::new(&[], &[]).next().is_none());
    }
}
