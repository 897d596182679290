// SPDX-License-Identifier: GPL-2.0

//! Room for longer lists, made where no lock is held: who has a lock may be waited for by
//! those who free memory.

use kernel::prelude::*;

/// Room for a list of some length.
pub(crate) struct Room<T>(KVec<T>);

impl<T> Room<T> {
    /// Room for `count` entries. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(count: usize) -> Result<Self> {
        Ok(Self(KVec::with_capacity(count, GFP_KERNEL)?))
    }

    /// For how many entries.
    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Moves `list` there, if that is larger.
    pub(crate) fn give(self, list: &mut KVec<T>) {
        let Self(mut room) = self;
        if room.capacity() > list.capacity() {
            for entry in list.drain_all() {
                // There is room.
                let _ = room.push_within_capacity(entry);
            }
            *list = room;
        }
    }

    /// Adds `entry`, if there is room.
    pub(crate) fn push(&mut self, entry: T) {
        let _ = self.0.push_within_capacity(entry);
    }

    /// The list of what was added.
    pub(crate) fn into_list(self) -> KVec<T> {
        self.0
    }
}

#[kunit_tests(shmbuf_room)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays() {
        let mut list = KVec::with_capacity(1, GFP_KERNEL).unwrap();
        list.push_within_capacity(1).ok().unwrap();
        Room::new(8).unwrap().give(&mut list);
        assert!(list.capacity() >= 8 && list[..] == [1]);
        list.push_within_capacity(2).ok().unwrap();
        Room::new(1).unwrap().give(&mut list);
        assert!(list.capacity() >= 8 && list[..] == [1, 2]);
    }
}
