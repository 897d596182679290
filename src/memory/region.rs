// SPDX-License-Identifier: GPL-2.0

//! Device memory that a device-tree node names.

use super::{
    Allocator,
    Failure,
    Memory, //
};
use crate::{
    cache::Policy,
    spec::Checked,
    sys::io_region::IoRegion, //
};
use kernel::prelude::*;

/// Memory of kind `region`. Its contents are the device's: they are not zeroed.
pub(crate) struct Region {
    io: IoRegion,
}

impl Region {
    /// See [`super::Storage::new`].
    pub(crate) fn new(allocator: &Allocator, spec: &Checked) -> Result<Self, Failure> {
        let Memory::Region(range) = allocator.memory else {
            return Err(Failure::NoRegion);
        };
        let io = IoRegion::new(range, spec.policy).map_err(|error| match error {
            EBUSY => Failure::RegionInUse,
            error => Failure::Other(error),
        })?;
        Ok(Self { io })
    }

    /// The device memory.
    pub(crate) fn io(&self) -> &IoRegion {
        &self.io
    }

    /// See [`super::Storage::policy`].
    pub(crate) fn policy(&self) -> Policy {
        self.io.policy()
    }
}
