// SPDX-License-Identifier: GPL-2.0

//! Errors that the kernel crate names from Linux 7.3 on.

#[cfg(not(linux_7_2))]
pub(crate) use kernel::error::code::{
    ECANCELED,
    EDQUOT,
    EINPROGRESS,
    ENODATA,
    EOPNOTSUPP, //
};

#[cfg(linux_7_2)]
pub(crate) use linux_7_2::*;

#[cfg(linux_7_2)]
mod linux_7_2 {
    use core::{
        mem::transmute,
        num::NonZeroI32, //
    };
    use kernel::{
        bindings,
        error::Error, //
    };

    pub(crate) const ECANCELED: Error = error(bindings::ECANCELED);
    pub(crate) const EDQUOT: Error = error(bindings::EDQUOT);
    pub(crate) const EINPROGRESS: Error = error(bindings::EINPROGRESS);
    pub(crate) const ENODATA: Error = error(bindings::ENODATA);
    pub(crate) const EOPNOTSUPP: Error = error(bindings::EOPNOTSUPP);

    /// [`Error::from_errno`], which is no constant function, so that patterns can name the error.
    const fn error(errno: u32) -> Error {
        let negative = NonZeroI32::new(-(errno as i32)).unwrap();
        // SAFETY: The number is all that an `Error` has; it is negative, and one of Linux's.
        unsafe { transmute::<NonZeroI32, Error>(negative) }
    }
}
