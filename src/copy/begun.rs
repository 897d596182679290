// SPDX-License-Identifier: GPL-2.0

//! A copy from one buffer to another.

use super::engine::{
    Engine,
    Lease, //
};
use crate::{
    buffer::{
        announce::{
            self,
            Announced,
            NotAnnounced,
            Planned, //
        },
        locked::Locked,
        object::Buffer, //
    },
    memory::storage::Storage,
    rules::{
        machine::Caches,
        pairs::Pairs,
        range::Range,
        range_lock::{
            Mode,
            Request, //
        }, //
    },
    sys::{
        cpu,
        dma_engine::Progress,
        dma_fence::{
            Promise,
            Usage, //
        },
        dma_mapping::{
            Backing,
            DeviceMapping,
            Scatterlist,
            Segment, //
        },
        errno::{
            ECANCELED,
            EOPNOTSUPP, //
        },
        transfer::Bounce,
        wait_queue::{
            EndedBy,
            Patience, //
        }, //
    },
};
use kernel::{
    device::Device,
    dma::DataDirection,
    fs::File,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Relaxed,
        Arc, //
    },
    time::Jiffies, //
};

/// What a copy has locked.
pub(super) enum Both {
    /// Two ranges of one buffer.
    One(Locked<Arc<Buffer>>),
    /// A range of each of two.
    Two(Locked<Arc<Buffer>>, Locked<Arc<Buffer>>),
}

/// A range of a buffer that takes part in a copy, and is locked for it.
struct Side {
    // The memory counts until the storage goes, so this is first.
    backing: Backing,
    buffer: Arc<Buffer>,
    storage: Arc<Storage>,
    range: Range,
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

    /// The pages of `range`, to be mapped for `device`. May sleep.
    fn pages(&self, device: &Device, range: Range) -> Result<Scatterlist> {
        let pages = range.enclosing(PAGE_SIZE, self.buffer.size());
        Scatterlist::new(device, self.backing.clone(), pages)
    }

    /// `range`, for the engine.
    fn part(&self, range: Range) -> Part {
        let snoops = self.buffer.machine().caches == Caches::Snooping;
        Part {
            range,
            is_maintained: self.is_maintained(),
            is_cached: snoops || self.storage.policy().is_cached(),
        }
    }
}

/// A copy that has begun: neither range goes to a device while it lives, and nobody writes to them or
/// reads the second.
pub(crate) struct Copy {
    // Goes before what is locked: the memory counts until the storage goes.
    /// What the engine does, before it has.
    transfer: Option<Transfer>,
    promise: Promise,
    _announced: (Announced, Option<Announced>),
    locked: Both,
    lease: Lease,
    /// Where it writes.
    target: (Arc<Buffer>, Range),
}

/// A copy that has begun, and its fence as a file, if that is wanted.
pub(crate) type Begun = (Copy, Option<ARef<File>>);

/// Whether one wants the fence of a copy as a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Nothing,
    SyncFile,
}

/// What the engine copies of it. It is mapped when it has its turn: the DMA API's debugging cannot
/// tell mappings of one page for one device apart.
struct Transfer {
    /// Nothing if the second buffer's pages are those of the first too.
    from: Option<Scatterlist>,
    to: Scatterlist,
    source: Part,
    target: Part,
}

/// A range that the engine reads or writes.
struct Part {
    range: Range,
    /// Whether lines of it can be in a cache that the engine does not see.
    is_maintained: bool,
    /// Whether the CPU uses its caches for it: else the engine may not snoop them, nor may the
    /// kernel copy for the engine, as that is by cache lines.
    is_cached: bool,
}

/// Two ranges, locked, and the part of the second that the engine gets: whole lines, as some bytes of
/// the others are somebody else's.
struct Plan {
    from: Side,
    to: Side,
    whole: Option<Range>,
}

impl Copy {
    /// From a range of a buffer to one of another, or of the same, of the same length. Copies what
    /// the engine does not, and brings to memory what the calling process wrote. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if no engine copies memory, or devices do not reach one of the buffers;
    /// - [`ENODEV`] if the engine's driver is leaving;
    /// - [`EINVAL`] if the ranges overlap;
    /// - [`EACCES`] if devices only read the second buffer;
    /// - [`EBUSY`] if a device was lent some of them;
    /// - [`ERESTARTSYS`] if a signal came while waiting for who uses some of them;
    /// - [`EINTR`] if the process was killed;
    /// - those of [`Buffer::copy_locked`]; [`ENOMEM`].
    pub(crate) fn begin(
        engine: &Engine,
        from: &(Arc<Buffer>, Range),
        to: &(Arc<Buffer>, Range),
        wanted: Wanted,
    ) -> Result<Begun> {
        engine.find()?;
        if Arc::ptr_eq(&from.0, &to.0) && from.1.intersect(to.1).is_some() {
            return Err(EINVAL);
        }
        if !to.0.is_written_by_devices() {
            return Err(EACCES);
        }
        loop {
            match Self::try_begin(engine, from, to, wanted) {
                Ok(begun) => return Ok(begun),
                Err(NotAnnounced::Failed(error)) => return Err(error),
                Err(NotAnnounced::Changed) => {}
                Err(NotAnnounced::Held(reservation)) => reservation.wait_for_holder()?,
            }
        }
    }

    fn try_begin(
        engine: &Engine,
        from: &(Arc<Buffer>, Range),
        to: &(Arc<Buffer>, Range),
        wanted: Wanted,
    ) -> Result<Begun, NotAnnounced> {
        let uses = [(from.1, Usage::Reads), (to.1, Usage::Writes)];
        let patience = Patience::Until(EndedBy::Signal);
        from.0.wait_for_others(from.1, Usage::Reads, patience)?;
        to.0.wait_for_others(to.1, Usage::Writes, patience)?;
        for (buffer, range) in [from, to] {
            buffer.flush_mappings(*range);
        }
        let locked = Both::lock(from, to)?;
        let plan = Plan::new(&locked, from, to)?;
        let lease = engine.lease()?;
        let transfer = plan.transfer(lease.engine().device())?;
        let promise = Promise::new()?;
        let file = match wanted {
            Wanted::Nothing => None,
            Wanted::SyncFile => Some(promise.fence().sync_file()?),
        };
        let (buffer, [read, write]) = (&to.0, uses.each_ref().map(core::slice::from_ref));
        let reads = |uses| Planned {
            buffer: &from.0,
            uses,
        };
        let (first, second) = match Arc::ptr_eq(&from.0, buffer) {
            true => (reads(&uses), None),
            false => (
                reads(read),
                Some(Planned {
                    buffer,
                    uses: write,
                }),
            ),
        };
        let announced = announce::announce(first, second, promise.fence(), || {
            plan.copy_edges()?;
            // Another CPU may start the engine.
            cpu::drain_write_buffer();
            Ok(())
        })?;
        let copy = Self {
            transfer,
            promise,
            _announced: announced,
            locked,
            lease,
            target: to.clone(),
        };
        Ok((copy, file))
    }

    /// Does what the engine does, in at most `patience`, once. Sleeps, but takes no lock under which
    /// others wait for memory: they may wait for the fence.
    ///
    /// # Errors
    ///
    /// Those of [`Scatterlist::map`] and [`dma_engine::Lease::copy`](crate::sys::dma_engine::Lease::copy);
    /// [`EIO`] if the kernel would copy for the engine by cache lines that a buffer must not have.
    pub(super) fn run(&mut self, progress: &Progress, patience: Jiffies) -> Result {
        match self.transfer.take() {
            Some(transfer) => transfer.run(&self.lease, progress, patience),
            None => Ok(()),
        }
    }

    /// Tells those who wait for the fence that it has ended with `result`. Returns what is still locked.
    pub(super) fn signal(self, result: Result) -> Both {
        if result.is_ok() {
            let (buffer, range) = &self.target;
            let copied = &buffer.counters().bytes_copied;
            copied.fetch_add(range.len() as u64, Relaxed);
        }
        self.promise.keep(match result {
            // What the program does about that is nothing to the others: this copy is over.
            Err(ERESTARTSYS) => Err(ECANCELED),
            result => result,
        });
        self.locked
    }
}

impl Plan {
    fn new(locked: &Both, from: &(Arc<Buffer>, Range), to: &(Arc<Buffer>, Range)) -> Result<Self> {
        let (locked_from, locked_to) = locked.sides(&from.0);
        let (from, to) = (Side::new(locked_from, from.1)?, Side::new(locked_to, to.1)?);
        let whole = match to.is_maintained() {
            true => to.range.enclosed(cpu::cache_line()),
            false => Some(to.range),
        };
        Ok(Self { from, to, whole })
    }

    /// The parts of the target that the CPU copies, as the engine gets whole lines.
    fn edges(&self) -> [Option<Range>; 2] {
        match self.whole {
            Some(whole) => [self.to.range.before(whole), self.to.range.behind(whole)],
            None => [Some(self.to.range), None],
        }
    }

    fn copy_edges(&self) -> Result {
        let mut edges = self.edges().into_iter().flatten();
        edges.try_for_each(|edge| self.by_cpu(edge))
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

    /// What an engine does, for `device`.
    fn transfer(&self, device: &Device) -> Result<Option<Transfer>> {
        let Some(whole) = self.whole else {
            return Ok(None);
        };
        let source = self.source(whole);
        let (from, to) = if Arc::ptr_eq(&self.from.buffer, &self.to.buffer) {
            (None, self.to.pages(device, whole.hull(source))?)
        } else {
            let from = self.from.pages(device, source)?;
            (Some(from), self.to.pages(device, whole)?)
        };
        Ok(Some(Transfer {
            from,
            to,
            source: self.from.part(source),
            target: self.to.part(whole),
        }))
    }
}

impl Transfer {
    fn run(self, lease: &Lease, progress: &Progress, patience: Jiffies) -> Result {
        let engine = lease.engine();
        let to = engine.map(self.to, DataDirection::Bidirectional)?;
        let from = self
            .from
            .map(|from| engine.map(from, DataDirection::ToDevice))
            .transpose()?;
        let source = self.source.mapped(from.as_ref().unwrap_or(&to))?;
        let target = self.target.mapped(&to)?;
        source.sync_for_device();
        target.sync_for_device();
        cpu::drain_write_buffer();
        let pairs = Pairs::new(source.segments(), target.segments());
        let copied = engine.copy(pairs, progress, patience);
        source.sync_for_cpu();
        target.sync_for_cpu();
        copied
    }
}

impl Part {
    /// The range of what is mapped.
    fn mapped<'a>(&self, mapping: &'a DeviceMapping) -> Result<Mapped<'a>> {
        let bounces = mapping.bounces();
        if (bounces || mapping.snoops()) && !self.is_cached {
            return Err(EIO);
        }
        Ok(Mapped {
            mapping,
            range: self.range,
            is_synced: self.is_maintained || bounces,
        })
    }
}

/// A range that is mapped for the engine.
struct Mapped<'a> {
    mapping: &'a DeviceMapping,
    range: Range,
    /// For the caches, or as the kernel copies for the engine.
    is_synced: bool,
}

impl<'a> Mapped<'a> {
    fn segments(&self) -> impl Iterator<Item = Segment<'a>> {
        self.mapping.segments(self.range)
    }

    fn sync_for_device(&self) {
        if self.is_synced {
            self.mapping.sync_for_device(self.range);
        }
    }

    fn sync_for_cpu(&self) {
        if self.is_synced {
            self.mapping.sync_for_cpu(self.range);
        }
    }
}
