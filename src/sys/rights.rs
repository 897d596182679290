// SPDX-License-Identifier: GPL-2.0

//! What an open file allows.

use kernel::{
    fs::file::flags,
    prelude::*, //
};

/// Whether an open file allows to read, and to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl Rights {
    /// Both.
    pub(crate) const ALL: Self = Self {
        readable: true,
        writable: true,
    };

    /// Those of the access mode in `flags` of open(2), which has two bits and four values: with all of
    /// them set a file allows neither, but ioctl(2).
    pub(crate) fn of(flags: u32) -> Self {
        let mode = flags & flags::O_ACCMODE;
        Self {
            readable: mode == flags::O_RDONLY || mode == flags::O_RDWR,
            writable: mode == flags::O_WRONLY || mode == flags::O_RDWR,
        }
    }
}

#[kunit_tests(shmbuf_rights)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_mode_allows_nothing() {
        let rights = |flags| {
            let rights = Rights::of(flags);
            (rights.readable, rights.writable)
        };
        assert_eq!(rights(flags::O_RDONLY), (true, false));
        assert_eq!(rights(flags::O_WRONLY | flags::O_CLOEXEC), (false, true));
        assert_eq!(rights(flags::O_RDWR | flags::O_NONBLOCK), (true, true));
        assert_eq!(rights(flags::O_ACCMODE), (false, false));
    }
}
