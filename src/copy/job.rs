// SPDX-License-Identifier: GPL-2.0

//! A copy from one buffer to another.

use super::engine::Engine;
use crate::{
    buffer::{
        locked::Locked,
        object::Buffer, //
    },
    memory::storage::Storage,
    rules::{
        machine::Caches,
        range::Range,
        range_lock::{
            Mode,
            Request, //
        }, //
    },
    sys::{
        cpu,
        dma_engine::{
            Channel,
            Progress, //
        },
        dma_mapping::{
            Backing,
            DeviceMapping, //
        },
        transfer::Bounce,
    },
};
use core::cmp::min;
use kernel::{
    bindings,
    dma::DataDirection,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc,
    time::Jiffies, //
};

/// What a copy has locked.
enum Both {
    /// Two ranges of one buffer.
    One(Locked<Arc<Buffer>>),
    /// A range of each of two.
    Two(Locked<Arc<Buffer>>, Locked<Arc<Buffer>>),
}

/// A range of a buffer that takes part in a copy, and is locked for it.
struct Side {
    buffer: Arc<Buffer>,
    storage: Arc<Storage>,
    range: Range,
    backing: Backing,
}

impl Both {
    /// Waits until the first range can be read and the second written.
    ///
    /// Two buffers are locked one after the other, in an order that all copies have, and the ranges of
    /// one buffer at once: so no copies wait for each other.
    ///
    /// # Errors
    ///
    /// Those of [`Locked::wait_for_cpus`].
    fn lock(from: &(Arc<Buffer>, Range), to: &(Arc<Buffer>, Range)) -> Result<Self> {
        let read = Request::exact(from.1, Mode::Shared);
        let write = Request::exact(to.1, Mode::Exclusive);
        if Arc::ptr_eq(&from.0, &to.0) {
            let both = Locked::wait_for_cpus(from.0.clone(), &[read, write])?;
            return Ok(Self::One(both));
        }
        let mut sides = [(&from.0, read), (&to.0, write)];
        if Arc::as_ptr(sides[0].0) > Arc::as_ptr(sides[1].0) {
            sides.reverse();
        }
        let [first, second] = sides.map(|(buffer, request)| (buffer.clone(), request));
        Ok(Self::Two(
            Locked::wait_for_cpus(first.0, &[first.1])?,
            Locked::wait_for_cpus(second.0, &[second.1])?,
        ))
    }

    /// What is locked of the buffer `from`, and of the other.
    fn sides(&self, from: &Arc<Buffer>) -> (&Locked<Arc<Buffer>>, &Locked<Arc<Buffer>>) {
        match self {
            Self::One(both) => (both, both),
            Self::Two(first, second) if Arc::ptr_eq(first.buffer(), from) => (first, second),
            Self::Two(first, second) => (second, first),
        }
    }
}

impl Side {
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if devices do not reach the buffer.
    fn new(locked: &Locked<Arc<Buffer>>, range: Range) -> Result<Self> {
        let storage = locked.storage();
        Ok(Self {
            buffer: locked.buffer().clone(),
            storage: storage.clone(),
            range,
            backing: storage.backing().ok_or(EOPNOTSUPP)?,
        })
    }

    /// Whether lines of the buffer can be in a cache that the engine does not see.
    fn is_maintained(&self) -> bool {
        let snoops = self.buffer.machine().caches == Caches::Snooping;
        self.storage.policy().is_cached() && !snoops
    }

    /// Maps the pages of `range` for the engine. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EIO`] if the engine cannot address them, or the kernel would copy for it (swiotlb) by cache
    ///   lines that the buffer must not have;
    /// - [`ENOMEM`].
    fn map(
        &self,
        channel: &Channel,
        direction: DataDirection,
        range: Range,
    ) -> Result<DeviceMapping> {
        let pages = range.enclosing(PAGE_SIZE, self.buffer.size());
        let mapping = DeviceMapping::new(channel.device(), self.backing.clone(), pages, direction)?;
        let snoops = self.buffer.machine().caches == Caches::Snooping;
        if mapping.bounces() && !snoops && !self.storage.policy().is_cached() {
            return Err(EIO);
        }
        Ok(mapping)
    }

    /// Whether what is mapped has to be synced for the engine: for the caches, or as the kernel copies
    /// for it.
    fn is_synced(&self, mapping: &DeviceMapping) -> bool {
        self.is_maintained() || mapping.bounces()
    }
}

/// A copy that has begun: neither range goes to a device while it lives, and nobody writes to them or
/// reads the second.
pub(crate) struct Copy {
    _both: Both,
    from: Side,
    to: Side,
    /// What of the second range the engine copies. It gets whole lines: of the others, some bytes
    /// are somebody else's.
    whole: Option<Range>,
}

impl Copy {
    /// From a range of a buffer to one of another, or of the same, of the same length. Copies what
    /// the engine does not, and brings to memory what the calling process wrote. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if no engine copies memory, or devices do not reach one of the buffers;
    /// - [`EINVAL`] if the ranges overlap;
    /// - [`EACCES`] if devices only read the second buffer;
    /// - [`EBUSY`] if a device was lent some of them;
    /// - [`ERESTARTSYS`] if a signal came while waiting for who uses some of them;
    /// - those of [`Buffer::copy_locked`].
    pub(crate) fn begin(
        engine: &Engine,
        from: (Arc<Buffer>, Range),
        to: (Arc<Buffer>, Range),
    ) -> Result<Self> {
        engine.device().ok_or(EOPNOTSUPP)?;
        if Arc::ptr_eq(&from.0, &to.0) && from.1.intersect(to.1).is_some() {
            return Err(EINVAL);
        }
        if !to.0.is_written_by_devices() {
            return Err(EACCES);
        }
        for (buffer, range) in [&from, &to] {
            buffer.flush_mappings(*range);
        }
        let both = Both::lock(&from, &to)?;
        let (locked_from, locked_to) = both.sides(&from.0);
        let (from, to) = (Side::new(locked_from, from.1)?, Side::new(locked_to, to.1)?);
        let whole = match to.is_maintained() {
            true => to.range.enclosed(cpu::cache_line()),
            false => Some(to.range),
        };
        let copy = Self {
            _both: both,
            from,
            to,
            whole,
        };
        copy.edges()
            .into_iter()
            .flatten()
            .try_for_each(|edge| copy.by_cpu(edge))?;
        // Another CPU may start the engine.
        cpu::drain_write_buffer();
        Ok(copy)
    }

    /// Does the rest, in at most `patience` of the engine. Any process. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::with`] and [`Channel::copy`]; [`ENOMEM`].
    pub(crate) fn run(&self, engine: &Engine, progress: &Progress, patience: Jiffies) -> Result {
        match self.whole {
            Some(whole) => engine.with(progress, |channel| {
                self.by_engine(channel, whole, progress, patience)
            })?,
            None => Ok(()),
        }
    }

    /// The parts of the target that the CPU copies, as the engine gets whole lines.
    fn edges(&self) -> [Option<Range>; 2] {
        match self.whole {
            Some(whole) => [self.to.range.before(whole), self.to.range.behind(whole)],
            None => [Some(self.to.range), None],
        }
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
            let (from, to) = (&self.from, &self.to);
            from.buffer
                .copy_locked(&from.storage, source, &mut Bounce::to(bytes))?;
            to.buffer
                .copy_locked(&to.storage, piece, &mut Bounce::from(bytes))?;
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
        let (from, to) = if Arc::ptr_eq(&self.from.buffer, &self.to.buffer) {
            let both = self
                .to
                .map(channel, DataDirection::Bidirectional, whole.hull(source))?;
            let both = Arc::new(both, GFP_KERNEL)?;
            (both.clone(), both)
        } else {
            let from = self.from.map(channel, DataDirection::ToDevice, source)?;
            let to = self.to.map(channel, DataDirection::FromDevice, whole)?;
            (Arc::new(from, GFP_KERNEL)?, Arc::new(to, GFP_KERNEL)?)
        };
        let (sources, targets) = (from.segments(source)?, to.segments(whole)?);
        if self.from.is_synced(&from) {
            from.sync_for_device(source);
        }
        if self.to.is_synced(&to) {
            to.sync_for_device(whole);
        }
        cpu::drain_write_buffer();
        let copied = Pairs::new(&sources, &targets).try_for_each(|(from, to, len)| {
            patience = channel.copy(from, to, len, progress, patience)?;
            Ok(())
        });
        if self.from.is_synced(&from) {
            from.sync_for_cpu(source);
        }
        if self.to.is_synced(&to) {
            to.sync_for_cpu(whole);
        }
        copied
    }
}

/// Addresses and lengths in two lists of segments that are as long as each other.
struct Pairs<'a> {
    from: &'a [Segment],
    to: &'a [Segment],
    /// How much of the first segment of each list has been taken.
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
