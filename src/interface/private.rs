// SPDX-License-Identifier: GPL-2.0

//! Private buffers, which ALLOC makes, and the limit of their memory.

use crate::{
    buffer::{
        Buffer,
        Origin, //
    },
    kind::{
        Allocator,
        Failure,
        Kind, //
    },
    spec::Spec,
    sys, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// Where private buffers come from.
#[pin_data]
pub(crate) struct Private {
    allocator: Allocator,
    /// Bytes of all private buffers together.
    #[pin]
    used: Mutex<usize>,
}

/// Bytes that count, for as long as this lives.
pub(crate) struct Charged {
    private: Arc<Private>,
    size: usize,
}

impl Private {
    /// They will come from `allocator`. May sleep.
    pub(crate) fn new(allocator: Allocator) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                allocator,
                used <- new_mutex!(0, "shmbuf::private"),
            }),
            GFP_KERNEL,
        )
    }

    /// Bytes of all private buffers together. May sleep.
    pub(crate) fn used(&self) -> usize {
        *self.used.lock()
    }

    /// A new buffer. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Spec::check`] and [`Buffer::new`], [`Failure::Limit`], and [`Failure::NoRegion`].
    pub(crate) fn alloc(self: &Arc<Self>, spec: &Spec) -> Result<Arc<Buffer>, Failure> {
        if spec.kind == Kind::Region {
            return Err(Failure::NoRegion);
        }
        let spec = spec.check(&self.allocator.machine)?;
        let charged = self.charge(spec.size)?;
        Buffer::new(
            self.allocator.clone(),
            &spec,
            None,
            Origin::Private(charged),
        )
    }

    /// Counts `size` bytes.
    fn charge(self: &Arc<Self>, size: usize) -> Result<Charged, Failure> {
        let mut used = self.used.lock();
        let limit = sys::params::limit();
        match used.checked_add(size).filter(|&total| total <= limit) {
            Some(total) => *used = total,
            None => {
                return Err(Failure::Limit {
                    size,
                    used: *used,
                    limit,
                })
            }
        }
        Ok(Charged {
            private: self.clone(),
            size,
        })
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        *self.private.used.lock() -= self.size;
    }
}
