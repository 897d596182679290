// SPDX-License-Identifier: GPL-2.0

//! The buffer itself: what it is made of, and what changes.

use super::limit::Charged;
use crate::{
    memory::{
        allocator::Allocator,
        storage::Storage, //
    },
    rules::{
        direction::Direction,
        failure::Failure,
        machine::{
            Caches,
            Machine, //
        },
        mapping::Mapping,
        name::Name,
        ownership::{
            Access,
            Denied, //
        },
        policy::Policy,
        spec::Checked, //
    },
    sys::{
        address_space::AddressSpace,
        configfs::InUse,
        dma_mapping::DeviceMapping, //
    },
};
use kernel::{
    fs::File,
    new_condvar, new_mutex,
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
        Mutex, //
    },
};

/// What a buffer keeps for as long as it lives.
#[expect(dead_code, reason = "what they hold is only dropped")]
pub(crate) enum Kept {
    /// Nothing: the buffer of the parameters, or of a device-tree node.
    Nothing,
    /// The bytes that count for a private buffer.
    Charge(Charged),
    /// The folder in configfs that it was made by.
    Folder(InUse),
}

/// One memory object, and what its views have in common.
#[pin_data(PinnedDrop)]
pub(crate) struct Buffer {
    pub(super) size: usize,
    pub(super) mapping: Mapping,
    pub(super) direction: Direction,
    name: Option<Name>,
    pub(super) allocator: Allocator,
    pub(super) counters: Counters,
    address_space: AddressSpace,
    /// The mappings for the devices of importers.
    #[pin]
    pub(super) devices: Mutex<KVec<DeviceMapping>>,
    #[pin]
    pub(super) state: Mutex<State>,
    /// Woken when something in flight ends.
    #[pin]
    pub(super) idle: CondVar,
    _kept: Kept,
}

/// What of a buffer changes, under its lock.
pub(super) struct State {
    pub(super) storage: Arc<Storage>,
    pub(super) access: Access,
    /// User mappings (VMAs). The storage is not replaced while there are any.
    pub(super) mappings: usize,
    /// dma-bufs. The storage is not replaced while there are any.
    pub(super) exports: usize,
}

/// How often what happened to a buffer so far; not synchronized with each other.
pub(crate) struct Counters {
    pub(crate) maps: Atomic<u64>,
    pub(crate) syncs: Atomic<u64>,
    pub(crate) policy_changes: Atomic<u64>,
    pub(crate) bytes_read: Atomic<u64>,
    pub(crate) bytes_written: Atomic<u64>,
    pub(crate) refusals: Atomic<u64>,
}

impl Buffer {
    /// A zeroed buffer as `spec` says, of the node /dev/shmbuf-`name` if one is given. May sleep.
    pub(crate) fn new(
        allocator: Allocator,
        spec: &Checked,
        name: Option<Name>,
        kept: Kept,
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
                _kept: kept,
            }),
            GFP_KERNEL,
        )?)
    }

    /// The size of the buffer in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// What comes after `shmbuf-` in the name of the buffer's node, if it has one of its own.
    pub(crate) fn name(&self) -> Option<&CStr> {
        self.name.as_ref().map(Name::as_cstr)
    }

    /// The name of the buffer's node in /dev.
    pub(crate) fn node_name(&self) -> Result<CString> {
        match &self.name {
            Some(name) => CString::try_from_fmt(fmt!("shmbuf-{name}")),
            None => CString::try_from_fmt(fmt!("shmbuf")),
        }
    }

    /// The machine that the buffer was made for.
    pub(crate) fn machine(&self) -> &Machine {
        &self.allocator.machine
    }

    /// The counters of the buffer.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether a program's and the kernel's cached view are different lines of the cache.
    pub(super) fn has_aliases(&self, policy: Policy) -> bool {
        self.machine().caches == Caches::Vivt && policy.is_cached()
    }

    /// Makes `file`, which is being opened, one of this buffer's: its mappings can be withdrawn.
    pub(crate) fn adopt(&self, file: &File) {
        self.address_space.adopt(file);
    }

    /// Whether devices may write to the buffer.
    pub(crate) fn is_written_by_devices(&self) -> bool {
        self.direction != Direction::ToDevice
    }

    /// Takes the page table entries of mappings that programs must not touch now.
    pub(super) fn withdraw(&self) {
        if self.mapping == Mapping::Strict {
            self.address_space.unmap_all();
        }
    }

    /// Waits until `try_begin` succeeds, and returns with the lock held.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if the device owns the buffer, [`ERESTARTSYS`] if a signal came while
    /// waiting: nothing has been done.
    pub(super) fn lock_when(
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
                        return Err(ERESTARTSYS);
                    }
                }
            }
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Buffer {
    fn drop(self: Pin<&mut Self>) {
        let state = self.state.lock();
        let handed = state.access.handed();
        if let Some(range) = handed.range() {
            // Who has pinned pages gets what the device wrote. It needs no memory, so it is done.
            let _ = state.storage.sync_for_cpu(handed, range);
        }
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
