// SPDX-License-Identifier: GPL-2.0

//! Kind region: device memory that a device-tree node names. Its contents are the
//! device's, so they are not zeroed.

use crate::{
    memory::allocator::{
        Allocator,
        Source, //
    },
    rules::{
        failure::Failure,
        policy::Policy,
        spec::Checked, //
    },
    sys::io_region::IoRegion,
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
    let Source::Region(range) = allocator.source else {
        return Err(Failure::NoRegion);
    };
    let is_writecombine = spec.policy == Policy::Writecombine;
    let region = IoRegion::new(range, is_writecombine).map_err(|error| match error {
        EBUSY => Failure::RegionInUse,
        error => Failure::Other(error),
    })?;
    Ok(Arc::new(region, GFP_KERNEL).map_err(Error::from)?)
}
