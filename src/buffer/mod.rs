// SPDX-License-Identifier: GPL-2.0

//! A buffer: one memory object, and the contract of its views.
//!
//! # Locking
//!
//! In this order: the mmap lock of a process, the reservation lock of a dma-buf
//! (`dma_resv`), the buffer's `devices`, its `state`, the lock of the kernel's
//! window ([`crate::kind`]) and that of the address space (`i_mmap_rwsem`).
//!
//! `devices` and `state` are never held while data is copied from or to a
//! program, which may fault and so take the mmap lock, nor while the mmap lock is
//! taken for cache maintenance: a count of what is in flight ([`Access`]) keeps
//! reads, writes and SYNC apart meanwhile. Whoever holds the mmap lock (mmap,
//! fork, munmap, a fault) or a reservation lock (an importer) never waits for
//! that count.

use crate::{
    cache::{
        Caches,
        Machine,
        Policy, //
    },
    kind::{
        Allocator,
        Failure,
        KernelView,
        Kind,
        Storage, //
    },
    named::Name,
    ownership::{
        Access,
        Change,
        Denied,
        Owner, //
    },
    private::Charged,
    range::Range,
    spec::{
        Checked,
        Direction,
        Mapping, //
    },
    sys::{
        address_space::AddressSpace,
        configfs::InUse,
        cpu,
        dma::{
            DeviceMapping,
            SgTable, //
        },
        transfer::{
            self,
            Transfer, //
        },
        user::{
            self,
            CurrentMappings, //
        },
        vma::{
            self,
            Faulting,
            Mapped,
            Pinning, //
        },
    },
};
use core::ops::{
    ControlFlow,
    Deref, //
};
use kernel::{
    device::Device,
    dma::DataDirection,
    fs::File,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    new_condvar, new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    str::CString,
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

/// Where a buffer comes from, which is kept as long as it lives.
#[expect(dead_code, reason = "what they hold is only dropped")]
pub(crate) enum Origin {
    /// The module's parameters.
    Parameters,
    /// ALLOC.
    Private(Charged),
    /// A device-tree node.
    DeviceTree,
    /// A folder in configfs.
    Configfs(InUse),
}

/// One memory object.
#[pin_data(PinnedDrop)]
pub(crate) struct Buffer {
    size: usize,
    mapping: Mapping,
    direction: Direction,
    name: Option<Name>,
    allocator: Allocator,
    counters: Counters,
    address_space: AddressSpace,
    /// The devices of importers that have it mapped.
    #[pin]
    devices: Mutex<KVec<DeviceMapping>>,
    #[pin]
    state: Mutex<State>,
    /// Woken when something in flight ends.
    #[pin]
    idle: CondVar,
    _origin: Origin,
}

/// What changes, under the lock.
struct State {
    storage: Arc<Storage>,
    access: Access,
    /// User mappings (VMAs). The storage is not replaced while there are any.
    mappings: usize,
    /// dma-bufs. The same holds.
    exports: usize,
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
    pub(crate) exports: usize,
}

impl Buffer {
    /// A zeroed buffer as `spec` says, of the node /dev/shmbuf-`name` if one is given. May sleep.
    pub(crate) fn new(
        allocator: Allocator,
        spec: &Checked,
        name: Option<Name>,
        origin: Origin,
    ) -> Result<Arc<Self>, Failure> {
        let storage = Storage::new(&allocator, spec)?;
        let storage = Arc::new(storage, GFP_KERNEL).map_err(Error::from)?;
        let state = State {
            storage,
            access: Access::new(),
            mappings: 0,
            exports: 0,
        };
        let address_space = AddressSpace::new()?;
        Ok(Arc::pin_init(
            pin_init!(Self {
                size: spec.size,
                mapping: spec.mapping,
                direction: spec.direction,
                name,
                allocator,
                counters: Counters::new(),
                address_space,
                devices <- new_mutex!(KVec::new(), "shmbuf::devices"),
                state <- new_mutex!(state, "shmbuf::state"),
                idle <- new_condvar!("shmbuf::idle"),
                _origin: origin,
            }),
            GFP_KERNEL,
        )?)
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// How it is mapped.
    pub(crate) fn mapping(&self) -> Mapping {
        self.mapping
    }

    /// What devices do with it.
    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// What comes after `shmbuf-` in the name of its node, if it has one of its own.
    pub(crate) fn name(&self) -> Option<&CStr> {
        self.name.as_ref().map(Name::as_cstr)
    }

    /// The name of its node in /dev.
    pub(crate) fn node_name(&self) -> Result<CString> {
        match &self.name {
            Some(name) => CString::try_from_fmt(fmt!("shmbuf-{name}")),
            None => CString::try_from_fmt(fmt!("shmbuf")),
        }
    }

    /// The machine that it was made for.
    pub(crate) fn machine(&self) -> &Machine {
        &self.allocator.machine
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
            exports: state.exports,
        }
    }

    /// Whether a program's and the kernel's cached view are different lines of the cache.
    fn has_aliases(&self, policy: Policy) -> bool {
        self.machine().caches == Caches::Vivt && policy.is_cached()
    }

    /// Makes `file`, which is being opened, one of this buffer's: its mappings can be withdrawn.
    pub(crate) fn adopt(&self, file: &File) {
        self.address_space.adopt(file);
    }

    /// Maps the part that `vma` says, all of it, at once or by faults.
    ///
    /// # Errors
    ///
    /// Those of mmap(2) in `include/uapi/shmbuf.h`.
    pub(crate) fn mmap(self: &Arc<Self>, vma: &VmaNew) -> Result {
        if !self.snapshot().storage.kind().is_mappable() {
            return Err(EOPNOTSUPP);
        }
        let range = vma::range(vma, self.size)?;
        vma::restrict(
            vma,
            match self.mapping {
                Mapping::Refcounted => Pinning::Allowed,
                Mapping::Pfnmap | Mapping::Strict => Pinning::Refused,
            },
        )?;

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
            storage.mmap(vma, range, self.mapping)
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
        let count = self.transfer(range, iter)?;
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
        let count = self.transfer(range, iter)?;
        self.counters.bytes_written.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    /// Copies between `range` and a program, or the kernel, and maintains both views.
    pub(crate) fn transfer(&self, range: Range, iter: &mut impl Transfer) -> Result<usize> {
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
                self.transfer_aliased(storage, piece, iter)
            } else {
                storage.with_view(piece, |view| iter.copy(view))
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
    fn transfer_aliased(
        &self,
        storage: &Storage,
        range: Range,
        iter: &mut impl Transfer,
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
                    let mappings = mappings.of(self, piece, self.size);
                    storage.with_view(piece, |view| {
                        user::without_faults(|| {
                            mappings.flush(piece);
                            let count = iter.copy(view);
                            view.flush();
                            // The program's side of the copy may be a mapping of these bytes.
                            mappings.flush(piece);
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
    /// - [`EBUSY`] if there are mappings or dma-bufs, or the device owns the buffer;
    /// - [`ENOMEM`] if other memory is needed, and there is none;
    /// - [`EINTR`] if a signal came while waiting for a read or write.
    pub(crate) fn set_policy(&self, policy: Policy) -> Result<(), Failure> {
        let mut state = self.lock_when(|state| state.access.check_idle())?;
        let new = state.storage.check_policy(self.machine(), policy)?;
        if state.mappings > 0 || state.exports > 0 {
            return Err(EBUSY.into());
        }
        if new {
            // First what can fail: afterwards the old views are gone.
            let slot = UniqueArc::<Storage>::new_uninit(GFP_KERNEL).map_err(Error::from)?;
            let storage = state.storage.with_policy(&self.allocator, policy)?;
            state.storage = slot.write(storage).into();
            self.counters.policy_changes.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// CPU access to `range` begins or ends. If `moves_owner`, a buffer that devices reach goes to
    /// them or comes from them.
    ///
    /// # Errors
    ///
    /// - [`EBUSY`] if the device owns the buffer, and not `moves_owner`;
    /// - [`EINTR`] if a signal came while waiting for a read or write;
    /// - [`ENOMEM`], see [`Storage::with_view`].
    pub(crate) fn sync(&self, range: Range, phase: Phase, moves_owner: bool) -> Result {
        // Importers' devices reach all that they have mapped, at any time.
        let reached = self
            .devices
            .lock()
            .iter()
            .map(DeviceMapping::range)
            .reduce(Range::hull);
        let sync = Sync::begin(self, |state| {
            let is_cached = state.storage.policy().is_cached();
            let handed = match reached.filter(|_| is_cached) {
                Some(reached) => Some(range.hull(reached)),
                None if state.storage.kind().has_owner() => Some(range),
                None if state.access.owner() != Owner::Cpu => Some(range),
                None => None,
            };
            match (phase, handed) {
                _ if !moves_owner => Change::Keep,
                (Phase::Start, _) => Change::TakeBack,
                (Phase::End, Some(handed)) => Change::HandOver(handed),
                (Phase::End, None) => Change::Keep,
            }
        })?;
        let Sync {
            storage,
            from,
            change,
            ..
        } = &sync;

        let range = match *change {
            Change::HandOver(handed) => {
                self.withdraw();
                handed
            }
            _ => range,
        };
        self.flush_mappings(storage.policy(), from.handed_with(range));
        match change {
            Change::TakeBack => storage.sync_for_cpu(*from, range)?,
            Change::HandOver(_) => storage.hand_over(*from, range)?,
            Change::Keep => storage.sync_for_device(range)?,
        }
        // No importer maps or unmaps it from here on until the SYNC has ended.
        let devices = self.devices.lock();
        let moves_devices = match change {
            Change::TakeBack => self.state.lock().access.is_given(),
            Change::HandOver(_) => true,
            Change::Keep => false,
        };
        if moves_devices && storage.policy().is_cached() {
            for device in devices.iter() {
                match phase {
                    Phase::Start => device.sync_all_for_cpu(),
                    Phase::End => device.sync_all_for_device(),
                }
            }
            cpu::drain_write_buffer();
        }
        self.counters.syncs.fetch_add(1, Relaxed);
        sync.end();
        Ok(())
    }

    /// Cleans and invalidates what the calling process's mappings of `range` have in the cache, where
    /// that is not what the kernel's view has. May sleep, and takes the mmap lock.
    pub(crate) fn flush_mappings(&self, policy: Policy, range: Range) {
        if self.has_aliases(policy) {
            CurrentMappings::with(|mappings| {
                mappings.of(self, range, self.size).flush(range);
            });
        }
    }

    /// Whether devices may write to it.
    pub(crate) fn is_written_by_devices(&self) -> bool {
        self.direction != Direction::ToDevice
    }

    /// Takes the page table entries of mappings that programs must not touch now.
    fn withdraw(&self) {
        if self.mapping == Mapping::Strict {
            self.address_space.unmap_all();
        }
    }

    /// The device of an importer gets `range`, whole pages, as after SYNC. Returns the table for the
    /// importer, and for [`Self::unmap_device`]. Waits for nothing; may sleep. The buffer must be
    /// exported.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if the memory has no pages of its own, or the kernel would copy for the
    ///   device, and nobody has to SYNC such memory;
    /// - [`EACCES`] if the device would write, and devices only read the buffer;
    /// - [`EIO`] if the device cannot address the memory;
    /// - [`EBUSY`] if the kernel copies for this device or for one that has the buffer: copies of
    ///   several devices would not be the same;
    /// - [`ENOMEM`].
    pub(crate) fn map_device(
        &self,
        device: &Device,
        range: Range,
        direction: DataDirection,
    ) -> Result<SgTable> {
        if !self.is_written_by_devices() && direction != DataDirection::ToDevice {
            return Err(EACCES);
        }
        let storage = self.state.lock().storage.clone();
        let backing = storage.backing().ok_or(EOPNOTSUPP)?;
        let mapping = DeviceMapping::new(device, backing, range, direction)?;
        let has_sync = storage.policy().is_cached() && storage.kind() != Kind::Coherent;
        if mapping.bounces() && !has_sync {
            return Err(EOPNOTSUPP);
        }
        let table = mapping.table();

        let mut devices = self.devices.lock();
        let bounces = mapping.bounces() || devices.iter().any(DeviceMapping::bounces);
        if bounces && !devices.is_empty() {
            return Err(EBUSY);
        }
        devices.reserve(1, GFP_KERNEL)?;
        if storage.policy().is_cached() {
            if direction == DataDirection::FromDevice {
                // The DMA API would discard what the CPU wrote around what the device will.
                storage.sync_for_device(range)?;
            }
            self.state.lock().access.hand_over(range);
            self.withdraw();
            if self.has_aliases(storage.policy()) {
                // Of all processes, as the mmap lock comes before that of an importer.
                user::flush_all();
            }
            mapping.sync_all_for_device();
        }
        cpu::drain_write_buffer();
        devices.push(mapping, GFP_KERNEL)?;
        Ok(table)
    }

    /// The device of an importer no longer has what `table` says. The owner stays. May sleep.
    pub(crate) fn unmap_device(&self, table: SgTable) {
        let mut devices = self.devices.lock();
        if let Some(at) = devices.iter().position(|mapping| mapping.table() == table) {
            let Ok(mapping) = devices.remove(at) else {
                return;
            };
            let state = self.state.lock();
            // If the CPU has the buffer, its lines may be dirty, and are somebody's data.
            if state.storage.policy().is_cached() && state.access.is_given() {
                drop(state);
                mapping.sync_all_for_cpu();
            }
        }
    }

    /// A dma-buf of it came to be.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if the memory has no pages of its own.
    pub(crate) fn export_opened(&self) -> Result {
        let mut state = self.state.lock();
        if state.storage.backing().is_none() {
            return Err(EOPNOTSUPP);
        }
        state.exports += 1;
        Ok(())
    }

    /// A dma-buf of it is gone.
    pub(crate) fn export_closed(&self) {
        self.state.lock().exports -= 1;
    }

    /// Whether importers can have a kernel's view: not if it would be one more set of cache lines,
    /// which nobody maintains. It stays so while the buffer is exported.
    pub(crate) fn has_kernel_view(&self) -> bool {
        let storage = self.state.lock().storage.clone();
        !self.has_aliases(storage.policy()) || storage.has_permanent_view()
    }

    /// A kernel's view of `range`, whole pages, for an importer; see [`Self::has_kernel_view`]. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is no memory or no vmalloc space.
    pub(crate) fn kernel_view(&self, range: Range) -> Result<KernelView> {
        let storage = self.state.lock().storage.clone();
        KernelView::new(storage, range)
    }

    /// Waits until `try_begin` succeeds, and returns with the lock held.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if the device owns the buffer, [`EINTR`] if a signal came while waiting.
    fn lock_when(
        &self,
        mut try_begin: impl FnMut(&mut State) -> Result<(), Denied>,
    ) -> Result<Guard<'_, State, MutexBackend>> {
        let mut state = self.state.lock();
        loop {
            match try_begin(&mut state) {
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

#[pinned_drop]
impl PinnedDrop for Buffer {
    fn drop(self: Pin<&mut Self>) {
        let Snapshot { storage, owner, .. } = self.snapshot();
        if let Owner::Device { handed } = owner {
            // Who has pinned pages gets what the device wrote. It needs no memory, so it is done.
            let _ = storage.sync_for_cpu(owner, handed);
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

    fn is_mapped(&self) -> bool {
        self.state.lock().mappings > 0
    }

    fn fault(&self, vma: &Faulting) -> Result {
        let range = vma.range(self.size)?;
        let state = self.state.lock();
        if !state.access.may_touch() {
            return Err(EBUSY);
        }
        // Under the lock: who gives the buffer away takes these entries afterwards.
        state.storage.fault(vma, range)
    }

    fn access(&self, position: u64, mut data: transfer::Access<'_>) -> Result<usize> {
        let io = Io::begin_at_once(self)?;
        let policy = io.storage.policy();
        if self.has_aliases(policy) {
            return Err(EOPNOTSUPP);
        }
        let Some(range) = Range::clamped(position, data.len(), self.size) else {
            return Ok(0);
        };
        if !policy.is_cached() {
            cpu::drain_write_buffer();
        }
        range
            .pieces(io.storage.window_size())
            .try_for_each(|piece| {
                let part = piece.relative_to(range);
                io.storage.with_view(piece, |view| data.copy(part, view))
            })?;
        if !policy.is_cached() {
            cpu::drain_write_buffer();
        }
        Ok(range.len())
    }
}

/// A read or write in flight, of a program or of who acts for it. The owner stays meanwhile.
pub(crate) struct Io<B: Deref<Target = Buffer>> {
    buffer: B,
    storage: Arc<Storage>,
}

impl<B: Deref<Target = Buffer>> Io<B> {
    /// Waits for a SYNC that is running.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if a device owns the buffer, [`ERESTARTSYS`] if a signal came.
    pub(crate) fn begin(buffer: B) -> Result<Self> {
        // A read or write that waited and did nothing may be started again.
        let state = buffer
            .lock_when(|state| state.access.begin_io())
            .map_err(|error| if error == EINTR { ERESTARTSYS } else { error })?;
        let storage = state.storage.clone();
        drop(state);
        Ok(Self { buffer, storage })
    }

    /// The buffer.
    pub(crate) fn buffer(&self) -> &B {
        &self.buffer
    }

    /// Its memory.
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The same for who must not wait.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if a device owns the buffer, or a SYNC is running.
    fn begin_at_once(buffer: B) -> Result<Self> {
        let mut state = buffer.state.lock();
        state.access.begin_io().map_err(|_| EBUSY)?;
        let storage = state.storage.clone();
        drop(state);
        Ok(Self { buffer, storage })
    }
}

impl<B: Deref<Target = Buffer>> Drop for Io<B> {
    fn drop(&mut self) {
        self.buffer.state.lock().access.end_io();
        self.buffer.idle.notify_all();
    }
}

/// A SYNC in flight. Dropped before its end, it leaves the owner as it was.
struct Sync<'a> {
    buffer: &'a Buffer,
    storage: Arc<Storage>,
    from: Owner,
    change: Change,
    outcome: Outcome,
}

enum Outcome {
    Failed,
    Done,
}

impl<'a> Sync<'a> {
    fn begin(buffer: &'a Buffer, change: impl Fn(&State) -> Change) -> Result<Self> {
        let mut begun = None;
        let state = buffer.lock_when(|state| {
            let change = change(state);
            begun = Some((state.access.begin_sync(change)?, change));
            Ok(())
        })?;
        let (from, change) = begun.ok_or(EIO)?;
        Ok(Self {
            buffer,
            storage: state.storage.clone(),
            from,
            change,
            outcome: Outcome::Failed,
        })
    }

    fn end(mut self) {
        self.outcome = Outcome::Done;
    }
}

impl Drop for Sync<'_> {
    fn drop(&mut self) {
        let mut state = self.buffer.state.lock();
        match self.outcome {
            Outcome::Done => state.access.end_sync(),
            Outcome::Failed => state.access.fail_sync(),
        }
        drop(state);
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
