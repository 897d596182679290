// SPDX-License-Identifier: GPL-2.0

//! The kinds of memory.

use super::policy::Policy;
use kernel::prelude::*;

uapi_enum! {
    /// Where the memory of a buffer comes from.
    Kind {
        /// Physically contiguous pages; no device's view.
        Pages = SHMBUF_KIND_PAGES "pages",
        /// DMA memory that needs no cache maintenance.
        Coherent = SHMBUF_KIND_COHERENT "coherent",
        /// Write-back pages mapped for DMA; CPU and device own them in turns.
        Streaming = SHMBUF_KIND_STREAMING "streaming",
        /// Single write-back pages mapped for DMA; CPU and device own them in turns.
        Scatter = SHMBUF_KIND_SCATTER "scatter",
        /// Coherent memory of less than a page.
        Pool = SHMBUF_KIND_POOL "pool",
        /// Device memory that a device-tree node names.
        Region = SHMBUF_KIND_REGION "region",
    }
}

impl Kind {
    /// Whether CPU and device always own a buffer of this kind and policy in turns. Cached pages have an
    /// owner only while an importer's device reaches them.
    pub(crate) fn has_owner(self, policy: Policy) -> bool {
        self.is_streamed() || self == Self::Region && policy == Policy::Writeback
    }

    /// Whether the memory is pages that are mapped for DMA, in a direction.
    pub(crate) fn is_streamed(self) -> bool {
        matches!(self, Self::Streaming | Self::Scatter)
    }

    /// Whether the memory is allocated or mapped for one device.
    pub(crate) fn is_for_a_device(self) -> bool {
        !matches!(self, Self::Pages | Self::Region)
    }

    /// Whether programs can map it: a page is not shared with other buffers.
    pub(crate) fn is_mappable(self) -> bool {
        self != Self::Pool
    }
}

#[kunit_tests(shmbuf_kind)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_one_to_one() {
        for kind in Kind::ALL {
            assert_eq!(Kind::try_from(kind.name().as_bytes()), Ok(kind));
            assert_eq!(Kind::try_from(kind.to_uapi()), Ok(kind));
        }
        assert_eq!(Kind::try_from(6u32), Err(EINVAL));
        assert_eq!(Kind::try_from(&b""[..]), Err(EINVAL));
    }
}
