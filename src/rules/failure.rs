// SPDX-License-Identifier: GPL-2.0

//! Every reason for which a buffer cannot be had as it was asked for: its errno,
//! and the sentence that says what to do.

use super::{
    decimal::Decimal,
    kind::Kind,
    mapping::Mapping,
    policy::Policy, //
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

/// Which field of a [`Spec`](super::spec::Spec) is not understood, or does not go with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// The size is not one of whole pages.
    Size,
    /// The size is not one for a pool.
    PoolSize,
    /// The kind has no direction.
    Direction,
    /// The alignment or the boundary is not one, or the kind has none.
    Block,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => f.write_fmt(fmt!(
                "the size must be a multiple of the page size ({PAGE_SIZE}), and not zero"
            )),
            Self::PoolSize => f.write_fmt(fmt!(
                "the size of a buffer of kind pool must be less than a page ({PAGE_SIZE}), and \
                 not zero; kind coherent takes whole pages"
            )),
            Self::Direction => {
                f.write_str("only kinds streaming and scatter have a direction; leave it out")
            }
            Self::Block => f.write_fmt(fmt!(
                "align and boundary are for kind pool: powers of two, align at most a page \
                 ({PAGE_SIZE}), boundary at least the size and the alignment"
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
                "no device ever owns a buffer of this kind, so nothing would be withdrawn; use \
                 kind streaming or scatter"
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

/// What kind of pages a buffer would be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Single pages, anywhere.
    Single,
    /// Pages one after the other in physical memory.
    Contiguous,
    /// Contiguous pages outside of the kernel's linear map.
    Highmem,
    /// Contiguous pages inside a DMA mask.
    InReach,
}

/// What the kernel has set aside for physically contiguous memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cma {
    /// Nothing: the page allocator serves.
    None,
    /// An area of which that many bytes are free.
    Free(usize),
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
    Pages(usize, Wanted, Cma),
    /// DMA memory is not free: [`ENOMEM`].
    Dma(usize, Cma),
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
    /// What `error` says of a device that memory was to be allocated for: [`EIO`] that its mask is
    /// too small, [`ENODEV`] that its node names no reserved memory.
    pub(crate) fn of_device(error: Error) -> Self {
        match error {
            EIO => Self::Mask,
            ENODEV => Self::NoReservedMemory,
            error => Self::Other(error),
        }
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
            Failure::Removed => ENOENT,
            Failure::RegionInUse => EBUSY,
            Failure::Mask => EIO,
            Failure::NoReservedMemory => ENODEV,
            Failure::Limit { .. } | Failure::Share { .. } => EDQUOT,
            Failure::Pages(..) | Failure::Dma(..) | Failure::Reach(_) => ENOMEM,
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
            Self::Share {
                size,
                user,
                used,
                share,
            } => f.write_fmt(fmt!(
                "{size} bytes more than the {used} of user {user} would be over the {share} that \
                 one user may have; root can raise user_share (percent of limit) or limit in \
                 /sys/module/shmbuf/parameters, or give the program CAP_SYS_RESOURCE"
            )),
            Self::Pages(size, Wanted::Single, _) => {
                f.write_fmt(fmt!("no {size} bytes of memory are free; ask for less"))
            }
            Self::Pages(size, wanted, cma) => f.write_fmt(fmt!(
                "no {size} bytes of physically contiguous {} are free; ask for less, load the \
                 module earlier, {}use kind=scatter, which needs no contiguous memory",
                match wanted {
                    Wanted::Single | Wanted::Contiguous => "memory",
                    Wanted::InReach => "memory that the device reaches (its DMA mask)",
                    Wanted::Highmem => "highmem (memory without a cacheable kernel mapping)",
                },
                match cma {
                    Cma::None => "or ",
                    Cma::Free(_) => "use kind=coherent, which CMA serves, or ",
                }
            )),
            Self::Dma(size, Cma::None) => f.write_fmt(fmt!(
                "no {size} bytes of coherent DMA memory are free, and this kernel has no CMA; ask \
                 for less, load the module earlier, or set CONFIG_DMA_CMA and cma= on the kernel's \
                 command line"
            )),
            Self::Dma(size, Cma::Free(free)) if free < size => f.write_fmt(fmt!(
                "no {size} bytes of coherent DMA memory are free, of CMA {free}; ask for less, or \
                 enlarge CMA (cma= on the kernel's command line, CONFIG_CMA_SIZE_MBYTES)"
            )),
            Self::Dma(size, Cma::Free(free)) => f.write_fmt(fmt!(
                "{size} bytes of coherent DMA memory could not be had, though {free} of CMA are \
                 free: not in a row, or the kernel has no memory for what it keeps about them; ask \
                 for less, or again later"
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
            Self::Removed => f.write_str("its folder is being removed; make another"),
            Self::Other(error) => f.write_fmt(fmt!("error {}", error.to_errno())),
        }
    }
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
        let coherent = "kind=coherent, which CMA serves";
        for wanted in [Wanted::Contiguous, Wanted::Highmem, Wanted::InReach] {
            assert!(says(&Failure::Pages(SIZE, wanted, Cma::Free(0)), coherent));
            assert!(!says(&Failure::Pages(SIZE, wanted, Cma::None), coherent));
        }
    }
}
