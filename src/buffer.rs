// SPDX-License-Identifier: GPL-2.0

//! A buffer: one memory object, and the contract of its views.
//!
//! # Locking
//!
//! In this order: the mmap lock of a process, the buffer's `state`, the lock of
//! the kernel's window ([`crate::kind`]). `state` is never held while data is
//! copied from or to a program, which may fault and so take the mmap lock, nor
//! while the mmap lock is taken for cache maintenance: a count of what is in
//! flight ([`Access`]) keeps reads, writes and SYNC apart meanwhile. Whoever
//! holds the mmap lock (mmap, fork, munmap) never waits for that count.

use crate::{
    cache::{
        Caches,
        Machine,
        Policy, //
    },
    kind::{
        Failure,
        Kind,
        Storage, //
    },
    ownership::{
        Access,
        Denied,
        Owner, //
    },
    range::Range,
    sys::{
        cpu,
        dma::DmaDevice,
        span::Span,
        user::{
            self,
            CurrentMappings,
            FaultIn, //
        },
        vma::{
            self,
            Mapped, //
        },
    },
};
use core::ops::ControlFlow;
use kernel::{
    dma::DataDirection,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    new_condvar, new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Arc,
        CondVar,
        Mutex,
        UniqueArc, //
    },
};

/// Which end of a CPU access SYNC stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// CPU access begins.
    Start,
    /// CPU access ends.
    End,
}

/// One memory object.
#[pin_data]
pub(crate) struct Buffer {
    size: usize,
    machine: Machine,
    counters: Counters,
    #[pin]
    state: Mutex<State>,
    /// Woken when something in flight ends.
    #[pin]
    idle: CondVar,
}

/// What changes, under the lock.
struct State {
    storage: Arc<Storage>,
    access: Access,
    /// User mappings (VMAs). The storage is not replaced while there are any.
    mappings: usize,
}

/// What happened so far; not synchronized with each other.
pub(crate) struct Counters {
    pub(crate) maps: Atomic<u64>,
    pub(crate) syncs: Atomic<u64>,
    pub(crate) policy_changes: Atomic<u64>,
    pub(crate) bytes_read: Atomic<u64>,
    pub(crate) bytes_written: Atomic<u64>,
    pub(crate) refusals: Atomic<u64>,
}

/// The state of a buffer at one moment, for reports.
pub(crate) struct Snapshot {
    pub(crate) storage: Arc<Storage>,
    pub(crate) owner: Owner,
    pub(crate) mappings: usize,
}

impl Buffer {
    /// A zeroed buffer of `size` bytes, a multiple of the page size and not zero. May sleep.
    pub(crate) fn new(
        device: &Arc<DmaDevice>,
        machine: Machine,
        kind: Kind,
        size: usize,
        policy: Policy,
    ) -> Result<Arc<Self>, Failure> {
        let storage = Storage::new(device, &machine, kind, size, policy)?;
        let storage = Arc::new(storage, GFP_KERNEL).map_err(Error::from)?;
        let state = State {
            storage,
            access: Access::new(),
            mappings: 0,
        };
        Ok(Arc::pin_init(
            pin_init!(Self {
                size,
                machine,
                counters: Counters::new(),
                state <- new_mutex!(state, "shmbuf::state"),
                idle <- new_condvar!("shmbuf::idle"),
            }),
            GFP_KERNEL,
        )?)
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The machine that it was made for.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Its counters.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Its state now. May sleep.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = self.state.lock();
        Snapshot {
            storage: state.storage.clone(),
            owner: state.access.owner(),
            mappings: state.mappings,
        }
    }

    /// Whether a program's and the kernel's cached view are different lines of the cache.
    fn has_aliases(&self, policy: Policy) -> bool {
        self.machine.caches == Caches::Vivt && policy.is_cached()
    }

    /// Maps the part that `vma` says, all of it and at once.
    ///
    /// # Errors
    ///
    /// Those of mmap(2) in `include/uapi/shmbuf.h`.
    pub(crate) fn mmap(self: &Arc<Self>, vma: &VmaNew) -> Result {
        let range = vma::range(vma, self.size)?;
        vma::restrict(vma)?;

        // From here on the storage stays.
        let storage = {
            let mut state = self.state.lock();
            state.mappings += 1;
            state.storage.clone()
        };
        let mapped = if self.has_aliases(storage.policy())
            && user::maps_already(vma, &**self, range, self.size)
        {
            Err(EBUSY)
        } else {
            storage.mmap(vma, range)
        };
        drop(storage);
        match mapped {
            Ok(()) => {
                vma::attach(vma, self.clone());
                self.counters.maps.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(error) => {
                self.mapping_closed();
                Err(error)
            }
        }
    }

    /// Reads from `position` on into `iter`; short at the end, zero past it.
    ///
    /// # Errors
    ///
    /// - [`EBUSY`] if the device owns the buffer;
    /// - [`EFAULT`] if nothing could be copied to the program;
    /// - [`ERESTARTSYS`] if a signal came while waiting for a SYNC;
    /// - [`ENOMEM`], see [`Storage::with_view`].
    pub(crate) fn read(&self, position: u64, iter: &mut IovIterDest<'_>) -> Result<usize> {
        let Some(range) = Range::clamped(position, iter.len(), self.size) else {
            return Ok(0);
        };
        let count = self.transfer(range, iter, |span, iter| span.copy_to_iter(iter))?;
        self.counters.bytes_read.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    /// Writes `iter` from `position` on; short at the end.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] at the end and past it, and those of [`Self::read`].
    pub(crate) fn write(&self, position: u64, iter: &mut IovIterSource<'_>) -> Result<usize> {
        if iter.is_empty() {
            return Ok(0);
        }
        let range = Range::clamped(position, iter.len(), self.size).ok_or(ENOSPC)?;
        let count = self.transfer(range, iter, |span, iter| span.copy_from_iter(iter))?;
        self.counters.bytes_written.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    /// Copies between `range` and a program, and maintains both views.
    fn transfer<I: FaultIn>(
        &self,
        range: Range,
        iter: &mut I,
        copy: impl Fn(Span<'_>, &mut I) -> usize,
    ) -> Result<usize> {
        let io = Io::begin(self)?;
        let storage = &io.storage;
        let policy = storage.policy();

        if !policy.is_cached() {
            // What the program stored may be in the write buffer.
            cpu::drain_write_buffer();
        }
        let mut done = 0;
        let outcome = range.pieces(storage.window_size()).try_for_each(|piece| {
            let copied = if self.has_aliases(policy) {
                self.transfer_aliased(storage, piece, iter, &copy)
            } else {
                storage.with_view(piece, |span| copy(span, iter))
            };
            match copied {
                Ok(count) => {
                    done += count;
                    if count == piece.len() {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(EFAULT)
                    }
                }
                Err(error) => ControlFlow::Break(error),
            }
        });
        if !policy.is_cached() {
            cpu::drain_write_buffer();
        }
        match outcome {
            ControlFlow::Break(error) if done == 0 => Err(error),
            _ => Ok(done),
        }
    }

    /// The same where user mappings are other cache lines than the kernel's view.
    ///
    /// Each page is copied with no other program running, and when others run no line of the
    /// kernel's view is left. So two lines of one address never hold different bytes, and a store
    /// by another thread beside the copied bytes is not lost.
    fn transfer_aliased<I: FaultIn>(
        &self,
        storage: &Storage,
        range: Range,
        iter: &mut I,
        copy: impl Fn(Span<'_>, &mut I) -> usize,
    ) -> Result<usize> {
        let mut done = 0;
        for page in range.pieces(PAGE_SIZE) {
            let mut rest = Some(page);
            while let Some(piece) = rest {
                // No more than is there: a copy that meets a missing page may stop before it.
                let Some(piece) = piece.first(iter.fault_in(piece.len())) else {
                    return Ok(done);
                };
                let count = CurrentMappings::with(|mappings| {
                    storage.with_view(piece, |span| {
                        user::without_faults(|| {
                            mappings.flush(self, piece, self.size);
                            let count = copy(span, iter);
                            span.flush();
                            // The program's side of the copy may be a mapping of these bytes.
                            mappings.flush(self, piece, self.size);
                            count
                        })
                    })
                })?;
                done += count;
                rest = page.after(piece.start() - page.start() + count);
                // The page may go away again and again before it is copied.
                if count == 0 && kernel::current!().signal_pending() {
                    return if done > 0 { Ok(done) } else { Err(ERESTARTSYS) };
                }
            }
        }
        Ok(done)
    }

    /// Changes the cache policy. Contents survive.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if this kind or machine cannot give it;
    /// - [`EBUSY`] if there are mappings, or the device owns the buffer;
    /// - [`ENOMEM`] if other memory is needed, and there is none;
    /// - [`EINTR`] if a signal came while waiting for a read or write.
    pub(crate) fn set_policy(&self, policy: Policy) -> Result<(), Failure> {
        let mut state = self.lock_when(|access| access.check_idle())?;
        let new = state.storage.check_policy(&self.machine, policy)?;
        if state.mappings > 0 {
            return Err(EBUSY.into());
        }
        if new {
            // First what can fail: afterwards the old views are gone.
            let slot = UniqueArc::<Storage>::new_uninit(GFP_KERNEL).map_err(Error::from)?;
            let storage = state.storage.with_policy(&self.machine, policy)?;
            state.storage = slot.write(storage).into();
            self.counters.policy_changes.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// CPU access to `range` begins or ends. If `moves_owner`, a streaming buffer goes to or comes
    /// from the device.
    ///
    /// # Errors
    ///
    /// - [`EBUSY`] if the device owns the buffer, and not `moves_owner`;
    /// - [`EINTR`] if a signal came while waiting for a read or write;
    /// - [`ENOMEM`], see [`Storage::with_view`].
    pub(crate) fn sync(
        &self,
        range: Range,
        direction: DataDirection,
        phase: Phase,
        moves_owner: bool,
    ) -> Result {
        let sync = Handover::begin(self)?;
        let from = sync.from;
        if from != Owner::Cpu && !moves_owner {
            return Err(EBUSY);
        }
        if self.has_aliases(sync.storage.policy()) {
            let all = from.handed_with(range);
            CurrentMappings::with(|mappings| mappings.flush(self, all, self.size));
        }
        let owner = match phase {
            Phase::Start => {
                sync.storage.sync_for_cpu(from, range, direction)?;
                Owner::Cpu
            }
            Phase::End if moves_owner => sync.storage.hand_over(from, range)?,
            Phase::End => {
                sync.storage.sync_for_device(range)?;
                Owner::Cpu
            }
        };
        self.counters.syncs.fetch_add(1, Relaxed);
        sync.end(owner);
        Ok(())
    }

    /// Waits until `try_begin` succeeds, and returns with the lock held.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if the device owns the buffer, [`EINTR`] if a signal came while waiting.
    fn lock_when(
        &self,
        mut try_begin: impl FnMut(&mut Access) -> Result<(), Denied>,
    ) -> Result<Guard<'_, State, MutexBackend>> {
        let mut state = self.state.lock();
        loop {
            match try_begin(&mut state.access) {
                Ok(()) => return Ok(state),
                Err(Denied::Device) => return Err(EBUSY),
                Err(Denied::Running) => {
                    if self.idle.wait_interruptible(&mut state) {
                        return Err(EINTR);
                    }
                }
            }
        }
    }
}

impl Mapped for Buffer {
    fn mapping_opened(&self) {
        self.state.lock().mappings += 1;
    }

    fn mapping_closed(&self) {
        self.state.lock().mappings -= 1;
    }
}

/// A read or write in flight.
struct Io<'a> {
    buffer: &'a Buffer,
    storage: Arc<Storage>,
}

impl<'a> Io<'a> {
    fn begin(buffer: &'a Buffer) -> Result<Self> {
        // A read or write that waited and did nothing may be started again.
        let state = buffer.lock_when(Access::begin_io).map_err(|error| {
            if error == EINTR {
                ERESTARTSYS
            } else {
                error
            }
        })?;
        Ok(Self {
            buffer,
            storage: state.storage.clone(),
        })
    }
}

impl Drop for Io<'_> {
    fn drop(&mut self) {
        self.buffer.state.lock().access.end_io();
        self.buffer.idle.notify_all();
    }
}

/// A SYNC in flight. Dropped, it leaves the owner as it was.
struct Handover<'a> {
    buffer: &'a Buffer,
    storage: Arc<Storage>,
    from: Owner,
    to: Owner,
}

impl<'a> Handover<'a> {
    fn begin(buffer: &'a Buffer) -> Result<Self> {
        let mut from = Owner::Cpu;
        let state = buffer.lock_when(|access| {
            from = access.begin_sync()?;
            Ok(())
        })?;
        Ok(Self {
            buffer,
            storage: state.storage.clone(),
            from,
            to: from,
        })
    }

    fn end(mut self, owner: Owner) {
        self.to = owner;
    }
}

impl Drop for Handover<'_> {
    fn drop(&mut self) {
        self.buffer.state.lock().access.end_sync(self.to);
        self.buffer.idle.notify_all();
    }
}

impl Counters {
    fn new() -> Self {
        Self {
            maps: Atomic::new(0),
            syncs: Atomic::new(0),
            policy_changes: Atomic::new(0),
            bytes_read: Atomic::new(0),
            bytes_written: Atomic::new(0),
            refusals: Atomic::new(0),
        }
    }

    /// Counts `result` if it is a refusal.
    pub(crate) fn note<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.refusals.fetch_add(1, Relaxed);
        }
        result
    }
}
