// SPDX-License-Identifier: GPL-2.0

//! The name of a buffer: its node, and its folder in debugfs.

use super::{
    debugfs,
    handle::{
        Handle,
        Opened, //
    },
};
use crate::{
    buffer::object::Buffer,
    rules::{
        failure::Failure,
        name::Name, //
    },
    sys::node::Node,
};
use kernel::{
    debugfs::{
        Dir,
        Scope, //
    },
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
};

/// The names in use. The kernel does not refuse a second node of one name by itself.
#[pin_data]
pub(crate) struct Names {
    #[pin]
    taken: Mutex<KVec<CString>>,
}

impl Names {
    /// No name is in use so far. May sleep.
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

/// A name that is taken for as long as this lives.
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
        let folder = buffer.folder_name();
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
