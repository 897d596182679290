// SPDX-License-Identifier: GPL-2.0

//! A folder in configfs that rmdir(2) must not remove, which the kernel crate's
//! abstraction cannot say.

use core::ops::Deref;
use kernel::{
    bindings,
    configfs::{
        Group,
        HasGroup,
        ItemType, //
    },
    error::to_result,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        SetOnce, //
    },
};

/// The data of a folder that can be kept.
///
/// # Invariants
///
/// It is the data of a [`Group`], and `group` is that. So nobody has a reference to it but what configfs
/// calls for the folder, like the functions that show and store its attributes, and what these call:
/// the kernel crate gives it to no others.
#[pin_data]
pub(crate) struct Keepable<Data> {
    group: Arc<SetOnce<GroupPtr>>,
    #[pin]
    data: Data,
}

/// The group of a folder.
///
/// # Invariants
///
/// It is valid as long as the data of that folder.
struct GroupPtr(*const bindings::config_group);

// SAFETY: A group belongs to no thread.
unsafe impl Send for GroupPtr {}
// SAFETY: Nothing is done through a shared reference.
unsafe impl Sync for GroupPtr {}

impl<Data> Keepable<Data> {
    /// A folder with `data`, as [`Group::new`].
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn group(
        name: CString,
        attributes: &'static ItemType<Group<Self>, Self>,
        data: impl PinInit<Data, Error>,
    ) -> Result<impl PinInit<Group<Self>, Error>> {
        let group = Arc::new(SetOnce::new(), GFP_KERNEL)?;
        let known = group.clone();
        // INVARIANT: Nobody has it before the initializer of the group is done, which sets `group`.
        let keepable = try_pin_init!(Self { group, data <- data });
        Ok(
            Group::new(name, attributes, keepable).pin_chain(move |group| {
                // SAFETY: The group is valid.
                let group = unsafe { Group::<Self>::group(&*group) };
                // INVARIANT: The data is in the group, which stays where it is.
                known.populate(GroupPtr(group));
                Ok(())
            }),
        )
    }
}

impl<Data> Deref for Keepable<Data> {
    type Target = Data;

    fn deref(&self) -> &Data {
        &self.data
    }
}

/// A folder that rmdir(2) refuses to remove, with EBUSY, as long as this lives.
///
/// # Invariants
///
/// We depend on the item of this group, so it exists.
pub(crate) struct InUse(*mut bindings::config_group);

// SAFETY: An item belongs to no thread.
unsafe impl Send for InUse {}
// SAFETY: Nothing is done through a shared reference.
unsafe impl Sync for InUse {}

impl InUse {
    /// Keeps the folder of `data`.
    ///
    /// # Errors
    ///
    /// [`ENOENT`] if the folder is being removed.
    pub(crate) fn new<Data>(data: &Keepable<Data>) -> Result<Self> {
        let group = data.group.as_ref().as_ref().ok_or(ENOENT)?.0.cast_mut();
        // SAFETY: By the invariants of `Keepable` the group is valid, and configfs keeps the folder,
        // hence the subsystem, while it calls us.
        to_result(unsafe {
            bindings::configfs_depend_item_unlocked(
                (*(*group).cg_item.ci_group).cg_subsys,
                &raw mut (*group).cg_item,
            )
        })?;
        // INVARIANT: Just done.
        Ok(Self(group))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::configfs_undepend_item(&raw mut (*self.0).cg_item) };
    }
}
