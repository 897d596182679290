// SPDX-License-Identifier: GPL-2.0

//! Where the memory of a buffer comes from, a file for each kind.

mod coherent;
mod pages;
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
    sys::{
        dma::DmaDevice,
        span::Span,
        vmap::Vmap, //
    },
    uapi, //
};
use coherent::Coherent;
use kernel::{
    bindings,
    dma::DataDirection,
    fmt,
    mm::virt::VmaNew,
    prelude::*,
    sync::Arc, //
};
use pages::Pages;
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
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 3] = [Self::Pages, Self::Coherent, Self::Streaming];

    /// `enum shmbuf_kind`.
    pub(crate) fn to_uapi(self) -> u32 {
        match self {
            Self::Pages => uapi::SHMBUF_KIND_PAGES,
            Self::Coherent => uapi::SHMBUF_KIND_COHERENT,
            Self::Streaming => uapi::SHMBUF_KIND_STREAMING,
        }
    }

    /// The name in parameters and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Coherent => "coherent",
            Self::Streaming => "streaming",
        }
    }

    /// The kind of that name, if any.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().as_bytes() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why memory cannot be had.
pub(crate) enum Failure {
    /// The policy cannot be honoured: [`EOPNOTSUPP`].
    Refused(Policy, Kind, Refusal),
    /// Pages are not free: [`ENOMEM`].
    Pages(crate::sys::pages::AllocFailure),
    /// DMA memory is not free: [`ENOMEM`].
    Dma(usize),
    /// Anything else.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<crate::sys::pages::AllocFailure> for Failure {
    fn from(failure: crate::sys::pages::AllocFailure) -> Self {
        Self::Pages(failure)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(..) => EOPNOTSUPP,
            Failure::Pages(_) | Failure::Dma(_) => ENOMEM,
            Failure::Other(error) => error,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(policy, kind, refusal) => {
                f.write_fmt(fmt!("{policy} refused for kind {kind}: {refusal}"))
            }
            Self::Pages(failure) => f.write_fmt(fmt!("{failure}")),
            Self::Dma(size) => f.write_fmt(fmt!(
                "no {size} bytes of coherent DMA memory are free; ask for less, or enlarge CMA \
                 (cma= on the kernel's command line, CONFIG_CMA_SIZE_MBYTES)"
            )),
            Self::Other(error) => f.write_fmt(fmt!("error {}", error.to_errno())),
        }
    }
}

/// Where the kernel reaches memory, for reports.
pub(crate) enum ViewPlace {
    /// The linear map.
    Linear(usize),
    /// A window in vmalloc space: its address and the range of the buffer that it shows.
    Vmap(usize, Range),
    /// What dma_alloc_attrs() returned.
    Dma(usize),
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
            Self::Vmap(vmap) => vmap.span().slice(range.relative_to(vmap.range())),
        }
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
}

impl Storage {
    /// Memory of `size` bytes, a multiple of the page size: zeroed, and the zeroes are in memory.
    /// May sleep.
    pub(crate) fn new(
        device: &Arc<DmaDevice>,
        machine: &Machine,
        kind: Kind,
        size: usize,
        policy: Policy,
    ) -> Result<Self, Failure> {
        machine
            .memory_type(kind, policy)
            .map_err(|refusal| Failure::Refused(policy, kind, refusal))?;
        Ok(match kind {
            Kind::Pages => Self::Pages(Pages::new(device, machine, size, policy)?),
            Kind::Coherent => Self::Coherent(Coherent::new(device, machine, size, policy)?),
            Kind::Streaming => Self::Streaming(Streaming::new(device, machine, size)?),
        })
    }

    /// Whether `policy` would be a change, or the refusal.
    pub(crate) fn check_policy(&self, machine: &Machine, policy: Policy) -> Result<bool, Failure> {
        if self.policies(machine) & 1 << policy.to_uapi() != 0 {
            return Ok(policy != self.policy());
        }
        let refusal = machine.memory_type(self.kind(), policy).err();
        Err(Failure::Refused(
            policy,
            self.kind(),
            refusal.unwrap_or(Refusal::Kind),
        ))
    }

    /// The same contents under another policy, which [`Self::check_policy`] allows, or the failure
    /// and nothing changed. Nobody may use the memory meanwhile, and this storage is not used
    /// afterwards. May sleep.
    pub(crate) fn with_policy(&self, machine: &Machine, policy: Policy) -> Result<Self, Failure> {
        match self {
            Self::Pages(pages) => Ok(Self::Pages(pages.with_policy(machine, policy)?)),
            Self::Coherent(_) | Self::Streaming(_) => {
                Err(Failure::Refused(policy, self.kind(), Refusal::Kind))
            }
        }
    }

    /// Its kind.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Pages(_) => Kind::Pages,
            Self::Coherent(_) => Kind::Coherent,
            Self::Streaming(_) => Kind::Streaming,
        }
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Policy {
        match self {
            Self::Pages(pages) => pages.policy(),
            Self::Coherent(coherent) => coherent.policy(),
            Self::Streaming(streaming) => streaming.pages().policy(),
        }
    }

    /// The policies that SET_CACHE takes, a bit for each.
    pub(crate) fn policies(&self, machine: &Machine) -> u32 {
        match self {
            Self::Pages(_) => machine.policies(Kind::Pages),
            Self::Coherent(_) | Self::Streaming(_) => 1 << self.policy().to_uapi(),
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
            Self::Coherent(coherent) => coherent.is_aliased(machine),
            Self::Streaming(_) => false,
        }
    }

    /// The physical address of the first byte.
    pub(crate) fn phys(&self) -> bindings::phys_addr_t {
        match self {
            Self::Pages(pages) => pages.phys(),
            Self::Coherent(coherent) => coherent.memory().phys(),
            Self::Streaming(streaming) => streaming.pages().phys(),
        }
    }

    /// The address of the first byte for a device, and the device, if one has a view.
    pub(crate) fn dma(&self) -> Option<(bindings::dma_addr_t, &DmaDevice)> {
        match self {
            Self::Pages(_) => None,
            Self::Coherent(coherent) => {
                let memory = coherent.memory();
                Some((memory.dma(), memory.device()))
            }
            Self::Streaming(streaming) => {
                let mapping = streaming.mapping();
                Some((mapping.dma(), mapping.device()))
            }
        }
    }

    /// Fills `vma` with `range`, at once and for as long as the storage lives. May sleep.
    pub(crate) fn mmap(&self, vma: &VmaNew, range: Range) -> Result {
        match self {
            Self::Pages(pages) => pages.mmap(vma, range),
            Self::Coherent(coherent) => coherent.memory().mmap(vma),
            Self::Streaming(streaming) => streaming.pages().mmap(vma, range),
        }
    }

    /// The longest range that one window shows; windows begin at its multiples.
    pub(crate) fn window_size(&self) -> usize {
        match self {
            Self::Pages(pages) => pages.window_size(),
            Self::Streaming(streaming) => streaming.pages().window_size(),
            Self::Coherent(_) => usize::MAX,
        }
    }

    /// Calls `f` with the kernel's view of `range`, which must be inside one window. May sleep,
    /// and allocates only if the buffer is larger than a window and another was used last.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] in that case.
    pub(crate) fn with_view<R>(&self, range: Range, f: impl FnOnce(Span<'_>) -> R) -> Result<R> {
        let window = match self {
            Self::Pages(pages) => pages.window(range)?,
            Self::Coherent(coherent) => Window::Permanent(coherent.memory().span()),
            Self::Streaming(streaming) => streaming.pages().window(range)?,
        };
        Ok(f(window.span(range)))
    }

    /// Where the kernel's view is now.
    pub(crate) fn view_place(&self) -> ViewPlace {
        match self {
            Self::Pages(pages) => pages.view_place(),
            Self::Coherent(coherent) => ViewPlace::Dma(coherent.memory().span().address()),
            Self::Streaming(streaming) => streaming.pages().view_place(),
        }
    }

    /// CPU access to `range` begins: what a device wrote becomes visible by the kernel's view. What
    /// the device was given comes back, all of it. Costs as much as that and the range. May sleep.
    pub(crate) fn sync_for_cpu(
        &self,
        from: Owner,
        range: Range,
        direction: DataDirection,
    ) -> Result {
        match self {
            Self::Streaming(streaming) => streaming.sync_for_cpu(from, range, direction),
            _ => self.sync_for_device(range),
        }
    }

    /// CPU access to `range` ends: what was written by the kernel's view is in memory. The owner
    /// stays. Costs as much as the range. May sleep.
    pub(crate) fn sync_for_device(&self, range: Range) -> Result {
        match self {
            Self::Pages(pages) => pages.sync(range),
            Self::Coherent(coherent) => {
                coherent.sync();
                Ok(())
            }
            Self::Streaming(streaming) => streaming.pages().sync(range),
        }
    }

    /// The device is given `range`, and what lies between that and what it has already. Returns
    /// the owner after that: for the kinds that have none, the CPU.
    pub(crate) fn hand_over(&self, from: Owner, range: Range) -> Result<Owner> {
        match self {
            Self::Streaming(streaming) => {
                streaming.hand_over(from, range);
                Ok(Owner::Device {
                    handed: from.handed_with(range),
                })
            }
            _ => {
                self.sync_for_device(range)?;
                Ok(Owner::Cpu)
            }
        }
    }
}
