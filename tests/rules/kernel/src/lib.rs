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
            EIO = 5 "I/O error.",
            ENOMEM = 12 "Out of memory.",
            EBUSY = 16 "Device or resource busy.",
            EEXIST = 17 "File exists.",
            ENODEV = 19 "No such device.",
            EINVAL = 22 "Invalid argument.",
            EFBIG = 27 "File too large.",
            ERANGE = 34 "Out of range.",
            EOPNOTSUPP = 95 "Operation not supported.",
            EDQUOT = 122 "Quota exceeded.",
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
        error::{code::*, Error, Result},
        fmt,
    };
    pub use core::ffi::CStr;
    pub use kunit::kunit_tests;
    pub use zerocopy::{FromBytes, IntoBytes};
}
