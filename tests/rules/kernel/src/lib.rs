// SPDX-License-Identifier: GPL-2.0
//! What the rules of the shmbuf driver use of the kernel crate, as plain values of the host.

pub use core::ffi;

/// Formatting, as `kernel::fmt!`.
#[macro_export]
macro_rules! fmt {
    ($($words:tt)*) => { ::core::format_args!($($words)*) };
}

/// Formatting.
pub mod fmt {
    pub use core::fmt::*;
}

/// Errors of the kernel.
pub mod error {
    /// An errno.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Error(i32);

    impl Error {
        /// The errno, which is negative.
        pub fn to_errno(self) -> i32 {
            self.0
        }
    }

    /// What may fail with an errno.
    pub type Result<T = (), E = Error> = core::result::Result<T, E>;

    macro_rules! errnos {
        ($($name:ident = $number:literal $text:literal,)+) => {
            $(#[doc = $text] pub const $name: super::Error = super::Error(-$number);)+
        };
    }

    /// The errnos that the rules know, with Linux's numbers.
    pub mod code {
        errnos! {
            ENOENT = 2 "No such file or directory.",
            EIO = 5 "I/O error.",
            EAGAIN = 11 "Try again.",
            ENOMEM = 12 "Out of memory.",
            EBUSY = 16 "Device or resource busy.",
            EEXIST = 17 "File exists.",
            ENODEV = 19 "No such device.",
            EINVAL = 22 "Invalid argument.",
            EFBIG = 27 "File too large.",
            ERANGE = 34 "Out of range.",
            EOPNOTSUPP = 95 "Operation not supported.",
            EDQUOT = 122 "Quota exceeded.",
            ERESTARTSYS = 512 "Restart the system call.",
        }
    }
}

/// Pages.
pub mod page {
    /// The size of a page on all boards.
    pub const PAGE_SIZE: usize = 4096;
}

/// DMA.
pub mod dma {
    /// The direction of a transfer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum DataDirection {
        /// Devices read and write.
        Bidirectional,
        /// Devices read.
        ToDevice,
        /// Devices write.
        FromDevice,
    }
}

/// Memory.
pub mod alloc {
    use crate::error::{code::ENOMEM, Error};

    /// How to allocate.
    #[derive(Clone, Copy)]
    pub struct Flags;

    /// Memory that may be waited for.
    pub const GFP_KERNEL: Flags = Flags;
    /// The same, which counts for the running program's control group.
    pub const GFP_KERNEL_ACCOUNT: Flags = Flags;

    /// There is no memory.
    #[derive(Debug)]
    pub struct AllocError;

    impl From<AllocError> for Error {
        fn from(_: AllocError) -> Self {
            ENOMEM
        }
    }

    /// A vector that grows only where that can fail.
    #[derive(Debug)]
    pub struct KVec<T>(Vec<T>);

    /// The same, of any size.
    pub type KVVec<T> = KVec<T>;

    impl<T> KVec<T> {
        /// Nothing, and no room.
        pub const fn new() -> Self {
            Self(Vec::new())
        }

        /// Room for `count`.
        ///
        /// # Errors
        ///
        /// None here.
        pub fn with_capacity(count: usize, _: Flags) -> Result<Self, AllocError> {
            Ok(Self(Vec::with_capacity(count)))
        }

        /// How many there is room for.
        pub fn capacity(&self) -> usize {
            self.0.capacity()
        }

        /// Adds `value` if there is room for it.
        ///
        /// # Errors
        ///
        /// `value` if there is not.
        pub fn push_within_capacity(&mut self, value: T) -> Result<(), T> {
            if self.0.len() == self.0.capacity() {
                return Err(value);
            }
            self.0.push(value);
            Ok(())
        }

        /// Takes all out.
        pub fn drain_all(&mut self) -> impl Iterator<Item = T> + '_ {
            self.0.drain(..)
        }

        /// Keeps those that `f` likes, in their order.
        pub fn retain(&mut self, f: impl FnMut(&mut T) -> bool) {
            self.0.retain_mut(f);
        }

        /// Removes all.
        pub fn clear(&mut self) {
            self.0.clear();
        }
    }

    impl<T: Clone> KVec<T> {
        /// `value`, `count` times.
        ///
        /// # Errors
        ///
        /// None here.
        pub fn from_elem(value: T, count: usize, _: Flags) -> Result<Self, AllocError> {
            Ok(Self(vec![value; count]))
        }
    }

    impl<T> Default for KVec<T> {
        fn default() -> Self {
            Self::new()
        }
    }

    impl<T> core::ops::Deref for KVec<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &self.0
        }
    }

    impl<T> core::ops::DerefMut for KVec<T> {
        fn deref_mut(&mut self) -> &mut [T] {
            &mut self.0
        }
    }

    impl<'a, T> IntoIterator for &'a mut KVec<T> {
        type Item = &'a mut T;
        type IntoIter = core::slice::IterMut<'a, T>;

        fn into_iter(self) -> Self::IntoIter {
            self.0.iter_mut()
        }
    }
}

/// Strings.
pub mod str {
    use crate::error::{code::EINVAL, Error, Result};
    use std::ffi::{self, CStr};

    /// A string that ends with NUL.
    pub struct CString(ffi::CString);

    impl CString {
        /// The text of `arguments`.
        ///
        /// # Errors
        ///
        /// EINVAL if there is a NUL in it.
        pub fn try_from_fmt(arguments: core::fmt::Arguments<'_>) -> Result<Self> {
            ffi::CString::new(arguments.to_string())
                .map(Self)
                .map_err(|_| EINVAL)
        }
    }

    impl TryFrom<&CStr> for CString {
        type Error = Error;

        fn try_from(text: &CStr) -> Result<Self> {
            Ok(Self(text.into()))
        }
    }

    impl core::ops::Deref for CString {
        type Target = CStr;

        fn deref(&self) -> &CStr {
            &self.0
        }
    }
}

/// What every file of the driver imports.
pub mod prelude {
    pub use crate::{
        alloc::{KVVec, KVec, GFP_KERNEL, GFP_KERNEL_ACCOUNT},
        error::{code::*, Error, Result},
        fmt,
    };
    pub use core::ffi::CStr;
    pub use kunit::kunit_tests;
    pub use zerocopy::{FromBytes, IntoBytes};
}
