// SPDX-License-Identifier: GPL-2.0

//! The name of a buffer: its node, and its folder in debugfs.

use crate::{
    buffer::Buffer,
    debugfs,
    device::{
        Handle,
        Opened, //
    },
    kind::Failure,
    sys::node::Node, //
};
use kernel::{
    debugfs::{
        Dir,
        Scope, //
    },
    fmt, new_mutex,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
};

/// What comes after `/dev/shmbuf-`: 1 to 31 letters, digits, `_`, `-` and `.`, the first a letter
/// or digit.
pub(crate) struct Name(CString);

impl Name {
    /// The most bytes that a name can have; shmbuf_info.name has one more.
    const MAX: usize = 31;

    /// The folders in debugfs that are no name's.
    const TAKEN: [&'static [u8]; 2] = [b"default", b"private"];

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

    /// The same once more.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn try_clone(&self) -> Result<Self> {
        Ok(Self(CString::try_from(self.as_cstr())?))
    }

    /// The name itself.
    pub(crate) fn as_cstr(&self) -> &CStr {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_fmt(fmt!("{}", self.as_cstr()))
    }
}

/// The names in use. The kernel does not refuse a second node of one name by itself.
#[pin_data]
pub(crate) struct Names {
    #[pin]
    taken: Mutex<KVec<CString>>,
}

impl Names {
    /// None so far. May sleep.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                taken <- new_mutex!(KVec::new(), "shmbuf::names"),
            }),
            GFP_KERNEL,
        )
    }

    /// Takes `name`, until what is returned is dropped. May sleep.
    ///
    /// # Errors
    ///
    /// [`Failure::Name`] if it is taken.
    pub(crate) fn take(self: &Arc<Self>, name: &Name) -> Result<Taken, Failure> {
        let mut taken = self.taken.lock();
        if taken.iter().any(|other| **other == *name.as_cstr()) {
            return Err(Failure::Name);
        }
        let own = CString::try_from(name.as_cstr()).map_err(Error::from)?;
        let listed = CString::try_from(name.as_cstr()).map_err(Error::from)?;
        taken.push(listed, GFP_KERNEL).map_err(Error::from)?;
        Ok(Taken {
            names: self.clone(),
            name: own,
        })
    }
}

/// A name that is taken.
pub(crate) struct Taken {
    names: Arc<Names>,
    name: CString,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.names.taken.lock().retain(|name| **name != *self.name);
    }
}

/// A buffer that can be opened by name. Dropping this takes the name away and nothing else: open
/// handles, mappings and dma-bufs keep the buffer.
#[pin_data]
pub(crate) struct Named {
    #[pin]
    node: Node<Handle>,
    #[pin]
    debugfs: Scope<Arc<Buffer>>,
    // After both are gone.
    taken: Option<Taken>,
}

impl Named {
    /// Makes /dev/`node`, for root alone, and the folder of the buffer's name, or `default`, in
    /// `parent`. May sleep.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if there is no minor number left, [`ENOMEM`].
    pub(crate) fn new(
        parent: &Dir,
        node: &CStr,
        taken: Option<Taken>,
        opened: Opened,
    ) -> Result<Pin<KBox<Self>>> {
        let buffer = opened.buffer.clone();
        let shown = buffer.clone();
        let folder = buffer.name().unwrap_or(c"default");
        let node_name = CString::try_from(node)?;
        KBox::try_pin_init(
            try_pin_init!(Self {
                node <- Node::new(node_name, 0o600, opened),
                debugfs <- debugfs::folder(parent, folder, shown),
                taken,
            }),
            GFP_KERNEL,
        )
    }
}

#[kunit_tests(shmbuf_named)]
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

    #[test]
    fn a_name_is_taken_once() {
        let names = Names::new().unwrap();
        let name = Name::new(c"a").unwrap();
        let taken = names.take(&name);
        assert!(taken.is_ok());
        assert!(matches!(names.take(&name), Err(Failure::Name)));
        drop(taken);
        assert!(names.take(&name).is_ok());
    }
}
