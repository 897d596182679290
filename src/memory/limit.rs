// SPDX-License-Identifier: GPL-2.0

//! The limit of the memory of private buffers, all together and of each user.

use crate::{
    rules::{
        counts::{
            Counts,
            Limits,
            User, //
        },
        failure::Failure,
        room::Room, //
    },
    sys::{
        credentials,
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

/// What counts against the module parameters `limit` and `user_share`.
#[pin_data]
pub(crate) struct Limit {
    /// No memory is waited for while it is held: who gives memory back takes it, and may hold the mmap
    /// lock.
    #[pin]
    counts: Mutex<Counts>,
}

impl Limit {
    /// A limit against which nothing counts yet. May sleep.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                counts <- new_mutex!(Counts::new(), "shmbuf::limit"),
            }),
            GFP_KERNEL,
        )
    }

    /// Calls `f` with what counts now. May sleep.
    pub(crate) fn with_counts<R>(&self, f: impl FnOnce(&Counts) -> R) -> R {
        f(&self.counts.lock())
    }

    /// Counts `size` bytes more, of `user`; see [`Counts::add`]. May sleep.
    fn add(&self, user: User, size: usize) -> Result<(), Failure> {
        loop {
            let mut counts = self.counts.lock();
            let Some(needed) = counts.lacks_room(user) else {
                return counts.add(user, size, limits());
            };
            drop(counts);
            let room = Room::new(needed)?;
            self.counts.lock().grow(room);
        }
    }
}

/// What the limits are now; they can change at any time.
pub(crate) fn limits() -> Limits {
    Limits {
        all: params::limit(),
        user_share: params::user_share(),
    }
}

/// Who pays for memory.
#[derive(Clone)]
pub(crate) enum Payer {
    /// The administrator, for a buffer that he has defined: it counts against nothing.
    Administrator,
    /// A program: it counts against the limit, and against the share of its user.
    Program(Arc<Limit>, User),
}

impl Payer {
    /// The running program, where memory counts against `limit`.
    pub(crate) fn running(limit: &Arc<Limit>) -> Self {
        let user = match credentials::may_exceed_shares() {
            true => None,
            false => Some(credentials::user()),
        };
        Self::Program(limit.clone(), user)
    }

    /// Counts `size` bytes more, before they are taken. May sleep.
    ///
    /// # Errors
    ///
    /// [`Failure::Limit`], [`Failure::Share`], [`ENOMEM`].
    pub(super) fn charge(&self, size: usize) -> Result<Charged, Failure> {
        if let Self::Program(limit, user) = self {
            limit.add(*user, size)?;
        }
        Ok(Charged {
            payer: self.clone(),
            size,
        })
    }

    /// The user who pays, if one does.
    pub(super) fn user(&self) -> User {
        match self {
            Self::Administrator => None,
            Self::Program(_, user) => *user,
        }
    }

    /// Whose use of memory it is for the page allocator.
    pub(super) fn cgroup(&self) -> Charge {
        match self {
            Self::Administrator => Charge::Kernel,
            Self::Program(..) => Charge::Caller,
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
        if let Payer::Program(limit, user) = &self.payer {
            limit.counts.lock().remove(*user, self.size);
        }
    }
}
