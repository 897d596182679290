// SPDX-License-Identifier: GPL-2.0

//! Names of buffers.

use kernel::{
    fmt,
    prelude::*,
    str::CString, //
};

/// What comes after `/dev/shmbuf-`: 1 to 31 letters, digits, `_`, `-` and `.`, the first a letter
/// or digit.
pub(crate) struct Name(CString);

impl Name {
    /// The most bytes that a name can have; shmbuf_info.name has one more.
    const MAX: usize = 31;

    /// The folders in debugfs that are no name's.
    const TAKEN: [&'static [u8]; 2] = [b"default", b"private"];

    /// The name that `name` is.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] for what is no name, [`ENOMEM`].
    pub(crate) fn new(name: &CStr) -> Result<Self> {
        let bytes = name.to_bytes();
        let is_good = |&byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let begins_well = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        if bytes.len() <= Self::MAX
            && begins_well
            && bytes.iter().all(is_good)
            && !Self::TAKEN.contains(&bytes)
        {
            Ok(Self(CString::try_from(name)?))
        } else {
            Err(EINVAL)
        }
    }

    /// A copy, which takes memory.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn try_clone(&self) -> Result<Self> {
        Ok(Self(CString::try_from(self.as_cstr())?))
    }

    /// The name as a string.
    pub(crate) fn as_cstr(&self) -> &CStr {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().map_err(|_| fmt::Error)?)
    }
}

#[kunit_tests(shmbuf_name)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in [
            c"a",
            c"camera0",
            c"my.buffer-2_x",
            c"0123456789012345678901234567890",
        ] {
            assert!(Name::new(name).is_ok());
        }
        for name in [
            c"",
            c".a",
            c"-a",
            c"a/b",
            c"a b",
            c"\u{e9}",
            c"default",
            c"private",
            c"01234567890123456789012345678901",
        ] {
            assert_eq!(Name::new(name).err(), Some(EINVAL));
        }
    }
}
