// SPDX-License-Identifier: GPL-2.0

//! The limit of the memory of private buffers, all together.

use crate::{
    rules::failure::Failure,
    sys::params, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// What counts against the module parameter `limit`.
#[pin_data]
pub(crate) struct Limit {
    /// Bytes that count now.
    #[pin]
    used: Mutex<usize>,
}

/// Bytes that count against a limit, for as long as this lives.
pub(crate) struct Charged {
    limit: Arc<Limit>,
    size: usize,
}

impl Limit {
    /// A limit against which nothing counts yet. May sleep.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                used <- new_mutex!(0, "shmbuf::limit"),
            }),
            GFP_KERNEL,
        )
    }

    /// Bytes that count now. May sleep.
    pub(crate) fn used(&self) -> usize {
        *self.used.lock()
    }

    /// Counts `size` bytes more. May sleep.
    ///
    /// # Errors
    ///
    /// [`Failure::Limit`].
    pub(crate) fn charge(self: &Arc<Self>, size: usize) -> Result<Charged, Failure> {
        let mut used = self.used.lock();
        let limit = params::limit();
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
            limit: self.clone(),
            size,
        })
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        *self.limit.used.lock() -= self.size;
    }
}
