// SPDX-License-Identifier: GPL-2.0

//! A copy from one buffer to another.

use super::engine::Engine;
use crate::{
    buffer::{
        object::Buffer,
        transfer::InFlight, //
    },
    rules::{
        machine::Caches,
        range::Range, //
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

/// A range of a buffer that takes part in a copy.
struct Side {
    in_flight: InFlight<Arc<Buffer>>,
    range: Range,
    backing: Backing,
}

impl Side {
    /// # Errors
    ///
    /// - [`EBUSY`] if a device owns the buffer;
    /// - [`EOPNOTSUPP`] if devices do not reach it;
    /// - [`ERESTARTSYS`] if a signal came while waiting for a SYNC.
    fn new(buffer: Arc<Buffer>, range: Range) -> Result<Self> {
        let in_flight = InFlight::begin(buffer)?;
        let backing = in_flight.storage().backing().ok_or(EOPNOTSUPP)?;
        Ok(Self {
            in_flight,
            range,
            backing,
        })
    }

    fn buffer(&self) -> &Arc<Buffer> {
        self.in_flight.buffer()
    }

    /// Whether lines of the buffer can be in a cache that the engine does not see.
    fn is_maintained(&self) -> bool {
        let snoops = self.buffer().machine().caches == Caches::Snooping;
        self.in_flight.storage().policy().is_cached() && !snoops
    }

    fn map(
        &self,
        channel: &Channel,
        direction: DataDirection,
        range: Range,
    ) -> Result<DeviceMapping> {
        let pages = range.enclosing(PAGE_SIZE, self.buffer().size());
        DeviceMapping::new(channel.device(), self.backing.clone(), pages, direction)
    }
}

/// A copy that has begun: neither buffer goes to a device while it lives.
pub(crate) struct Copy {
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
    /// - [`EBUSY`] if a device owns one of them;
    /// - [`ERESTARTSYS`] if a signal came while waiting for a SYNC;
    /// - those of [`Buffer::transfer`].
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
        let (from, to) = (Side::new(from.0, from.1)?, Side::new(to.0, to.1)?);
        let whole = match to.is_maintained() {
            true => to.range.enclosed(cpu::cache_line()),
            false => Some(to.range),
        };
        let copy = Self { from, to, whole };
        for side in [&copy.from, &copy.to] {
            side.buffer()
                .flush_mappings(side.in_flight.storage().policy(), side.range);
        }
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
            self.from
                .buffer()
                .transfer(source, &mut Bounce::to(bytes))?;
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
