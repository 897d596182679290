// SPDX-License-Identifier: GPL-2.0

//! The limit of the memory of private buffers, all together.

use crate::{
    rules::failure::Failure,
    sys::{
        pages::Charge,
        params, //
    },
};
use core::mem;
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
}

/// Who pays for memory.
#[derive(Clone)]
pub(crate) enum Payer {
    /// The administrator, for a buffer that he has defined: it counts against nothing.
    Administrator,
    /// A program: it counts against the limit.
    Program(Arc<Limit>),
}

impl Payer {
    /// Counts `size` bytes more, before they are taken. May sleep.
    ///
    /// # Errors
    ///
    /// [`Failure::Limit`].
    pub(super) fn charge(&self, size: usize) -> Result<Charged, Failure> {
        if let Self::Program(limit) = self {
            let mut used = limit.used.lock();
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
        }
        Ok(Charged {
            payer: self.clone(),
            size,
        })
    }

    /// Whose use of memory it is for the page allocator.
    pub(super) fn cgroup(&self) -> Charge {
        match self {
            Self::Administrator => Charge::Kernel,
            Self::Program(_) => Charge::Caller,
        }
    }
}

/// Bytes that count, for as long as this lives: until after the memory is given back.
pub(super) struct Charged {
    payer: Payer,
    size: usize,
}

impl Charged {
    /// Makes what counts for `other`, of the same payer, count for this.
    pub(super) fn absorb(&mut self, mut other: Self) {
        self.size += mem::take(&mut other.size);
    }

    /// How many bytes count.
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        if let Payer::Program(limit) = &self.payer {
            *limit.used.lock() -= self.size;
        }
    }
}
