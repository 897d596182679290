// SPDX-License-Identifier: GPL-2.0

//! A folder in configfs that rmdir(2) must not remove, which the kernel crate's
//! abstraction cannot say.

use kernel::{
    bindings,
    configfs::{
        Group,
        HasGroup, //
    },
    error::to_result,
    prelude::*,
    sync::{
        Arc,
        SetOnce, //
    },
};

/// The group that a folder is. The folder's own data has it, and nothing that outlives that but
/// [`InUse`].
///
/// # Invariants
///
/// If set, it is the group of the folder whose data has this.
pub(crate) struct Item(SetOnce<usize>);

impl Item {
    /// An item for a folder which is not there yet.
    pub(crate) fn new() -> Result<Arc<Self>> {
        // INVARIANT: It is not set.
        Ok(Arc::new(Self(SetOnce::new()), GFP_KERNEL)?)
    }

    /// Makes `group`, whose data has `item`, the one that `item` stands for.
    pub(crate) fn of<Data>(
        item: Arc<Self>,
        group: impl PinInit<Group<Data>, Error>,
    ) -> impl PinInit<Group<Data>, Error> {
        group.pin_chain(move |group| {
            // SAFETY: The group is valid.
            let group = unsafe { Group::<Data>::group(&*group) };
            // INVARIANT: By this function's contract; the group stays where it is.
            item.0.populate(group as usize);
            Ok(())
        })
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
    /// Keeps the folder of `item`. To be called while one of its attributes is written, by what that
    /// calls.
    ///
    /// # Errors
    ///
    /// [`ENOENT`] if the folder is being removed.
    pub(crate) fn new(item: &Item) -> Result<Self> {
        let group = *item.0.as_ref().ok_or(ENOENT)? as *mut bindings::config_group;
        // SAFETY: The attribute that is being written keeps the folder, hence the subsystem.
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
