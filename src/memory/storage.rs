// SPDX-License-Identifier: GPL-2.0

//! Where the memory of a buffer comes from, a file for each kind.

mod coherent;
mod pages;
mod pool;
mod region;
mod streaming;

use crate::{
    cache::{
        Machine,
        MemoryType,
        Policy,
        Refusal, //
    },
    ownership::Owner,
    range::Range,
    spec::{
        Checked,
        Invalid,
        Mapping,
        MappingRefusal, //
    },
    sys::{
        cpu,
        decimal::Decimal,
        dma::{
            Backing,
            DmaDevice, //
        },
        io_region::IoRange,
        pages::{
            AllocFailure,
            Charge, //
        },
        span::Span,
        transfer::View,
        vma::Faulting,
        vmap::Vmap, //
    },
    uapi, //
};
use coherent::Coherent;
use kernel::{
    bindings,
    fmt,
    mm::virt::VmaNew,
    prelude::*,
    sync::Arc, //
};
use pages::Pages;
use pool::PoolBlock;
pub(crate) use pool::Pools;
use region::Region;
use streaming::Streaming;

/// The kinds of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Physically contiguous pages; no device's view.
    Pages,
    /// DMA memory that needs no cache maintenance.
    Coherent,
    /// Write-back pages mapped for DMA; CPU and device own them in turns.
    Streaming,
    /// The same of single pages.
    Scatter,
    /// Coherent memory of less than a page.
    Pool,
    /// Device memory that a device-tree node names.
    Region,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 6] = [
        Self::Pages,
        Self::Coherent,
        Self::Streaming,
        Self::Scatter,
        Self::Pool,
        Self::Region,
    ];

    /// `enum shmbuf_kind`.
    pub(crate) fn to_uapi(self) -> u32 {
        match self {
            Self::Pages => uapi::SHMBUF_KIND_PAGES,
            Self::Coherent => uapi::SHMBUF_KIND_COHERENT,
            Self::Streaming => uapi::SHMBUF_KIND_STREAMING,
            Self::Scatter => uapi::SHMBUF_KIND_SCATTER,
            Self::Pool => uapi::SHMBUF_KIND_POOL,
            Self::Region => uapi::SHMBUF_KIND_REGION,
        }
    }

    /// The name in parameters and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Coherent => "coherent",
            Self::Streaming => "streaming",
            Self::Scatter => "scatter",
            Self::Pool => "pool",
            Self::Region => "region",
        }
    }

    /// The kind of that name, if any.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().as_bytes() == name)
    }

    /// Whether CPU and device always own such a buffer in turns. Cached pages have an owner only
    /// while an importer's device reaches them.
    pub(crate) fn has_owner(self) -> bool {
        matches!(self, Self::Streaming | Self::Scatter)
    }

    /// Whether programs can map it: a page is not shared with other buffers.
    pub(crate) fn is_mappable(self) -> bool {
        self != Self::Pool
    }
}

impl TryFrom<u32> for Kind {
    type Error = Error;

    fn try_from(value: u32) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.to_uapi() == value)
            .ok_or(EINVAL)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a buffer cannot be had.
pub(crate) enum Failure {
    /// A field is not understood, or does not go with another: [`EINVAL`].
    Invalid(Invalid),
    /// More bytes than this machine can address: [`EFBIG`].
    TooBig(u64),
    /// The policy cannot be honoured: [`EOPNOTSUPP`].
    Refused(Policy, Kind, Refusal),
    /// The way of mapping cannot be honoured: [`EOPNOTSUPP`].
    MappingRefused(Mapping, Kind, MappingRefusal),
    /// There would be too much private memory: [`EDQUOT`].
    Limit {
        /// Bytes that were asked for.
        size: usize,
        /// Bytes in use.
        used: usize,
        /// Bytes that may be.
        limit: usize,
    },
    /// Pages are not free: [`ENOMEM`].
    Pages(AllocFailure),
    /// DMA memory is not free: [`ENOMEM`].
    Dma(usize),
    /// Pages are free, but none inside the DMA mask: [`ENOMEM`].
    Reach(usize),
    /// The kernel copies for the device (swiotlb): [`EOPNOTSUPP`].
    Bounced,
    /// Another buffer has the name: [`EEXIST`].
    Name,
    /// No node names a region: [`EOPNOTSUPP`].
    NoRegion,
    /// Somebody else has the region: [`EBUSY`].
    RegionInUse,
    /// The kernel does not serve devices that reach so little memory: [`EIO`].
    Mask,
    /// The node names no reserved memory for DMA: [`ENODEV`].
    NoReservedMemory,
    /// Anything else.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    /// What [`DmaDevice::new`] or [`DmaDevice::with_reserved_memory`] failed with.
    pub(crate) fn of_device(error: Error) -> Self {
        match error {
            EIO => Self::Mask,
            ENODEV => Self::NoReservedMemory,
            error => Self::Other(error),
        }
    }
}

impl From<AllocFailure> for Failure {
    fn from(failure: AllocFailure) -> Self {
        Self::Pages(failure)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Invalid(_) => EINVAL,
            Failure::TooBig(_) => EFBIG,
            Failure::Refused(..)
            | Failure::MappingRefused(..)
            | Failure::NoRegion
            | Failure::Bounced => EOPNOTSUPP,
            Failure::Name => EEXIST,
            Failure::RegionInUse => EBUSY,
            Failure::Mask => EIO,
            Failure::NoReservedMemory => ENODEV,
            Failure::Limit { .. } => EDQUOT,
            Failure::Pages(_) | Failure::Dma(_) | Failure::Reach(_) => ENOMEM,
            Failure::Other(error) => error,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => f.write_fmt(fmt!("{invalid}")),
            Self::TooBig(size) => f.write_fmt(fmt!(
                "{} bytes are more than this machine can address",
                Decimal(*size)
            )),
            Self::Refused(policy, kind, refusal) => {
                f.write_fmt(fmt!("{policy} refused for kind {kind}: {refusal}"))
            }
            Self::MappingRefused(mapping, kind, refusal) => {
                f.write_fmt(fmt!("mapping {mapping} refused for kind {kind}: {refusal}"))
            }
            Self::Limit { size, used, limit } => f.write_fmt(fmt!(
                "{size} bytes more than the {used} in use would be over the limit of {limit} for \
                 private buffers; root can raise /sys/module/shmbuf/parameters/limit"
            )),
            Self::Pages(failure) => f.write_fmt(fmt!("{failure}")),
            Self::Dma(size) => f.write_fmt(fmt!(
                "no {size} bytes of coherent DMA memory are free; ask for less, or enlarge CMA \
                 (cma= on the kernel's command line, CONFIG_CMA_SIZE_MBYTES)"
            )),
            Self::Reach(size) => f.write_fmt(fmt!(
                "no {size} bytes of memory inside the DMA mask are free; ask for less, or give the \
                 mask more bits"
            )),
            Self::Bounced => f.write_str(
                "the kernel copies for all devices (swiotlb=force), so this kind has no DMA address \
                 of its own; use kind=coherent, or kind=pages by EXPORT",
            ),
            Self::Name => f.write_str("another buffer has that name; remove it first"),
            Self::NoRegion => f.write_str(
                "kind region is for device-tree nodes with reg or memory-region: see \
                 Documentation/named-buffers.md",
            ),
            Self::RegionInUse => f.write_str(
                "somebody else has some of the region: see /proc/iomem; a buffer of it that was \
                 removed keeps it until its last user goes",
            ),
            Self::Mask => f.write_str(
                "this kernel serves no device with so small a DMA mask; give it more bits",
            ),
            Self::NoReservedMemory => f.write_str(
                "memory-region is no shared-dma-pool; kind region takes any other reserved memory",
            ),
            Self::Other(error) => f.write_fmt(fmt!("error {}", error.to_errno())),
        }
    }
}

/// What a buffer is made of.
#[derive(Clone, Copy)]
pub(crate) enum Memory {
    /// What is allocated, for its device.
    Allocated,
    /// Device memory, for kind region.
    Region(IoRange),
}

/// Where memory comes from, and for whom.
#[derive(Clone)]
pub(crate) struct Allocator {
    /// The device that DMA memory belongs to.
    pub(crate) device: Arc<DmaDevice>,
    /// The machine.
    pub(crate) machine: Machine,
    /// The pools of `device`.
    pub(crate) pools: Arc<Pools>,
    /// Who pays.
    pub(crate) charge: Charge,
    /// What it is made of.
    pub(crate) memory: Memory,
}

/// Where the kernel reaches memory, for reports.
pub(crate) enum ViewPlace {
    /// The linear map.
    Linear(usize),
    /// A window in vmalloc space: its address and the range of the buffer that it shows.
    Vmap(usize, Range),
    /// What dma_alloc_attrs() returned.
    Dma(usize),
    /// What ioremap() returned.
    Io(usize),
    /// None at the moment; it is made when needed.
    None,
}

/// A kernel's view of some of a buffer, which lasts as long as this.
pub(crate) enum Window<'a> {
    /// A view that always exists.
    Permanent(Span<'a>),
    /// A mapping made for a part of a large buffer.
    Vmap(Arc<Vmap>),
}

impl Window<'_> {
    /// The bytes of `range` of the buffer, which must be inside the window.
    fn span(&self, range: Range) -> Span<'_> {
        match self {
            Self::Permanent(span) => span.slice(range),
            Self::Vmap(vmap) => vmap.span(range),
        }
    }
}

/// A kernel's view of some of a buffer that an importer uses for as long as it likes.
pub(crate) struct KernelView {
    address: usize,
    _vmap: Option<Arc<Vmap>>,
    _storage: Arc<Storage>,
}

impl KernelView {
    /// That of `range` of `storage`, whole pages. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is no memory or no vmalloc space.
    pub(crate) fn new(storage: Arc<Storage>, range: Range) -> Result<Self> {
        let (address, vmap) = match storage.view(range)? {
            Window::Permanent(span) => (span.slice(range).address(), None),
            Window::Vmap(vmap) => (vmap.span(range).address(), Some(vmap)),
        };
        Ok(Self {
            address,
            _vmap: vmap,
            _storage: storage,
        })
    }

    /// The address of the first byte.
    pub(crate) fn address(&self) -> usize {
        self.address
    }
}

/// The memory of a buffer.
pub(crate) enum Storage {
    /// Contiguous pages.
    Pages(Pages),
    /// Coherent DMA memory.
    Coherent(Coherent),
    /// Pages mapped for streaming DMA.
    Streaming(Streaming),
    /// Coherent DMA memory of less than a page.
    Pool(PoolBlock),
    /// Device memory.
    Region(Region),
}

impl Storage {
    /// Memory as `spec` says: zeroed, and the zeroes are in memory. May sleep.
    pub(crate) fn new(allocator: &Allocator, spec: &Checked) -> Result<Self, Failure> {
        Ok(match spec.kind {
            Kind::Pages => Self::Pages(Pages::new(allocator, spec)?),
            Kind::Coherent => Self::Coherent(Coherent::new(allocator, spec)?),
            Kind::Streaming | Kind::Scatter => Self::Streaming(Streaming::new(allocator, spec)?),
            Kind::Pool => Self::Pool(PoolBlock::new(allocator, spec)?),
            Kind::Region => Self::Region(Region::new(allocator, spec)?),
        })
    }

    /// Whether `policy` would be a change, or the refusal.
    pub(crate) fn check_policy(&self, machine: &Machine, policy: Policy) -> Result<bool, Failure> {
        if self.policies(machine) & 1 << policy.to_uapi() != 0 {
            return Ok(policy != self.policy());
        }
        let refusal = match machine.memory_type(self.kind(), policy) {
            Err(refusal) => refusal,
            Ok(_) if self.kind() == Kind::Pages => Refusal::Refcounted,
            Ok(_) => Refusal::Kind,
        };
        Err(Failure::Refused(policy, self.kind(), refusal))
    }

    /// The same contents under another policy, which [`Self::check_policy`] allows, or the failure
    /// and nothing changed. Nobody may use the memory meanwhile, and this storage is not used
    /// afterwards. May sleep.
    pub(crate) fn with_policy(
        &self,
        allocator: &Allocator,
        policy: Policy,
    ) -> Result<Self, Failure> {
        match self {
            Self::Pages(pages) => Ok(Self::Pages(pages.with_policy(allocator, policy)?)),
            Self::Coherent(_) | Self::Streaming(_) | Self::Pool(_) | Self::Region(_) => {
                Err(Failure::Refused(policy, self.kind(), Refusal::Kind))
            }
        }
    }

    /// Its kind.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Pages(_) => Kind::Pages,
            Self::Coherent(_) => Kind::Coherent,
            Self::Streaming(streaming) => streaming.kind(),
            Self::Pool(_) => Kind::Pool,
            Self::Region(_) => Kind::Region,
        }
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Policy {
        match self {
            Self::Pages(pages) => pages.policy(),
            Self::Coherent(coherent) => coherent.policy(),
            Self::Streaming(streaming) => streaming.pages().policy(),
            Self::Pool(block) => block.policy(),
            Self::Region(region) => region.policy(),
        }
    }

    /// The policies that SET_CACHE takes, a bit for each.
    pub(crate) fn policies(&self, machine: &Machine) -> u32 {
        match self {
            Self::Pages(pages) if pages.is_movable() => machine.policies(Kind::Pages),
            _ => 1 << self.policy().to_uapi(),
        }
    }

    /// The memory type in force.
    pub(crate) fn memory_type(&self, machine: &Machine) -> MemoryType {
        machine
            .memory_type(self.kind(), self.policy())
            .unwrap_or(MemoryType::Other)
    }

    /// Whether a cacheable alias remains beside views that are not cached.
    pub(crate) fn is_aliased(&self, machine: &Machine) -> bool {
        match self {
            Self::Pages(pages) => pages.is_aliased(machine),
            Self::Coherent(coherent) => coherent::is_aliased(coherent.memory().device(), machine),
            Self::Streaming(_) | Self::Region(_) => false,
            Self::Pool(block) => coherent::is_aliased(block.block().device(), machine),
        }
    }

    /// The physical address of the first byte.
    pub(crate) fn phys(&self) -> bindings::phys_addr_t {
        match self {
            Self::Pages(pages) => pages.phys(),
            Self::Coherent(coherent) => coherent.memory().phys(),
            Self::Streaming(streaming) => streaming.pages().phys(),
            Self::Pool(block) => block.block().phys(),
            Self::Region(region) => region.io().range().start,
        }
    }

    /// The physical address of the byte at `offset`, which is inside.
    pub(crate) fn phys_at(&self, offset: usize) -> bindings::phys_addr_t {
        match self {
            Self::Streaming(streaming) => streaming.pages().pages().phys(offset),
            _ => self.phys() + offset as bindings::phys_addr_t,
        }
    }

    /// The address of the first byte for a device of ours, and the device, if it has a view.
    pub(crate) fn dma(&self) -> Option<(bindings::dma_addr_t, &DmaDevice)> {
        match self {
            Self::Pages(_) | Self::Region(_) => None,
            Self::Coherent(coherent) => {
                let memory = coherent.memory();
                Some((memory.dma(), memory.device()))
            }
            Self::Streaming(streaming) => Some((streaming.dma(), streaming.device())),
            Self::Pool(block) => {
                let block = block.block();
                Some((block.dma(), block.device()))
            }
        }
    }

    /// Fills `vma` with `range`, or prepares it to be filled by [`Self::fault`], for as long as the
    /// storage lives. May sleep.
    ///
    /// # Errors
    ///
    /// [`EOPNOTSUPP`] if the memory shares its page with others, [`ENOMEM`].
    pub(crate) fn mmap(&self, vma: &VmaNew, range: Range, mapping: Mapping) -> Result {
        match self {
            Self::Pages(pages) => pages.mmap(vma, range, mapping),
            Self::Coherent(coherent) => coherent.memory().mmap(vma),
            Self::Streaming(streaming) => streaming.pages().mmap(vma, range, mapping),
            Self::Pool(_) => Err(EOPNOTSUPP),
            Self::Region(region) => region.io().mmap(vma, range),
        }
    }

    /// Fills a VMA of [`Mapping::Strict`] with `range`. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EFAULT`] if it is no such VMA.
    pub(crate) fn fault(&self, vma: &Faulting, range: Range) -> Result {
        match self {
            Self::Streaming(streaming) => streaming.pages().fault(vma, range),
            _ => Err(EFAULT),
        }
    }

    /// The longest range that one window shows; windows begin at its multiples.
    pub(crate) fn window_size(&self) -> usize {
        match self {
            Self::Pages(pages) => pages.window_size(),
            Self::Streaming(streaming) => streaming.pages().window_size(),
            Self::Coherent(_) | Self::Pool(_) | Self::Region(_) => usize::MAX,
        }
    }

    /// Calls `f` with the kernel's view of `range`, which must be inside one window. May sleep,
    /// and allocates only if the buffer is larger than a window and another was used last.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`] in that case;
    /// - [`EINVAL`] if `range` is not one of whole accesses to a device.
    pub(crate) fn with_view<R>(&self, range: Range, f: impl FnOnce(View<'_>) -> R) -> Result<R> {
        let window = match self {
            Self::Region(region) => {
                let width = region.io().range().width.bytes();
                if range.start() % width != 0 || range.len() % width != 0 {
                    return Err(EINVAL);
                }
                return Ok(f(View::Io(region.io(), range)));
            }
            Self::Pages(pages) => pages.window(range)?,
            Self::Coherent(coherent) => Window::Permanent(coherent.memory().span()),
            Self::Streaming(streaming) => streaming.pages().window(range)?,
            Self::Pool(block) => Window::Permanent(block.block().span()),
        };
        Ok(f(View::Memory(window.span(range))))
    }

    /// The bytes of one access; one for memory.
    pub(crate) fn access_width(&self) -> usize {
        match self {
            Self::Region(region) => region.io().range().width.bytes(),
            _ => 1,
        }
    }

    /// A kernel's view of `range`, whole pages, of any length. May sleep.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`] if there is no memory or no vmalloc space;
    /// - [`EOPNOTSUPP`] if the memory has no pages of its own.
    pub(crate) fn view(&self, range: Range) -> Result<Window<'_>> {
        match self {
            Self::Pages(pages) => pages.view(range),
            Self::Coherent(coherent) => Ok(Window::Permanent(coherent.memory().span())),
            Self::Streaming(streaming) => streaming.pages().view(range),
            Self::Pool(_) | Self::Region(_) => Err(EOPNOTSUPP),
        }
    }

    /// Whether the kernel's view always exists, and none is ever made.
    pub(crate) fn has_permanent_view(&self) -> bool {
        self.window_size() == usize::MAX
    }

    /// Where the kernel's view is now.
    pub(crate) fn view_place(&self) -> ViewPlace {
        match self {
            Self::Pages(pages) => pages.view_place(),
            Self::Coherent(coherent) => ViewPlace::Dma(coherent.memory().span().address()),
            Self::Streaming(streaming) => streaming.pages().view_place(),
            Self::Pool(block) => ViewPlace::Dma(block.block().span().address()),
            Self::Region(region) => ViewPlace::Io(region.io().address()),
        }
    }

    /// CPU access to `range` begins: what devices wrote becomes visible by the kernel's view. What
    /// they were given comes back, all of it. Costs as much as that and the range. May sleep.
    ///
    /// If the CPU owned the buffer already, lines of the range may be dirty, and are somebody's
    /// data: they are cleaned before they are invalidated. If a device did, a dirty line would
    /// overwrite what it wrote.
    pub(crate) fn sync_for_cpu(&self, from: Owner, range: Range) -> Result {
        if let Owner::Device { handed } = from {
            if handed.hull(range) != handed {
                self.sync_for_device(range)?;
            }
            if let Self::Streaming(streaming) = self {
                streaming.take_back(handed);
            }
            Ok(())
        } else {
            self.sync_for_device(range)
        }
    }

    /// CPU access to `range` ends: what was written by the kernel's view is in memory. The owner
    /// stays. Costs as much as the range. May sleep.
    pub(crate) fn sync_for_device(&self, range: Range) -> Result {
        match self {
            Self::Pages(pages) => pages.sync(range),
            Self::Streaming(streaming) => streaming.pages().sync(range),
            Self::Coherent(_) | Self::Pool(_) | Self::Region(_) => {
                cpu::drain_write_buffer();
                Ok(())
            }
        }
    }

    /// Devices are given `range`, and what lies between that and what they have already. May
    /// sleep.
    pub(crate) fn hand_over(&self, from: Owner, range: Range) -> Result {
        match self {
            Self::Streaming(streaming) => streaming.hand_over(from, range),
            _ => self.sync_for_device(range),
        }
    }

    /// The memory as devices of importers can reach it, if it has pages of its own.
    pub(crate) fn backing(&self) -> Option<Backing> {
        match self {
            Self::Pages(pages) => Some(Backing::Pages(pages.pages().clone())),
            Self::Streaming(streaming) => Some(Backing::Pages(streaming.pages().pages().clone())),
            Self::Coherent(coherent) => Backing::coherent(coherent.memory()),
            Self::Pool(_) | Self::Region(_) => None,
        }
    }
}
