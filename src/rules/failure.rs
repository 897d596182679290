// SPDX-License-Identifier: GPL-2.0

//! Every reason for which a buffer cannot be had as it was asked for: its errno,
//! and the sentence that says what to do.

use super::{
    direction::Direction,
    kind::Kind,
    mapping::Mapping,
    policy::Policy,
    size::Bytes, //
};
use crate::sys::errno::{
    EDQUOT,
    EOPNOTSUPP, //
};
use kernel::{
    fmt,
    page::PAGE_SIZE,
    prelude::*, //
};

/// Why a policy is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The kind of memory has one policy only, and not this.
    Kind,
    /// The core treats write-through as something else.
    Writethrough,
    /// Non-cached pages would keep a cacheable alias.
    Alias,
    /// Cached aliases of a VIPT-aliasing cache cannot be maintained by a module.
    Aliasing,
    /// The cacheable alias of pages cannot be avoided.
    Linear,
    /// Nothing but write-back is offered on a machine whose caches snoop.
    Snooping,
    /// The kernel's page protection for this policy is another type.
    Kernel,
    /// Others may hold references to the pages.
    Refcounted,
    /// The kernel maps memory that was reserved for one device write-combined.
    Declared,
    /// The device that the memory is for snoops: it needs the CPU's caches.
    DeviceSnoops,
    /// Such a device, on a machine whose caches go by virtual addresses.
    Unsnooped,
    /// Nobody says that the device memory is memory: loads and stores of registers have effects.
    Registers,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "this kind of memory has its own policy; kind=pages takes others",
            Self::Writethrough => {
                "this core treats write-through as non-cacheable; use writeback or writecombine"
            }
            Self::Alias => {
                "the kernel's cacheable mapping of these pages would remain, which ARMv6 and later \
                 call unpredictable, and this machine has no highmem; use kind=coherent with \
                 CONFIG_DMA_CMA, more RAM or a larger vmalloc= (both make highmem), or \
                 accept_alias=1"
            }
            Self::Aliasing => {
                "cached mappings of an aliasing VIPT cache need a flush that modules cannot do; \
                 use kind=coherent"
            }
            Self::Linear => {
                "the kernel's cacheable mapping of all memory remains on this machine; use \
                 writeback, or kind=coherent with writecombine"
            }
            Self::Snooping => "caches snoop on this machine; use writeback",
            Self::DeviceSnoops => {
                "the device that it is for snoops the CPU's caches (dma-coherent), past which the \
                 CPU would read and write; use writeback"
            }
            Self::Unsnooped => {
                "the device that it is for is said to snoop the CPU's caches (dma-coherent), which \
                 no device does where caches go by virtual addresses; correct the device tree"
            }
            Self::Registers => {
                "registers are not cached; if it is memory, the device-tree node has to say so \
                 (shmbuf,memory, or memory-region); else use noncached"
            }
            Self::Declared => {
                "the kernel maps memory reserved with no-map write-combined; use writecombine"
            }
            Self::Refcounted => {
                "pages of a refcounted mapping may be pinned, and stay write-back; make the buffer \
                 without it"
            }
            Self::Kernel => {
                "this kernel gives another memory type for it (see cachepolicy= on its command line \
                 and CONFIG_CPU_DCACHE_WRITETHROUGH)"
            }
        })
    }
}

/// Why the device of an importer does not get the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It cannot address all of it.
    Unreached,
    /// The kernel would copy for it, and nobody calls SYNC for such memory.
    Copied,
    /// It snoops the CPU's caches, and the CPU does not use them for this memory: the two would not
    /// see what the other writes.
    Snooping,
    /// It does not snoop them, and nobody calls SYNC for memory of a device that does.
    Unsnooping,
}

impl Unfit {
    /// What the importer gets.
    pub(crate) fn errno(self) -> Error {
        match self {
            Self::Unreached => EIO,
            Self::Copied | Self::Snooping | Self::Unsnooping => EOPNOTSUPP,
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreached => {
                "its DMA does not reach all of a dma-buf, and the kernel does not copy for it; use \
                 a named buffer for it (device), or with its DMA mask (dma_mask_bits)"
            }
            Self::Copied => {
                "the kernel would copy for it (swiotlb), at each SYNC, which this memory does not \
                 need; use kind=pages, write-back"
            }
            Self::Unsnooping => {
                "it does not snoop the CPU's caches, in which the coherent memory of a device that \
                 does (dma-coherent) is; use kind=pages, streaming or scatter"
            }
            Self::Snooping => {
                "it snoops the CPU's caches (dma-coherent), past which the CPU reads and writes \
                 this memory; use kind=pages, streaming or scatter, write-back"
            }
        })
    }
}

/// Why a dma-buf of another driver is not imported, or what does not go with one that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// The descriptor is of something else.
    NoDmaBuf,
    /// It is one of this driver.
    Ours,
    /// The kernel would copy for the device, and only syncs of this driver would do it.
    Copied,
    /// The memory type is the exporter's.
    Policy,
    /// What its exporter does is for all of it.
    Part,
    /// It has the rights that its exporter gave.
    Rights,
    /// An engine copies what has pages of this driver.
    Engine,
    /// Its handle is for it alone.
    Origin,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDmaBuf => {
                "the file is no dma-buf; of a memfd, /dev/udmabuf makes one (CONFIG_UDMABUF, \
                 UDMABUF_CREATE)"
            }
            Self::Ours => {
                "the dma-buf is of a buffer of this driver; use a handle of that buffer, made for the \
                 device"
            }
            Self::Copied => {
                "the device does not reach all of the memory, and the kernel would copy for it \
                 (swiotlb), which SYNC of another driver's memory does not; use a buffer of this \
                 driver for the device, and write to that"
            }
            Self::Policy => {
                "the memory type of an imported dma-buf is its exporter's; leave SET_CACHE out"
            }
            Self::Part => {
                "an imported dma-buf is its exporter's, whose calls are for all of it; give its whole \
                 size"
            }
            Self::Rights => {
                "an imported dma-buf has the rights that its exporter gave it; ask that one for a \
                 read-only dma-buf"
            }
            Self::Engine => {
                "the engine copies between buffers of this driver, whose pages it can be given; use \
                 read and write for an imported dma-buf"
            }
            Self::Origin => {
                "the handle is one of an imported dma-buf, and of no buffer; use the handle that it was \
                 imported by"
            }
        })
    }
}

/// Which field of a [`Spec`](super::spec::Spec) is not understood, or does not go with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// A field of an ioctl has a number that stands for nothing.
    Number(&'static str, u32),
    /// The size is not one of whole pages.
    Size(u64),
    /// The size is not one for a pool.
    PoolSize(u64),
    /// The kind has no direction.
    Direction(Direction, Kind),
    /// The kind is for no device.
    Device(Kind),
    /// The alignment or the boundary is not one, or the kind has none.
    Block {
        /// The kind.
        kind: Kind,
        /// The alignment.
        align: usize,
        /// The boundary.
        boundary: usize,
    },
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(field, number) => f.write_fmt(fmt!(
                "{field}={number}: this driver knows no such number; see its shmbuf.h"
            )),
            Self::Size(size) => f.write_fmt(fmt!(
                "size={}: must be a multiple of the page size ({PAGE_SIZE}), and not zero",
                Bytes(*size)
            )),
            Self::PoolSize(size) => f.write_fmt(fmt!(
                "size={} kind=pool: must be less than a page ({PAGE_SIZE}), and not zero; \
                 kind=coherent has whole pages",
                Bytes(*size)
            )),
            Self::Direction(direction, kind) => f.write_fmt(fmt!(
                "direction={direction} kind={kind}: only kinds streaming and scatter have a \
                 direction; leave it out"
            )),
            Self::Device(kind) => f.write_fmt(fmt!(
                "device kind={kind}: only memory of kinds coherent, pool, streaming and scatter is \
                 for a device; leave it out"
            )),
            Self::Block {
                kind: Kind::Pool,
                align,
                boundary,
            } => f.write_fmt(fmt!(
                "align={align} boundary={boundary}: both must be powers of two, align at most a \
                 page ({PAGE_SIZE}), boundary at least the size and align"
            )),
            Self::Block {
                kind,
                align,
                boundary,
            } => f.write_fmt(fmt!(
                "align={align} boundary={boundary} kind={kind}: only kind pool has an alignment \
                 and a boundary; leave them out"
            )),
        }
    }
}

/// Why a way of mapping is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MappingRefusal {
    /// Nobody but the CPU ever owns the buffer.
    NoOwner,
    /// References would be taken to pages that are not ordinary, or not cached.
    NotOrdinary,
    /// The kernel would use pinned pages by another mapping than the program.
    Aliases,
    /// The memory cannot be mapped at all.
    Unmappable,
}

impl fmt::Display for MappingRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoOwner => {
                "no device ever owns a buffer of this kind and policy, so nothing would be \
                 withdrawn; use kind streaming or scatter"
            }
            Self::NotOrdinary => {
                "only cached memory can be pinned; use kind pages, streaming or scatter, with \
                 policy writeback"
            }
            Self::Aliases => {
                "on a VIVT cache the kernel would reach pinned pages by other cache lines than \
                 the program; use read and write"
            }
            Self::Unmappable => "a buffer of this kind is not mapped; leave the mapping out",
        })
    }
}

/// What leaves memory out of a device's reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// The address bits that it drives.
    Mask,
    /// The addresses that its bus passes.
    Bus,
}

/// What kind of pages a buffer would be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Single pages, or what there is in a row, anywhere.
    Single,
    /// Pages one after the other in physical memory.
    Contiguous,
    /// Contiguous pages of a policy that single pages do not have.
    ContiguousOnly,
    /// Contiguous pages outside of the kernel's linear map, of such a policy too.
    Highmem,
    /// Contiguous pages that a device reaches.
    InReach,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single => "memory",
            Self::Contiguous | Self::ContiguousOnly => "physically contiguous memory",
            Self::Highmem => {
                "physically contiguous highmem (memory without a cacheable kernel mapping)"
            }
            Self::InReach => "physically contiguous memory that the device reaches",
        })
    }
}

/// What the kernel has set aside for physically contiguous memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cma {
    /// Nothing: the page allocator serves.
    None,
    /// An area of which that many bytes are free.
    Free(usize),
}

/// What memory there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Supply {
    /// How many bytes the machine has of the kind of pages that is wanted, in use or not.
    pub(crate) all: u64,
    /// What of them is set aside.
    pub(crate) cma: Cma,
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
    /// A mapping for which nobody calls SYNC would be cached, with this policy: [`EOPNOTSUPP`].
    Synchronous(Policy),
    /// There would be too much private memory: [`EDQUOT`].
    Limit {
        /// Bytes that were asked for.
        size: usize,
        /// Bytes that private buffers have.
        used: usize,
        /// Bytes that all private buffers together may have.
        limit: usize,
    },
    /// A user would have too much private memory: [`EDQUOT`].
    Share {
        /// Bytes that were asked for.
        size: usize,
        /// The user's number.
        user: u32,
        /// Bytes that the user's private buffers have.
        used: usize,
        /// Bytes that they may have.
        share: usize,
    },
    /// That many bytes of pages are not free: [`ENOMEM`].
    Pages(usize, Wanted, Supply),
    /// DMA memory is not free: [`ENOMEM`].
    Dma(usize, Cma),
    /// Pages are free, but none that the device reaches: [`ENOMEM`].
    Reach(usize, Limit),
    /// The kernel copies for the device (swiotlb): [`EOPNOTSUPP`].
    Bounced,
    /// A dma-buf of another driver is not imported, or does not go with a call: [`EINVAL`] if it is none,
    /// else [`EOPNOTSUPP`].
    Foreign(Foreign),
    /// Another buffer has the name: [`EEXIST`].
    Name,
    /// No node names a region: [`EOPNOTSUPP`].
    NoRegion,
    /// Somebody else has the region: [`EBUSY`].
    RegionInUse,
    /// The kernel does not serve devices with so few address bits: [`EIO`].
    Mask(u32),
    /// Nor one with as few as the device has that is named: [`EIO`].
    DeviceMask,
    /// The node names no reserved memory for DMA: [`ENODEV`].
    NoReservedMemory,
    /// An IOMMU translates the addresses of the device: [`EOPNOTSUPP`].
    Translated,
    /// The machine has no device of the name: [`ENODEV`].
    NoDevice,
    /// Devices of several buses have the name: [`EINVAL`].
    AmbiguousDevice,
    /// The folder in configfs is being removed: [`ENOENT`].
    Removed,
    /// Any other error, by its errno.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    /// What `error` says of a device that memory was to be allocated for, with so many address bits,
    /// or those that it has: [`EIO`] that they are too few, [`ENODEV`] that its node names no reserved
    /// memory, [`EOPNOTSUPP`] that an IOMMU translates for it.
    pub(crate) fn of_device(error: Error, mask_bits: Option<u32>) -> Self {
        match (error, mask_bits) {
            (EIO, Some(bits)) => Self::Mask(bits),
            (EIO, None) => Self::DeviceMask,
            (ENODEV, _) => Self::NoReservedMemory,
            (EOPNOTSUPP, _) => Self::Translated,
            (error, _) => Self::Other(error),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Invalid(_)
            | Failure::AmbiguousDevice
            | Failure::Foreign(Foreign::NoDmaBuf) => EINVAL,
            Failure::TooBig(_) => EFBIG,
            Failure::Refused(..)
            | Failure::MappingRefused(..)
            | Failure::Synchronous(_)
            | Failure::Foreign(_)
            | Failure::NoRegion
            | Failure::Translated
            | Failure::Bounced => EOPNOTSUPP,
            Failure::Name => EEXIST,
            Failure::Removed => ENOENT,
            Failure::RegionInUse => EBUSY,
            Failure::Mask(_) | Failure::DeviceMask => EIO,
            Failure::NoReservedMemory | Failure::NoDevice => ENODEV,
            Failure::Limit { .. } | Failure::Share { .. } => EDQUOT,
            Failure::Pages(..) | Failure::Dma(..) | Failure::Reach(..) => ENOMEM,
            Failure::Other(error) => error,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => f.write_fmt(fmt!("{invalid}")),
            Self::TooBig(size) => f.write_fmt(fmt!(
                "size={}: buffers of this kernel must be smaller than {}",
                Bytes(*size),
                Bytes(isize::MAX as u64 + 1)
            )),
            Self::Refused(policy, kind, refusal) => {
                f.write_fmt(fmt!("policy={policy} kind={kind}: {refusal}"))
            }
            Self::MappingRefused(mapping, kind, refusal) => {
                f.write_fmt(fmt!("mapping={mapping} kind={kind}: {refusal}"))
            }
            Self::Synchronous(policy) => f.write_fmt(fmt!(
                "policy={policy}: the handle was opened with O_SYNC or O_DSYNC, and a mapping of this \
                 buffer is cached: it needs SYNC; open the node without them, or use a buffer that \
                 is not cached (kind=coherent, or kind=pages with policy=writecombine)"
            )),
            Self::Limit { size, used, limit } => f.write_fmt(fmt!(
                "size={}: with the {} in use, private buffers would exceed limit={}; root can \
                 raise it in /sys/module/shmbuf/parameters",
                Bytes(*size as u64),
                Bytes(*used as u64),
                Bytes(*limit as u64)
            )),
            Self::Share {
                size,
                user,
                used,
                share,
            } => f.write_fmt(fmt!(
                "size={}: with the {} of user {user}, its private buffers would exceed the {} \
                 that one user may have; root can raise user_share (percent of limit) or limit in \
                 /sys/module/shmbuf/parameters, or give the program CAP_SYS_RESOURCE",
                Bytes(*size as u64),
                Bytes(*used as u64),
                Bytes(*share as u64)
            )),
            Self::Pages(size, wanted, supply) => no_pages(f, *size, *wanted, *supply),
            Self::Dma(size, Cma::None) => f.write_fmt(fmt!(
                "size={}: not enough coherent DMA memory is free, and this kernel has no CMA; ask \
                 for less, or sooner after the boot, or set CONFIG_DMA_CMA and cma= on the \
                 kernel's command line",
                Bytes(*size as u64)
            )),
            Self::Dma(size, Cma::Free(free)) if free < size => f.write_fmt(fmt!(
                "size={}: not enough coherent DMA memory is free: CmaFree is {}; ask for less, or \
                 enlarge CMA (cma= on the kernel's command line, CONFIG_CMA_SIZE_MBYTES)",
                Bytes(*size as u64),
                Bytes(*free as u64)
            )),
            Self::Dma(size, Cma::Free(free)) => f.write_fmt(fmt!(
                "size={}: the kernel gave no coherent DMA memory, although CmaFree is {}: it is \
                 not in one piece, or the kernel has no memory to keep account of it; ask for \
                 less, or again later",
                Bytes(*size as u64),
                Bytes(*free as u64)
            )),
            Self::Reach(size, Limit::Mask) => f.write_fmt(fmt!(
                "size={}: not enough memory inside the DMA mask is free; ask for less, or give \
                 dma_mask_bits more",
                Bytes(*size as u64)
            )),
            Self::Reach(size, Limit::Bus) => f.write_fmt(fmt!(
                "size={}: not enough of the memory is free that the device's bus passes \
                 (dma-ranges); ask for less, or sooner after the boot",
                Bytes(*size as u64)
            )),
            Self::Bounced => f.write_str(
                "the kernel copies for all devices (swiotlb=force), so this kind has no DMA address \
                 of its own; use kind=coherent, or kind=pages by EXPORT",
            ),
            Self::Foreign(reason) => f.write_fmt(fmt!("{reason}")),
            Self::Name => f.write_str("another buffer has that name; remove it first"),
            Self::NoRegion => f.write_str(
                "kind=region: for device-tree nodes with reg or memory-region alone: see \
                 Documentation/named-buffers.md",
            ),
            Self::RegionInUse => f.write_str(
                "somebody else has some of the region: see /proc/iomem; a buffer of it that was \
                 removed keeps it until its last user goes",
            ),
            Self::Mask(bits) => f.write_fmt(fmt!(
                "dma_mask_bits={bits}: this kernel serves no device with so small a DMA mask; \
                 give it more bits"
            )),
            Self::DeviceMask => f.write_str(
                "device: this kernel serves no device with so small a DMA mask as it has; bind its \
                 driver first, which may set another, or write its address bits to dma_mask_bits",
            ),
            Self::NoReservedMemory => f.write_str(
                "memory-region is no shared-dma-pool; kind region takes any other reserved memory",
            ),
            Self::NoDevice => f.write_str(
                "no device has this name; write one of /sys/bus/platform/devices, \
                 /sys/bus/pci/devices or /sys/bus/amba/devices to device",
            ),
            Self::AmbiguousDevice => f.write_str(
                "devices of several buses have this name; write the bus of the one that is meant \
                 before it: platform/NAME, pci/NAME or amba/NAME",
            ),
            Self::Translated => f.write_str(
                "an IOMMU translates the addresses of the device, for that device alone; leave it \
                 out, and import a dma-buf of the buffer there",
            ),
            Self::Removed => f.write_str("its folder is being removed; make another"),
            Self::Other(error) => f.write_fmt(fmt!("error {}", error.to_errno())),
        }
    }
}

/// Says that pages are not free, and only such advice as can work.
fn no_pages(
    f: &mut fmt::Formatter<'_>,
    size: usize,
    wanted: Wanted,
    supply: Supply,
) -> fmt::Result {
    let size_shown = Bytes(size as u64);
    let there_is_enough = size as u64 <= supply.all;
    if there_is_enough {
        f.write_fmt(fmt!(
            "size={size_shown}: not enough {wanted} is free; ask for less, or sooner after the boot"
        ))?;
    } else {
        let all = Bytes(supply.all);
        f.write_fmt(fmt!(
            "size={size_shown}: this machine has no more than {all} of {wanted}; ask for less"
        ))?;
    }
    if wanted != Wanted::Single && matches!(supply.cma, Cma::Free(free) if free >= size) {
        f.write_str(", or use kind=coherent, which CMA serves")?;
    }
    if there_is_enough && matches!(wanted, Wanted::Contiguous | Wanted::InReach) {
        f.write_str(", or use kind=scatter, which needs no contiguous memory")?;
    }
    Ok(())
}

#[kunit_tests(shmbuf_failure)]
mod tests {
    use super::*;
    use kernel::str::CString;

    fn says(failure: &Failure, words: &str) -> bool {
        let text = CString::try_from_fmt(fmt!("{failure}")).unwrap();
        text.to_str().unwrap().contains(words)
    }

    #[test]
    fn advice_is_for_the_memory_that_lacks() {
        const SIZE: usize = 8192;
        let enlarge = "enlarge CMA";
        assert!(says(&Failure::Dma(SIZE, Cma::Free(SIZE - 1)), enlarge));
        // It was a structure, or there is no large enough piece.
        assert!(!says(&Failure::Dma(SIZE, Cma::Free(SIZE)), enlarge));
        assert!(!says(&Failure::Dma(SIZE, Cma::None), enlarge));
    }

    #[test]
    fn what_cannot_help_is_not_advised() {
        const SIZE: usize = 8192;
        let (sooner, coherent, scatter) = ("sooner", "kind=coherent", "kind=scatter");
        let enough = |cma| Supply {
            all: SIZE as u64,
            cma,
        };
        for (wanted, has_scatter) in [
            (Wanted::Contiguous, true),
            (Wanted::InReach, true),
            (Wanted::ContiguousOnly, false),
            (Wanted::Highmem, false),
        ] {
            let pages = |supply| Failure::Pages(SIZE, wanted, supply);
            assert!(says(&pages(enough(Cma::Free(SIZE))), coherent));
            assert!(!says(&pages(enough(Cma::Free(SIZE - 1))), coherent));
            assert!(!says(&pages(enough(Cma::None)), coherent));
            assert!(says(&pages(enough(Cma::None)), sooner));
            assert_eq!(says(&pages(enough(Cma::None)), scatter), has_scatter);
            // More than there ever is.
            let little = Supply {
                all: 4096,
                cma: Cma::None,
            };
            assert!(says(
                &pages(little),
                "size=8K: this machine has no more than 4K of "
            ));
            assert!(!says(&pages(little), sooner));
            assert!(!says(&pages(little), scatter));
        }
    }

    #[test]
    fn what_was_asked_for_is_repeated() {
        for (failure, words) in [
            (Failure::Invalid(Invalid::Size(3)), "size=3: "),
            (
                Failure::Invalid(Invalid::PoolSize(8192)),
                "size=8K kind=pool: ",
            ),
            (Failure::Invalid(Invalid::Number("kind", 99)), "kind=99: "),
            (
                Failure::Invalid(Invalid::Direction(Direction::ToDevice, Kind::Pages)),
                "direction=to-device kind=pages: ",
            ),
            (Failure::TooBig(4 << 30), "size=4G: "),
            (
                Failure::Refused(Policy::Noncached, Kind::Streaming, Refusal::Kind),
                "policy=noncached kind=streaming: ",
            ),
            (
                Failure::MappingRefused(Mapping::Strict, Kind::Pages, MappingRefusal::NoOwner),
                "mapping=strict kind=pages: ",
            ),
            (
                Failure::Synchronous(Policy::Writethrough),
                "policy=writethrough: ",
            ),
            (Failure::Dma(64 << 20, Cma::None), "size=64M: "),
            (Failure::Reach(4096, Limit::Mask), "size=4K: "),
            (Failure::Reach(4096, Limit::Bus), "size=4K: "),
            (Failure::Mask(12), "dma_mask_bits=12: "),
            (Failure::DeviceMask, "device: "),
        ] {
            assert!(says(&failure, words));
        }
        for (kind, words) in [
            (Kind::Pool, "align=3 boundary=0: both must be powers of two"),
            (Kind::Pages, "align=3 boundary=0 kind=pages: only kind pool"),
        ] {
            let block = Invalid::Block {
                kind,
                align: 3,
                boundary: 0,
            };
            assert!(says(&Failure::Invalid(block), words));
        }
    }
}
