// SPDX-License-Identifier: GPL-2.0

//! Pages with the memory type that was asked for.

use super::{
    Allocator,
    Failure,
    Kind,
    ViewPlace,
    Window, //
};
use crate::{
    cache::{
        Machine,
        Policy, //
    },
    range::Range,
    spec::{
        Checked,
        Mapping, //
    },
    sys::{
        self, cpu,
        dma::DmaDevice,
        pages::{
            AllocFailure,
            References,
            Request,
            Zone, //
        },
        vma::{
            self,
            Faulting, //
        },
        vmap::{
            self,
            Vmap, //
        },
    },
};
use core::cmp::min;
use kernel::{
    bindings,
    mm::virt::VmaNew,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// The part of a buffer that the kernel maps at a time: vmalloc space is small on 32-bit ARM.
const WINDOW: usize = 4 << 20;

/// Memory of kind `pages`, and what kinds `streaming` and `scatter` map for DMA.
///
/// All CPU views have the type of `policy`. The kernel's linear mapping, where there is one, is
/// such a view only if it is of that type; else it is not used, and holds no lines.
pub(crate) struct Pages {
    policy: Policy,
    view: View,
    pages: Arc<sys::pages::Pages>,
}

/// How the kernel reaches the pages.
enum View {
    /// By the linear map, which has the type.
    Linear,
    /// By a mapping with the type, a window at a time.
    Windows(Arc<Windows>),
}

/// The window that was used last.
#[pin_data]
struct Windows {
    #[pin]
    last: Mutex<Option<Arc<Vmap>>>,
}

/// What is in pages that get a view.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contents {
    /// A buffer's, written by any view.
    Kept,
    /// Anything. All of it is written over, and settled, before anybody looks.
    Void,
}

impl Pages {
    /// See [`super::Storage::new`].
    pub(crate) fn new(allocator: &Allocator, spec: &Checked) -> Result<Self, Failure> {
        let references = match spec.mapping {
            Mapping::Pfnmap | Mapping::Strict => References::Ours,
            Mapping::Refcounted => References::Shared,
        };
        let request = Request {
            size: spec.size,
            zone: Zone::Any,
            charge: allocator.charge,
            references,
        };
        let pages = match spec.kind {
            Kind::Scatter => {
                let alloc = sys::pages::Pages::scattered;
                Self::within_reach(&allocator.device, request, &[Zone::Any], alloc)?
            }
            Kind::Streaming => {
                // The linear map needs no vmalloc space.
                let zones = &[Zone::Linear, Zone::Any];
                let alloc = sys::pages::Pages::contiguous;
                Self::within_reach(&allocator.device, request, zones, alloc)?
            }
            _ => Self::contiguous(&allocator.machine, request, spec.policy)?,
        };
        let this = Self::over(pages, spec.policy, Contents::Void)?;
        this.each_window(|this, range| this.window(range).map(|window| window.span(range).zero()))?;
        this.settle()?;
        Ok(this)
    }

    /// Contiguous memory where `policy` can be had, with whatever contents.
    fn contiguous(
        machine: &Machine,
        request: Request,
        policy: Policy,
    ) -> Result<Arc<sys::pages::Pages>, Failure> {
        let zones: &[Zone] = match machine.needs_highmem(policy) {
            true if machine.accept_alias => &[Zone::Highmem, Zone::Linear],
            true => &[Zone::Highmem],
            // As for kind streaming.
            false => &[Zone::Linear, Zone::Any],
        };
        Self::allocate(request, zones, sys::pages::Pages::contiguous, |_| true)
    }

    /// Memory that `device` reaches, in `zones`, or lower if that is beyond its DMA mask.
    fn within_reach(
        device: &DmaDevice,
        request: Request,
        zones: &[Zone],
        alloc: impl Fn(Request) -> Result<sys::pages::Pages, AllocFailure> + Copy,
    ) -> Result<Arc<sys::pages::Pages>, Failure> {
        let reached = |pages: &_| device.reaches(pages);
        match Self::allocate(request, zones, alloc, reached) {
            Err(Failure::Reach(_)) => {
                Self::allocate(request, &[Zone::Dma32, Zone::Dma], alloc, reached)
            }
            result => result,
        }
    }

    /// What `alloc` gives in the first of `zones` that has some that is `reached`.
    fn allocate(
        request: Request,
        zones: &[Zone],
        alloc: impl Fn(Request) -> Result<sys::pages::Pages, AllocFailure>,
        reached: impl Fn(&sys::pages::Pages) -> bool,
    ) -> Result<Arc<sys::pages::Pages>, Failure> {
        let mut failure = None;
        for &zone in zones {
            match alloc(Request { zone, ..request }) {
                Ok(pages) if reached(&pages) => {
                    return Ok(Arc::new(pages, GFP_KERNEL).map_err(Error::from)?);
                }
                Ok(pages) => failure = Some(Failure::Reach(pages.size())),
                Err(other) => {
                    failure.get_or_insert(other.into());
                }
            }
        }
        Err(failure.unwrap_or(Failure::Other(ENOMEM)))
    }

    /// The view of `pages` for `policy`. There is no other view of them now, and by the time this
    /// returns no cache line that an earlier one left, but those that void contents are written
    /// over in.
    fn over(pages: Arc<sys::pages::Pages>, policy: Policy, contents: Contents) -> Result<Self> {
        vmap::flush_removed();
        let is_linear = policy == Policy::Writeback && pages.linear().is_some();
        // Who had the pages before left lines of the linear map alone, of the same type.
        if !is_linear || contents == Contents::Kept {
            pages.flush();
        }
        let view = if is_linear {
            View::Linear
        } else {
            View::Windows(Arc::pin_init(
                pin_init!(Windows { last <- new_mutex!(None, "shmbuf::windows") }),
                GFP_KERNEL,
            )?)
        };
        let this = Self {
            policy,
            view,
            pages,
        };
        // Reading and writing shall allocate nothing, and fail for no memory.
        this.window(Range::whole(min(WINDOW, this.pages.size())))?;
        Ok(this)
    }

    /// Whether another policy can be given to it: no one but us holds the pages.
    pub(crate) fn is_movable(&self) -> bool {
        self.pages.references() == References::Ours
    }

    /// See [`super::Storage::with_policy`].
    pub(crate) fn with_policy(
        &self,
        allocator: &Allocator,
        policy: Policy,
    ) -> Result<Self, Failure> {
        let machine = &allocator.machine;
        if machine.needs_highmem(policy) && !self.pages.is_highmem() && !machine.accept_alias {
            return self.moved(allocator, policy);
        }
        // Nothing may fill the cache by the old type once the lines are gone.
        if let View::Windows(windows) = &self.view {
            *windows.last.lock() = None;
        }
        Ok(Self::over(self.pages.clone(), policy, Contents::Kept)?)
    }

    /// A copy in memory that suits `policy`.
    fn moved(&self, allocator: &Allocator, policy: Policy) -> Result<Self, Failure> {
        let request = Request {
            size: self.pages.size(),
            zone: Zone::Any,
            charge: allocator.charge,
            references: References::Ours,
        };
        let pages = Self::contiguous(&allocator.machine, request, policy)?;
        let new = Self::over(pages, policy, Contents::Void)?;
        self.each_window(|old, range| {
            let from = old.window(range)?;
            let to = new.window(range)?;
            to.span(range).copy_from(&from.span(range));
            Ok(())
        })?;
        new.settle()?;
        Ok(new)
    }

    /// Brings what the kernel wrote to memory.
    fn settle(&self) -> Result {
        self.sync(Range::whole(self.pages.size()))
    }

    fn each_window(&self, mut f: impl FnMut(&Self, Range) -> Result) -> Result {
        Range::whole(self.pages.size())
            .pieces(WINDOW)
            .try_for_each(|range| f(self, range))
    }

    /// See [`super::Storage::policy`].
    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// See [`super::Storage::is_aliased`].
    pub(crate) fn is_aliased(&self, machine: &Machine) -> bool {
        machine.needs_highmem(self.policy) && !self.pages.is_highmem()
    }

    /// See [`super::Storage::phys`].
    pub(crate) fn phys(&self) -> bindings::phys_addr_t {
        self.pages.phys(0)
    }

    /// The pages themselves.
    pub(crate) fn pages(&self) -> &Arc<sys::pages::Pages> {
        &self.pages
    }

    /// See [`super::Storage::mmap`].
    pub(crate) fn mmap(&self, vma: &VmaNew, range: Range, mapping: Mapping) -> Result {
        match mapping {
            Mapping::Pfnmap => vma::remap_pages(vma, &self.pages, range, self.policy),
            Mapping::Strict => {
                vma::prepare_faults(vma);
                Ok(())
            }
            Mapping::Refcounted => vma::insert_pages(vma, &self.pages, range),
        }
    }

    /// See [`super::Storage::fault`].
    pub(crate) fn fault(&self, vma: &Faulting, range: Range) -> Result {
        vma.insert(&self.pages, range, self.policy)
    }

    /// See [`super::Storage::window_size`].
    pub(crate) fn window_size(&self) -> usize {
        match self.view {
            View::Linear => usize::MAX,
            View::Windows(_) => WINDOW,
        }
    }

    /// The window that shows `range`.
    pub(super) fn window(&self, range: Range) -> Result<Window<'_>> {
        let windows = match &self.view {
            View::Linear => return Ok(Window::Permanent(self.pages.linear().ok_or(EIO)?)),
            View::Windows(windows) => windows,
        };
        let shown = range.enclosing(WINDOW, self.pages.size());
        let mut last = windows.last.lock();
        if let Some(vmap) = last.as_ref().filter(|vmap| vmap.range() == shown) {
            return Ok(Window::Vmap(vmap.clone()));
        }
        let vmap = Arc::new(Vmap::new(&self.pages, shown, self.policy)?, GFP_KERNEL)?;
        *last = Some(vmap.clone());
        Ok(Window::Vmap(vmap))
    }

    /// See [`super::Storage::view`].
    pub(super) fn view(&self, range: Range) -> Result<Window<'_>> {
        match self.pages.linear() {
            Some(span) if matches!(self.view, View::Linear) => Ok(Window::Permanent(span)),
            _ => Ok(Window::Vmap(Arc::new(
                Vmap::new(&self.pages, range, self.policy)?,
                GFP_KERNEL,
            )?)),
        }
    }

    /// See [`super::Storage::view_place`].
    pub(crate) fn view_place(&self) -> ViewPlace {
        match &self.view {
            View::Linear => self
                .pages
                .linear()
                .map_or(ViewPlace::None, |span| ViewPlace::Linear(span.address())),
            View::Windows(windows) => match &*windows.last.lock() {
                Some(vmap) => ViewPlace::Vmap(vmap.span(vmap.range()).address(), vmap.range()),
                None => ViewPlace::None,
            },
        }
    }

    /// Makes memory and the kernel's view of `range` the same, for a device that the kernel does
    /// not know. See [`super::Storage::sync_for_cpu`].
    pub(crate) fn sync(&self, range: Range) -> Result {
        if self.policy.is_cached() {
            // What is flushed at once must be in one window, and physically contiguous.
            let step = min(self.window_size(), self.pages.contiguity());
            range.pieces(step).try_for_each(|piece| {
                self.window(piece).map(|window| window.span(piece).flush())
            })?;
        }
        cpu::drain_write_buffer();
        Ok(())
    }
}
