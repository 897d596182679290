// SPDX-License-Identifier: GPL-2.0

//! The memory of a buffer, whatever its kind.

use crate::{
    memory::{
        allocator::Allocator,
        coherent,
        limit::Charged,
        machine::cache_mode,
        pages::ViewedPages,
        pool::PoolBlock,
        region,
        streaming::OwnMapping,
        window::{
            ViewPlace,
            Window, //
        },
    },
    rules::{
        failure::{
            Failure,
            Refusal, //
        },
        kind::Kind,
        machine::{
            Machine,
            MemoryType, //
        },
        mapping::Mapping,
        ownership::Phase,
        policy::Policy,
        range::Range,
        spec::Checked, //
    },
    sys::{
        cpu,
        dma_coherent::CoherentMemory,
        dma_device::DmaDevice,
        dma_mapping::Backing,
        errno::EOPNOTSUPP,
        io_region::IoRegion,
        kernel_view::KernelView,
        span::Span,
        task,
        transfer::RangeView,
        vma::{
            Mapped,
            NewMapping, //
        },
    },
};
use kernel::{
    bindings,
    prelude::*,
    sync::Arc, //
};

/// The memory of a buffer.
pub(crate) struct Storage {
    kind: Kind,
    policy: Policy,
    memory: Memory,
}

/// What memory of each kind is made of.
enum Memory {
    /// Pages, and for kinds streaming and scatter, first, as it goes before them, their mapping for a
    /// device of the buffer's own.
    Pages(Option<OwnMapping>, ViewedPages),
    /// Coherent DMA memory, and what counts for it.
    Coherent(
        Arc<CoherentMemory>,
        #[expect(dead_code, reason = "it is only dropped")] Charged,
    ),
    /// Coherent DMA memory of less than a page.
    Pool(PoolBlock),
    /// Device memory.
    Region(Arc<IoRegion>),
}

/// How memory that a device of the buffer's own and the CPU own in turns goes from one to the other.
pub(crate) enum OwnView<'a> {
    /// By the mapping of pages for the device.
    Mapping(&'a OwnMapping),
    /// By the kernel's view of the device's own memory.
    Region(Span<'a>),
}

impl OwnView<'_> {
    /// What the kernel's view has of `range`, which is inside, gets to the device. May sleep.
    pub(crate) fn sync_for_device(&self, range: Range) {
        match self {
            Self::Mapping(own) => own.mapping().sync_for_device(range),
            Self::Region(span) => region::maintain(span.slice(range), Phase::End),
        }
    }

    /// What the device wrote to `range`, which is inside, gets to the kernel's view. May sleep.
    pub(crate) fn sync_for_cpu(&self, range: Range) {
        match self {
            Self::Mapping(own) => own.mapping().sync_for_cpu(range),
            Self::Region(span) => region::maintain(span.slice(range), Phase::Start),
        }
    }
}

impl Storage {
    /// Memory as `spec` says: zeroed, and the zeroes are in memory. May sleep.
    pub(crate) fn new(allocator: &Allocator, spec: &Checked) -> Result<Self, Failure> {
        let memory = match spec.kind {
            Kind::Pages => Memory::Pages(None, ViewedPages::new(allocator, spec)?),
            Kind::Streaming | Kind::Scatter => {
                let pages = ViewedPages::new(allocator, spec)?;
                let mapping = OwnMapping::new(allocator, spec, &pages)?;
                Memory::Pages(Some(mapping), pages)
            }
            Kind::Coherent => {
                let (memory, charged) = coherent::allocate(allocator, spec)?;
                Memory::Coherent(memory, charged)
            }
            Kind::Pool => Memory::Pool(PoolBlock::new(
                &allocator.pools,
                &allocator.device,
                &allocator.machine,
                &allocator.payer,
                spec,
            )?),
            Kind::Region => Memory::Region(region::claim(allocator, spec)?),
        };
        Ok(Self {
            kind: spec.kind,
            policy: spec.policy,
            memory,
        })
    }

    /// Whether `policy` would be a change, or the refusal.
    pub(crate) fn check_policy(&self, machine: &Machine, policy: Policy) -> Result<bool, Failure> {
        if self.policies(machine) & 1 << policy.to_uapi() != 0 {
            return Ok(policy != self.policy);
        }
        let refusal = match machine.memory_type(self.kind, policy) {
            Err(refusal) => refusal,
            Ok(_) if self.kind == Kind::Pages => Refusal::Refcounted,
            Ok(_) => Refusal::Kind,
        };
        Err(Failure::Refused(policy, self.kind, refusal))
    }

    /// The same contents under another policy, which [`Self::check_policy`] allows, or the failure
    /// and nothing changed. Nobody may use the memory meanwhile, and this storage is not used
    /// afterwards. May sleep.
    pub(crate) fn with_policy(
        &self,
        allocator: &Allocator,
        policy: Policy,
    ) -> Result<Self, Failure> {
        let Memory::Pages(None, pages) = &self.memory else {
            return Err(Failure::Refused(policy, self.kind, Refusal::Kind));
        };
        Ok(Self {
            kind: self.kind,
            policy,
            memory: Memory::Pages(None, pages.with_policy(allocator, policy)?),
        })
    }

    /// The kind of the memory.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// The pages, if it is made of pages of ours.
    fn pages(&self) -> Option<&ViewedPages> {
        match &self.memory {
            Memory::Pages(_, pages) => Some(pages),
            Memory::Coherent(..) | Memory::Pool(_) | Memory::Region(_) => None,
        }
    }

    /// The policies that SET_CACHE takes, a bit for each.
    pub(crate) fn policies(&self, machine: &Machine) -> u32 {
        match &self.memory {
            Memory::Pages(None, pages) if pages.is_movable() => machine.policies(self.kind),
            _ => 1 << self.policy.to_uapi(),
        }
    }

    /// The memory type in force.
    pub(crate) fn memory_type(&self, machine: &Machine) -> MemoryType {
        machine
            .memory_type(self.kind, self.policy)
            .unwrap_or(MemoryType::Other)
    }

    /// Whether a cacheable alias remains beside views that are not cached.
    pub(crate) fn is_aliased(&self, machine: &Machine) -> bool {
        match &self.memory {
            Memory::Pages(_, pages) => pages.is_aliased(machine),
            Memory::Coherent(memory, _) => coherent::is_aliased(memory.device(), machine),
            Memory::Pool(block) => coherent::is_aliased(block.block().device(), machine),
            Memory::Region(_) => false,
        }
    }

    /// The physical address of the byte at `offset`, which is inside.
    pub(crate) fn phys(&self, offset: usize) -> bindings::phys_addr_t {
        let start = match &self.memory {
            Memory::Pages(_, pages) => {
                return pages.pages().phys(offset);
            }
            Memory::Coherent(memory, _) => memory.phys(),
            Memory::Pool(block) => block.block().phys(),
            Memory::Region(region) => region.range().start(),
        };
        start + offset as bindings::phys_addr_t
    }

    /// The address of the first byte for a device of ours, and the device, if it has a view.
    pub(crate) fn dma(&self) -> Option<(bindings::dma_addr_t, &DmaDevice)> {
        match &self.memory {
            Memory::Pages(mapping, _) => mapping.as_ref().map(OwnMapping::dma),
            Memory::Coherent(memory, _) => Some((memory.dma(), memory.device())),
            Memory::Pool(block) => Some((block.block().dma(), block.block().device())),
            Memory::Region(_) => None,
        }
    }

    /// The address of the first byte of `range` for that device, and how many bytes of `range` follow
    /// each other there, if it has a view. May sleep.
    pub(crate) fn first_segment(&self, range: Range) -> Option<(bindings::dma_addr_t, usize)> {
        if let Some(own) = self.own_mapping() {
            return own.mapping().first_segment(range);
        }
        let (start, _) = self.dma()?;
        Some((start + range.start() as bindings::dma_addr_t, range.len()))
    }

    /// Makes `new` a mapping of this memory, for `object`. May sleep.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if the memory shares its page with others, [`ENOMEM`].
    pub(crate) fn mmap(
        &self,
        new: NewMapping<'_>,
        object: Arc<dyn Mapped>,
        mapping: Mapping,
    ) -> Result {
        match &self.memory {
            Memory::Pages(_, pages) => pages.mmap(new, object, mapping),
            Memory::Coherent(memory, _) => new.coherent(object, memory, cache_mode(self.policy)),
            Memory::Pool(_) => Err(EOPNOTSUPP),
            Memory::Region(region) if mapping == Mapping::Strict => {
                new.leave_io_to_faults(object, region)
            }
            Memory::Region(region) => new.io(object, region),
        }
    }

    /// The longest range that one window shows; windows begin at its multiples.
    pub(crate) fn window_size(&self) -> usize {
        self.pages().map_or(usize::MAX, ViewedPages::window_size)
    }

    /// Calls `f` with the kernel's view of `range`, which must be inside one window. May sleep,
    /// and allocates only if the buffer is larger than a window and another was used last.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`] in that case;
    /// - [`EINVAL`] if `range` is not one of whole accesses to a device.
    pub(crate) fn with_view<R>(
        &self,
        range: Range,
        f: impl FnOnce(RangeView<'_>) -> R,
    ) -> Result<R> {
        let window = match &self.memory {
            Memory::Pages(_, pages) => pages.window(range)?,
            Memory::Coherent(memory, _) => Window::Permanent(memory.span()),
            Memory::Pool(block) => Window::Permanent(block.block().span()),
            Memory::Region(region) => match region.span() {
                Some(span) => Window::Permanent(span),
                None => {
                    let width = region.range().width().bytes();
                    if range.start() % width != 0 || range.len() % width != 0 {
                        return Err(EINVAL);
                    }
                    return Ok(f(RangeView::Io(region, range)));
                }
            },
        };
        Ok(f(RangeView::Memory(window.span(range))))
    }

    /// The bytes of one access; one for memory.
    pub(crate) fn access_width(&self) -> usize {
        match &self.memory {
            Memory::Region(region) if region.span().is_none() => region.range().width().bytes(),
            _ => 1,
        }
    }

    /// A kernel's view of `range`, whole pages, of any length, which an importer uses for as long as
    /// it likes. May sleep.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`] if there is no memory or no vmalloc space;
    /// - [`EOPNOTSUPP`] if the memory has no pages of its own.
    pub(crate) fn kernel_view(&self, range: Range) -> Result<KernelView> {
        match &self.memory {
            Memory::Pages(_, pages) => pages.kernel_view(range),
            Memory::Coherent(memory, _) => Ok(KernelView::coherent(memory.clone(), range)),
            Memory::Pool(_) | Memory::Region(_) => Err(EOPNOTSUPP),
        }
    }

    /// Whether the kernel's view always exists, and none is ever made.
    pub(crate) fn has_permanent_view(&self) -> bool {
        self.window_size() == usize::MAX
    }

    /// Where the kernel's view is now.
    pub(crate) fn view_place(&self) -> ViewPlace {
        match &self.memory {
            Memory::Pages(_, pages) => pages.view_place(),
            Memory::Coherent(memory, _) => ViewPlace::Dma(memory.span().address()),
            Memory::Pool(block) => ViewPlace::Dma(block.block().span().address()),
            Memory::Region(region) => ViewPlace::Io(region.address()),
        }
    }

    /// The mapping for a device of the buffer's own, if it has one.
    fn own_mapping(&self) -> Option<&OwnMapping> {
        match &self.memory {
            Memory::Pages(mapping, _) => mapping.as_ref(),
            Memory::Coherent(..) | Memory::Pool(_) | Memory::Region(_) => None,
        }
    }

    /// How it goes to a device of the buffer's own and comes back, if it has one.
    pub(crate) fn own_view(&self) -> Option<OwnView<'_>> {
        match &self.memory {
            Memory::Region(region) => region.span().map(OwnView::Region),
            _ => self.own_mapping().map(OwnView::Mapping),
        }
    }

    /// Makes memory and the kernel's view of `range` the same: where CPU access ends, what was written by
    /// the view is in memory, and where it begins, what is read by it comes from there, unless it was
    /// written by it. Costs as much as the range. May sleep.
    ///
    /// Only for what the CPU owns: a dirty line would overwrite what a device wrote.
    ///
    /// # Errors
    ///
    /// Those of [`Self::with_view`], and [`EINTR`] if the process was killed.
    pub(crate) fn clean_and_invalidate(&self, range: Range, phase: Phase) -> Result {
        match (&self.memory, self.own_view()) {
            (Memory::Pages(_, pages), _) => return pages.clean_and_invalidate(range, phase),
            (_, Some(OwnView::Region(span))) => task::in_stretches(range, |stretch| {
                region::maintain(span.slice(stretch), phase);
                Ok(())
            })?,
            _ => {}
        }
        cpu::drain_write_buffer();
        Ok(())
    }

    /// Brings what a device that snoops has written to the cache to memory, whoever has the bytes. May
    /// sleep.
    pub(crate) fn clean(&self, range: Range) {
        if let Some(pages) = self.pages() {
            pages.pages().clean_range(range);
        }
    }

    /// The memory as devices of importers can reach it, if it has pages of its own.
    pub(crate) fn backing(&self) -> Option<Backing> {
        match &self.memory {
            Memory::Pages(_, pages) => Some(Backing::pages(pages.pages().clone())),
            Memory::Coherent(memory, _) => Backing::coherent(memory),
            Memory::Pool(_) | Memory::Region(_) => None,
        }
    }
}
