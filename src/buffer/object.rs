// SPDX-License-Identifier: GPL-2.0

//! The buffer itself: what it is made of, and what changes.

use super::fences::Fences;
use crate::{
    memory::{
        allocator::Allocator,
        limit::Payer,
        storage::Storage, //
    },
    rules::{
        access::{
            Access,
            Monitor, //
        },
        direction::Direction,
        failure::Failure,
        kind::Kind,
        line_set::LineSet,
        machine::{
            Caches,
            Machine, //
        },
        mapping::Mapping,
        name::Name,
        ownership::{
            Ownership,
            ViewId,
            WritesTo, //
        },
        policy::Policy,
        range::Range,
        range_lock::{
            Request,
            Ticket, //
        },
        spec::Checked, //
    },
    sys::{
        address_space::AddressSpace,
        configfs::InUse,
        cpu,
        dma_attachment::ImporterMapping,
        poll_queue::PollQueue,
        task,
        wait_queue::{
            EndedBy,
            WaitQueue, //
        }, //
    },
};
use kernel::{
    bindings, new_mutex,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Arc,
        Mutex, //
    },
};

/// What a buffer keeps for as long as it lives.
#[expect(dead_code, reason = "what they hold is only dropped")]
pub(crate) enum Kept {
    /// Nothing: a private buffer, that of the parameters, or of a device-tree node.
    Nothing,
    /// The folder in configfs that it was made by.
    Folder(InUse),
}

/// One memory object, and what its views have in common.
#[pin_data(PinnedDrop)]
pub(crate) struct Buffer {
    pub(super) size: usize,
    pub(super) kind: Kind,
    pub(super) mapping: Mapping,
    pub(super) direction: Direction,
    name: Option<Name>,
    pub(super) allocator: Allocator,
    pub(super) counters: Counters,
    address_space: Arc<AddressSpace>,
    /// How often something that was lent has come back.
    returns: Atomic<u64>,
    /// Those that wait for that.
    news: Arc<PollQueue>,
    /// The views of importers' devices. Held while caches are maintained for them.
    #[pin]
    pub(super) views: Mutex<KVec<ImporterView>>,
    #[pin]
    pub(super) fences: Fences,
    #[pin]
    pub(super) state: Mutex<State>,
    /// Those that wait for ranges, each by its ticket.
    #[pin]
    waiting: WaitQueue,
    _kept: Kept,
}

/// What of a buffer changes, under its lock.
pub(crate) struct State {
    pub(super) storage: Arc<Storage>,
    pub(super) access: Access,
    pub(super) users: Users,
    /// Whether an importer has had the kernel's view: lines of its may be there ever since.
    pub(super) was_vmapped: bool,
}

/// Who relies on the storage of a buffer.
pub(crate) enum Users {
    /// So many user mappings (VMAs) and dma-bufs: while there are any, it is not replaced.
    Some { mappings: usize, exports: usize },
    /// Nobody: it is being replaced, and until that is done there will be no mapping and no dma-buf.
    Replacing,
}

/// The view of an importer's device.
pub(super) struct ImporterView {
    pub(super) id: ViewId,
    pub(super) writes_to: WritesTo,
    pub(super) mapping: Arc<ImporterMapping>,
}

impl ImporterView {
    /// Whether the device reaches any byte of `range`.
    pub(super) fn meets(&self, range: Range) -> bool {
        self.mapping.range().intersect(range).is_some()
    }
}

impl State {
    /// Whether the CPU owns all that `requests` are for.
    pub(super) fn are_cpus(&self, requests: &[Request]) -> bool {
        let ownership = &self.access.ownership;
        !requests
            .iter()
            .any(|request| ownership.is_lent(request.range))
    }
}

impl AsMut<Access> for State {
    fn as_mut(&mut self) -> &mut Access {
        &mut self.access
    }
}

impl Users {
    /// Nobody.
    pub(super) const NONE: Self = Self::Some {
        mappings: 0,
        exports: 0,
    };

    /// How many mappings and dma-bufs there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        match *self {
            Self::Some { mappings, exports } => (mappings, exports),
            Self::Replacing => (0, 0),
        }
    }

    /// Checks that there are none.
    ///
    /// # Errors
    ///
    /// [`EBUSY`].
    pub(super) fn check_none(&self) -> Result {
        match self.counts() {
            (0, 0) => Ok(()),
            _ => Err(EBUSY),
        }
    }

    /// The number of mappings, to change.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] while the storage is being replaced.
    pub(super) fn mappings(&mut self) -> Result<&mut usize> {
        match self {
            Self::Some { mappings, .. } => Ok(mappings),
            Self::Replacing => Err(EBUSY),
        }
    }

    /// The number of dma-bufs, to change.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] while the storage is being replaced.
    pub(super) fn exports(&mut self) -> Result<&mut usize> {
        match self {
            Self::Some { exports, .. } => Ok(exports),
            Self::Replacing => Err(EBUSY),
        }
    }
}

/// How often what happened to a buffer so far; not synchronized with each other.
pub(crate) struct Counters {
    pub(crate) maps: Atomic<u64>,
    pub(crate) syncs: Atomic<u64>,
    pub(crate) policy_changes: Atomic<u64>,
    pub(crate) bytes_read: Atomic<u64>,
    pub(crate) bytes_written: Atomic<u64>,
    /// What copies wrote.
    pub(crate) bytes_copied: Atomic<u64>,
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
        let storage = Arc::new(storage, GFP_KERNEL_ACCOUNT).map_err(Error::from)?;
        let own = match storage.own_view() {
            Some(_) => Some(LineSet::new(spec.size, cpu::cache_line())?),
            None => None,
        };
        let own_writes_to = WritesTo::of_device(allocator.machine.device_snoops);
        let state = State {
            storage,
            access: Access::new(Ownership::new(own, own_writes_to)),
            users: Users::NONE,
            was_vmapped: false,
        };
        let address_space = AddressSpace::new()?;
        let news = PollQueue::new(c"shmbuf::news", kernel::static_lock_class!())?;
        Ok(Arc::pin_init(
            pin_init!(Self {
                size: spec.size,
                kind: spec.kind,
                mapping: spec.mapping,
                direction: spec.direction,
                name,
                allocator,
                counters: Counters::new(),
                address_space,
                returns: Atomic::new(0),
                news,
                views <- new_mutex!(KVec::new(), "shmbuf::views"),
                fences <- Fences::new(),
                state <- new_mutex!(state, "shmbuf::state"),
                waiting <- WaitQueue::new(c"shmbuf::waiting", kernel::static_lock_class!()),
                _kept: kept,
            }),
            GFP_KERNEL_ACCOUNT,
        )?)
    }

    /// The size of the buffer in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The physical address of the first byte, until SET_CACHE moves the memory.
    pub(crate) fn phys(&self) -> bindings::phys_addr_t {
        self.state.lock().storage.phys(0)
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

    /// The folder of debugfs that the buffer is shown in.
    pub(crate) fn folder_name(&self) -> &CStr {
        match (&self.name, &self.allocator.payer) {
            (Some(name), _) => name.as_cstr(),
            (None, Payer::Administrator) => c"default",
            (None, Payer::Program(..)) => c"private",
        }
    }

    /// What a dma-buf of the buffer is called.
    pub(crate) fn export_name(&self) -> Result<CString> {
        // To format what is known takes a quarter of EXPORT.
        match (&self.name, &self.allocator.payer) {
            (Some(name), _) => CString::try_from_fmt(fmt!("shmbuf-{name}")),
            (None, Payer::Administrator) => Ok(CString::try_from(c"shmbuf-default")?),
            (None, Payer::Program(..)) => Ok(CString::try_from(c"shmbuf-private")?),
        }
    }

    /// Where the buffer's memory comes from.
    pub(crate) fn allocator(&self) -> &Allocator {
        &self.allocator
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

    /// Where all mappings of the buffer are, so that they can be withdrawn.
    pub(crate) fn address_space(&self) -> &Arc<AddressSpace> {
        &self.address_space
    }

    /// How often something that was lent has come back. Who looks for what is lent after this finds
    /// all that has come back by then.
    pub(crate) fn returns(&self) -> u64 {
        self.returns.load(Acquire)
    }

    /// Those that wait for something to come back.
    pub(crate) fn news(&self) -> &Arc<PollQueue> {
        &self.news
    }

    /// Something that was lent has come back, and is marked so.
    pub(super) fn came_back(&self) {
        self.returns.fetch_add(1, Release);
        self.news.wake();
    }

    /// Whether devices may write to the buffer.
    pub(crate) fn is_written_by_devices(&self) -> bool {
        self.direction != Direction::ToDevice
    }

    /// Takes the page table entries of `range` from mappings whose programs must not touch it now.
    pub(super) fn withdraw(&self, range: Range) {
        if self.mapping == Mapping::Strict {
            self.address_space.unmap(range);
        }
    }
}

impl Monitor for Buffer {
    type State = State;
    type Guard<'a> = Guard<'a, State, MutexBackend>;
    type EndedBy = EndedBy;

    fn lock(&self) -> Self::Guard<'_> {
        self.state.lock()
    }

    fn wait<'a>(
        &'a self,
        state: Self::Guard<'a>,
        ticket: Ticket,
        ended_by: EndedBy,
    ) -> (Self::Guard<'a>, bool) {
        let ended = self.waiting.wait(state, ticket.number() as usize, ended_by);
        (self.state.lock(), ended)
    }

    fn wake(&self, ticket: Ticket) {
        self.waiting.wake(ticket.number() as usize);
    }
}

#[pinned_drop]
impl PinnedDrop for Buffer {
    fn drop(self: Pin<&mut Self>) {
        // Who has pinned pages gets what the device wrote, even if the last user was killed.
        let storage = self.state.lock().storage.clone();
        let _ = self.return_own(&storage, Range::whole(self.size), || {
            task::cond_resched();
            Ok(())
        });
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
            bytes_copied: Atomic::new(0),
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
