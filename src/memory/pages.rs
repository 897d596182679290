// SPDX-License-Identifier: GPL-2.0

//! Kind pages, and what kinds streaming and scatter map for DMA: pages whose views
//! all have the memory type that was asked for.

use crate::{
    memory::{
        allocator::Allocator,
        limit::Charged,
        machine::{
            cache_mode,
            limit_of_reach,
            supply, //
        },
        window::{
            ViewPlace,
            Window, //
        },
    },
    rules::{
        failure::{
            Failure,
            Limit,
            Wanted, //
        },
        kind::Kind,
        machine::{
            Caches,
            Machine, //
        },
        mapping::Mapping,
        ownership::Phase,
        policy::Policy,
        range::Range,
        spec::Checked, //
    },
    sys::{
        cpu,
        dma_device::DmaDevice,
        kernel_view::KernelView,
        pages::{
            Pages,
            References,
            Request,
            Zone, //
        },
        task,
        vma::{
            Mapped,
            NewMapping, //
        },
        vmap::{
            self,
            Vmap, //
        },
    },
};
use core::cmp::min;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// The part of a buffer that the kernel maps at a time: vmalloc space is small on 32-bit ARM. It is
/// one of whole stretches.
const WINDOW: usize = 4 << 20;
const _: () = assert!(WINDOW % task::STRETCH == 0);

/// Pages, and the kernel's view of them.
///
/// All CPU views have the type of one policy. The kernel's linear mapping, where there is one, is
/// such a view only if it is of that type; else it is not used, and holds no lines.
pub(crate) struct ViewedPages {
    by: ViewedBy,
    pages: Arc<Pages>,
    /// What counts for the pages; all views of them share it.
    charged: Arc<Charged>,
}

/// How the kernel reaches the pages.
enum ViewedBy {
    /// By the linear map, which is write-back.
    LinearMap,
    /// By a mapping with the type, a window at a time.
    Windows(Arc<Windows>),
}

/// Windows of one memory type.
#[pin_data]
struct Windows {
    policy: Policy,
    /// The window that was used last.
    #[pin]
    last: Mutex<Option<Arc<Vmap>>>,
}

impl Windows {
    /// The window of `pages` that shows `range`; see [`ViewedPages::window`].
    fn show(&self, pages: &Arc<Pages>, range: Range) -> Result<Arc<Vmap>> {
        let mut last = self.last.lock();
        let shows = |vmap: &&Arc<Vmap>| vmap.range().intersect(range) == Some(range);
        if let Some(vmap) = last.as_ref().filter(shows) {
            return Ok(vmap.clone());
        }
        let shown = range.enclosing(WINDOW, pages.size());
        let vmap = Vmap::new(pages, shown, cache_mode(self.policy))?;
        let vmap = Arc::new(vmap, GFP_KERNEL_ACCOUNT)?;
        *last = Some(vmap.clone());
        Ok(vmap)
    }
}

/// How pages are allocated, and what failed if there are none in a zone.
#[derive(Clone, Copy)]
struct PageSource {
    alloc: fn(Request) -> Result<Pages>,
    wanted: fn(Zone) -> Wanted,
}

impl PageSource {
    const CONTIGUOUS: Self = Self {
        alloc: Pages::contiguous,
        wanted: |zone| match zone {
            Zone::Linear | Zone::Any => Wanted::Contiguous,
            Zone::Highmem => Wanted::Highmem,
            Zone::Dma32 | Zone::Dma => Wanted::InReach,
        },
    };
    /// For policies that single pages do not have.
    const CONTIGUOUS_ONLY: Self = Self {
        alloc: Pages::contiguous,
        wanted: |zone| match zone {
            Zone::Highmem => Wanted::Highmem,
            _ => Wanted::ContiguousOnly,
        },
    };
    const SINGLE: Self = Self {
        alloc: Pages::scattered,
        wanted: |_| Wanted::Single,
    };

    /// Pages in the first of `zones` that has some that are `reached`.
    fn allocate(
        self,
        request: Request,
        zones: &[Zone],
        reached: impl Fn(&Pages) -> Result<(), Limit>,
    ) -> Result<Arc<Pages>, Failure> {
        let mut failure = None;
        for &zone in zones {
            match (self.alloc)(Request { zone, ..request }) {
                Ok(pages) => match reached(&pages) {
                    Ok(()) => return Ok(Arc::new(pages, GFP_KERNEL_ACCOUNT).map_err(Error::from)?),
                    Err(limit) => failure = Some(Failure::Reach(pages.size(), limit)),
                },
                Err(EINTR) => return Err(Failure::Other(EINTR)),
                Err(_) => {
                    let wanted = (self.wanted)(zone);
                    failure.get_or_insert(Failure::Pages(request.size, wanted, supply(wanted)));
                }
            }
        }
        Err(failure.unwrap_or(Failure::Other(ENOMEM)))
    }

    /// Pages that `device` reaches, in `zones`, or lower if that is out of its reach.
    fn within_reach(
        self,
        device: &DmaDevice,
        request: Request,
        zones: &[Zone],
    ) -> Result<Arc<Pages>, Failure> {
        let reached = |pages: &Pages| match device.reaches(pages) {
            true => Ok(()),
            false => Err(limit_of_reach(device)),
        };
        match self.allocate(request, zones, reached) {
            Err(Failure::Reach(..)) => self.allocate(request, &[Zone::Dma32, Zone::Dma], reached),
            result => result,
        }
    }
}

impl ViewedPages {
    /// Zeroed pages as `spec` says; the zeroes are in memory. May sleep.
    ///
    /// # Errors
    ///
    /// [`Failure::Limit`], [`Failure::Share`], [`Failure::Pages`], [`Failure::Reach`], [`ENOMEM`], and
    /// [`EINTR`] if the process was killed.
    pub(super) fn new(allocator: &Allocator, spec: &Checked) -> Result<Self, Failure> {
        let references = match spec.mapping {
            Mapping::Pfnmap | Mapping::Strict => References::Ours,
            Mapping::Refcounted => References::Shared,
        };
        let request = Request {
            size: spec.size,
            zone: Zone::Any,
            charge: allocator.payer.cgroup(),
            references,
        };
        let charged = Self::charge(allocator, spec.size)?;
        let device = &allocator.device;
        let pages = match spec.kind {
            Kind::Scatter => PageSource::SINGLE.within_reach(device, request, &[Zone::Any])?,
            Kind::Streaming => {
                // The linear map needs no vmalloc space.
                let zones = &[Zone::Linear, Zone::Any];
                PageSource::CONTIGUOUS.within_reach(device, request, zones)?
            }
            _ => Self::contiguous(&allocator.machine, request, spec.policy)?,
        };
        Self::forget_other_types(&allocator.machine, spec.policy);
        pages.zero()?;
        match spec.policy {
            Policy::Writeback => pages.clean()?,
            _ => pages.flush()?,
        }
        Ok(Self::over(spec.policy, charged, pages)?)
    }

    /// Makes sure that nothing fills the cache with what gets `policy` by a mapping that is gone. A
    /// write-back one is of the same type, and others fill nothing; nor does a core with VIVT caches,
    /// unless it uses the mapping.
    fn forget_other_types(machine: &Machine, policy: Policy) {
        if policy != Policy::Writeback && machine.caches != Caches::Vivt {
            vmap::flush_removed();
        }
    }

    /// Counts `size` bytes of pages. The excess of the page allocator's blocks goes back to it at
    /// once.
    fn charge(allocator: &Allocator, size: usize) -> Result<Arc<Charged>, Failure> {
        let charged = allocator.payer.charge(size)?;
        Ok(Arc::new(charged, GFP_KERNEL_ACCOUNT).map_err(Error::from)?)
    }

    /// Contiguous memory where `policy` can be had, with whatever contents.
    fn contiguous(
        machine: &Machine,
        request: Request,
        policy: Policy,
    ) -> Result<Arc<Pages>, Failure> {
        let zones: &[Zone] = match machine.needs_highmem(policy) {
            true if machine.accept_alias => &[Zone::Highmem, Zone::Linear],
            true => &[Zone::Highmem],
            // As for kind streaming.
            false => &[Zone::Linear, Zone::Any],
        };
        let source = match policy {
            Policy::Writeback => PageSource::CONTIGUOUS,
            _ => PageSource::CONTIGUOUS_ONLY,
        };
        source.allocate(request, zones, |_| Ok(()))
    }

    /// The view of `pages` for `policy`. There is no other view of them now, and no cache line of
    /// another.
    // The last argument is dropped first: the pages count until they are given back.
    fn over(policy: Policy, charged: Arc<Charged>, pages: Arc<Pages>) -> Result<Self> {
        let is_linear = policy == Policy::Writeback && pages.linear().is_some();
        let by = if is_linear {
            ViewedBy::LinearMap
        } else {
            ViewedBy::Windows(Arc::pin_init(
                pin_init!(Windows {
                    policy,
                    last <- new_mutex!(None, "shmbuf::windows"),
                }),
                GFP_KERNEL_ACCOUNT,
            )?)
        };
        let viewed = Self { by, pages, charged };
        // Reading and writing shall allocate nothing, and fail for no memory.
        viewed.window(Range::whole(min(WINDOW, viewed.pages.size())))?;
        Ok(viewed)
    }

    /// Whether the pages can be given another policy: no one but us holds them.
    pub(super) fn is_movable(&self) -> bool {
        self.pages.references() == References::Ours
    }

    /// The same contents under another policy. Nobody may use the memory meanwhile, and this view is
    /// not used afterwards. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Self::new`]; nothing has changed then.
    pub(super) fn with_policy(
        &self,
        allocator: &Allocator,
        policy: Policy,
    ) -> Result<Self, Failure> {
        let machine = &allocator.machine;
        let has_wrong_alias = || match self.pages.is_highmem() {
            true => self.pages.is_kmapped(),
            false => !machine.accept_alias,
        };
        if machine.needs_highmem(policy) && has_wrong_alias() {
            return self.moved(allocator, policy);
        }
        // Nothing may fill the cache by the old type once the lines are gone.
        if let ViewedBy::Windows(windows) = &self.by {
            *windows.last.lock() = None;
        }
        Self::forget_other_types(machine, policy);
        self.pages.flush()?;
        Ok(Self::over(
            policy,
            self.charged.clone(),
            self.pages.clone(),
        )?)
    }

    /// A copy of the contents in memory that suits `policy`. Both count while there are two.
    fn moved(&self, allocator: &Allocator, policy: Policy) -> Result<Self, Failure> {
        let request = Request {
            size: self.pages.size(),
            zone: Zone::Any,
            charge: allocator.payer.cgroup(),
            references: References::Ours,
        };
        let charged = Self::charge(allocator, request.size)?;
        let pages = Self::contiguous(&allocator.machine, request, policy)?;
        Self::forget_other_types(&allocator.machine, policy);
        // Whoever had the pages before left lines of another type.
        pages.flush()?;
        let new = Self::over(policy, charged, pages)?;
        self.each_part(|part| {
            let from = self.window(part)?;
            let to = new.window(part)?;
            to.span(part).copy_from(&from.span(part));
            Ok(())
        })?;
        new.settle()?;
        Ok(new)
    }

    /// Brings what the kernel wrote to memory.
    fn settle(&self) -> Result {
        self.clean_and_invalidate(Range::whole(self.pages.size()), Phase::End)
    }

    /// Calls `f` with one part after the other, each inside a window, as long as the process lives.
    fn each_part(&self, f: impl FnMut(Range) -> Result) -> Result {
        task::in_stretches(Range::whole(self.pages.size()), f)
    }

    /// The policy of the kernel's view.
    fn policy(&self) -> Policy {
        match &self.by {
            ViewedBy::LinearMap => Policy::Writeback,
            ViewedBy::Windows(windows) => windows.policy,
        }
    }

    /// Whether a cacheable alias remains beside views that are not cached.
    pub(super) fn is_aliased(&self, machine: &Machine) -> bool {
        machine.needs_highmem(self.policy()) && !self.pages.is_highmem()
    }

    /// The pages that are viewed.
    pub(super) fn pages(&self) -> &Arc<Pages> {
        &self.pages
    }

    /// Makes `new` a mapping of these pages, for `object`. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(super) fn mmap(
        &self,
        new: NewMapping<'_>,
        object: Arc<dyn Mapped>,
        mapping: Mapping,
    ) -> Result {
        match mapping {
            Mapping::Pfnmap => new.remap(object, &self.pages, cache_mode(self.policy())),
            Mapping::Strict => new.leave_to_faults(object, &self.pages, cache_mode(self.policy())),
            Mapping::Refcounted => new.insert(object, &self.pages),
        }
    }

    /// The longest range that one window shows; windows begin at its multiples.
    pub(super) fn window_size(&self) -> usize {
        match self.by {
            ViewedBy::LinearMap => usize::MAX,
            ViewedBy::Windows(_) => WINDOW,
        }
    }

    /// The window that shows `range`, which must be inside one. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if another window was used last, and there is no memory or no vmalloc space.
    #[inline]
    pub(super) fn window(&self, range: Range) -> Result<Window<'_>> {
        match &self.by {
            ViewedBy::LinearMap => Ok(Window::Permanent(self.pages.linear().ok_or(EIO)?)),
            ViewedBy::Windows(windows) => windows.show(&self.pages, range).map(Window::Vmap),
        }
    }

    /// A kernel's view of `range`, whole pages, of any length, for others. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is no memory or no vmalloc space.
    pub(super) fn kernel_view(&self, range: Range) -> Result<KernelView> {
        match &self.by {
            ViewedBy::LinearMap => Ok(KernelView::linear(self.pages.clone(), range)),
            ViewedBy::Windows(windows) => {
                let vmap = Vmap::new(&self.pages, range, cache_mode(windows.policy))?;
                Ok(KernelView::vmap(Arc::new(vmap, GFP_KERNEL_ACCOUNT)?, range))
            }
        }
    }

    /// Where the kernel's view is now.
    pub(super) fn view_place(&self) -> ViewPlace {
        match &self.by {
            ViewedBy::LinearMap => self
                .pages
                .linear()
                .map_or(ViewPlace::None, |span| ViewPlace::Linear(span.address())),
            ViewedBy::Windows(windows) => match &*windows.last.lock() {
                Some(vmap) => ViewPlace::Vmap(vmap.span(vmap.range()).address(), vmap.range()),
                None => ViewPlace::None,
            },
        }
    }

    /// Makes memory and the kernel's view of `range` the same where CPU access begins or ends: its lines
    /// are cleaned and invalidated, where it is cached. Costs as much as the range. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Self::window`], and [`EINTR`] if the process was killed; the range is as good as
    /// untouched then, since what was maintained of it changed nothing that the CPU sees.
    pub(super) fn clean_and_invalidate(&self, range: Range, phase: Phase) -> Result {
        if !self.policy().is_cached() {
            // No line of it is anywhere.
        } else if cpu::flushes_all_instead(range.len()) {
            cpu::flush_all();
        } else {
            task::in_stretches(range, |stretch| {
                // What is flushed at once must be physically contiguous.
                let mut runs = self.pages.runs(stretch);
                runs.try_for_each(|run| {
                    let window = self.window(run)?;
                    match phase {
                        Phase::Start => window.span(run).refresh(),
                        Phase::End => window.span(run).flush(),
                    }
                    Ok(())
                })
            })?;
        }
        cpu::drain_write_buffer();
        Ok(())
    }
}
