// SPDX-License-Identifier: GPL-2.0

//! What private buffers take, of all and of each user, and how much they may.

use super::{
    failure::Failure,
    room::Room, //
};
use kernel::prelude::*;

/// How much private buffers may take.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of all together.
    pub(crate) all: usize,
    /// How much of it one user may have, in percent.
    pub(crate) user_share: u32,
}

impl Limits {
    /// Bytes that one user may have.
    pub(crate) fn of_user(self) -> usize {
        let share = self.user_share as usize;
        // In an order that no product is too large for.
        self.all / 100 * share + self.all % 100 * share / 100
    }
}

/// A user, by number. None is who may exceed a user's share, and has none.
pub(crate) type User = Option<u32>;

/// Bytes that count.
pub(crate) struct Counts {
    all: usize,
    /// Users that have any.
    users: KVec<(u32, usize)>,
}

impl Counts {
    /// Nothing counts.
    pub(crate) const fn new() -> Self {
        Self {
            all: 0,
            users: KVec::new(),
        }
    }

    /// Bytes of all together.
    pub(crate) fn all(&self) -> usize {
        self.all
    }

    /// The users, and the bytes of each.
    pub(crate) fn users(&self) -> impl Iterator<Item = (u32, usize)> + '_ {
        self.users.iter().copied()
    }

    /// For how many users there has to be room before bytes of `user` can count, if there is none.
    pub(crate) fn lacks_room(&self, user: User) -> Option<usize> {
        let user = user?;
        let is_known = self.users.iter().any(|(other, _)| *other == user);
        let count = self.users.len();
        (!is_known && count == self.users.capacity()).then_some(2 * count + 1)
    }

    /// Moves the list of users to `room`, if that is larger.
    pub(crate) fn grow(&mut self, room: Room<(u32, usize)>) {
        room.give(&mut self.users);
    }

    /// Counts `size` bytes more, of `user`.
    ///
    /// # Errors
    ///
    /// [`Failure::Limit`], [`Failure::Share`], [`ENOMEM`] if there is no room for the user.
    pub(crate) fn add(&mut self, user: User, size: usize, limits: Limits) -> Result<(), Failure> {
        let fits = |used: usize, limit| used.checked_add(size).filter(|&total| total <= limit);
        let Some(all) = fits(self.all, limits.all) else {
            return Err(Failure::Limit {
                size,
                used: self.all,
                limit: limits.all,
            });
        };
        if let Some(user) = user {
            let share = limits.of_user();
            let found = self.users.iter_mut().find(|(other, _)| *other == user);
            let used = found.as_ref().map_or(0, |(_, used)| *used);
            let Some(total) = fits(used, share) else {
                return Err(Failure::Share {
                    size,
                    user,
                    used,
                    share,
                });
            };
            match found {
                Some((_, used)) => *used = total,
                None => self
                    .users
                    .push_within_capacity((user, total))
                    .map_err(|_| ENOMEM)?,
            }
        }
        self.all = all;
        Ok(())
    }

    /// `size` bytes of `user`, which were counted, count no more.
    pub(crate) fn remove(&mut self, user: User, size: usize) {
        self.all -= size;
        if let Some(user) = user {
            self.users.retain(|(other, used)| {
                if *other == user {
                    *used -= size;
                }
                *used > 0
            });
        }
    }
}

#[kunit_tests(shmbuf_counts)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        all: 1000,
        user_share: 50,
    };

    fn is_limit(result: &Result<(), Failure>) -> bool {
        matches!(result, Err(Failure::Limit { .. }))
    }

    fn is_share(result: &Result<(), Failure>) -> bool {
        matches!(result, Err(Failure::Share { .. }))
    }

    #[test]
    fn shares() {
        for (all, user_share, bytes) in [
            (1000, 50, 500),
            (1000, 0, 0),
            (1000, 100, 1000),
            (150, 33, 49),
            (usize::MAX, 100, usize::MAX),
            (usize::MAX, 50, usize::MAX / 2),
        ] {
            assert_eq!(Limits { all, user_share }.of_user(), bytes);
        }
    }

    /// With room for as many users as there are here.
    fn counts() -> Counts {
        let mut counts = Counts::new();
        counts.grow(Room::new(4).unwrap());
        counts
    }

    #[test]
    fn a_new_user_needs_room() {
        let mut counts = Counts::new();
        assert!(counts.lacks_room(None).is_none());
        let needed = counts.lacks_room(Some(1)).unwrap();
        assert!(counts.add(Some(1), 1, LIMITS).is_err());
        assert_eq!(counts.all(), 0);
        counts.grow(Room::new(needed).unwrap());
        assert!(counts.lacks_room(Some(1)).is_none());
        assert!(counts.add(Some(1), 1, LIMITS).is_ok());
        assert!(counts.lacks_room(Some(1)).is_none());
    }

    #[test]
    fn users_have_a_share_each() {
        let mut counts = counts();
        assert!(counts.add(Some(1), 400, LIMITS).is_ok());
        assert!(is_share(&counts.add(Some(1), 101, LIMITS)));
        assert!(counts.add(Some(1), 100, LIMITS).is_ok());
        assert!(is_share(&counts.add(Some(1), 1, LIMITS)));
        assert!(counts.add(Some(2), 450, LIMITS).is_ok());
        assert!(is_limit(&counts.add(Some(2), 51, LIMITS)));
        assert!(is_limit(&counts.add(Some(3), 51, LIMITS)));
        counts.remove(Some(1), 100);
        assert!(counts.add(Some(1), 100, LIMITS).is_ok());
        assert!(counts.users().eq([(1, 500), (2, 450)]));
        counts.remove(Some(1), 500);
        assert!(counts.users().eq([(2, 450)]));
        assert_eq!(counts.all(), 450);
    }

    #[test]
    fn who_may_exceed_a_share_stays_within_the_limit() {
        let mut counts = counts();
        assert!(counts.add(None, 1000, LIMITS).is_ok());
        assert!(is_limit(&counts.add(None, 1, LIMITS)));
        assert!(counts.users().eq([]));
        counts.remove(None, 1000);
        assert_eq!(counts.all(), 0);
    }

    #[test]
    fn what_is_too_large_to_add_is_refused() {
        let mut counts = counts();
        let limits = Limits {
            all: usize::MAX,
            user_share: 100,
        };
        assert!(counts.add(Some(1), 8, limits).is_ok());
        assert!(is_limit(&counts.add(Some(1), usize::MAX, limits)));
        assert_eq!(counts.all(), 8);
    }
}
