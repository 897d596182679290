// SPDX-License-Identifier: GPL-2.0

//! Kind region: device memory that a device-tree node names. Its contents are the
//! device's, so they are not zeroed.

use crate::{
    memory::{
        allocator::{
            Allocator,
            Source, //
        },
        machine::cache_mode, //
    },
    rules::{
        failure::Failure,
        ownership::Phase,
        spec::Checked, //
    },
    sys::{
        cpu,
        io_region::IoRegion,
        span::Span, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Takes the device memory that `allocator` has, and maps it for the kernel. May sleep.
///
/// # Errors
///
/// - [`Failure::NoRegion`] if it has none;
/// - [`Failure::RegionInUse`] if somebody else has some of it;
/// - [`ENOMEM`] if there is no memory or no vmalloc space.
pub(super) fn claim(allocator: &Allocator, spec: &Checked) -> Result<Arc<IoRegion>, Failure> {
    let Source::Region(range, _) = allocator.source else {
        return Err(Failure::NoRegion);
    };
    let region = IoRegion::new(range, cache_mode(spec.policy)).map_err(|error| match error {
        EBUSY => Failure::RegionInUse,
        error => Failure::Other(error),
    })?;
    Ok(Arc::new(region, GFP_KERNEL).map_err(Error::from)?)
}

/// Makes the memory and the kernel's cached view of a part of it the same, where CPU access begins or
/// ends. Lines under the addresses of programs remain on VIVT caches. The DMA API maintains nothing of
/// memory that is not the kernel's. Costs as much as the part.
pub(super) fn maintain(part: Span<'_>, phase: Phase) {
    if cpu::flushes_all_instead(part.len()) {
        cpu::flush_all();
    } else {
        match phase {
            Phase::Start => part.refresh(),
            Phase::End => part.flush(),
        }
    }
}
