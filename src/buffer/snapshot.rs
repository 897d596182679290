// SPDX-License-Identifier: GPL-2.0

//! What a buffer is at one moment: the one source of INFO, fdinfo and debugfs.

use super::object::Buffer;
use crate::{
    memory::storage::Storage,
    rules::{
        direction::Direction,
        kind::Kind,
        mapping::Mapping,
        ownership::Owner,
        policy::Policy, //
    },
};
use kernel::{
    fmt,
    prelude::*,
    sync::Arc, //
};

/// A buffer at one moment.
pub(crate) struct Snapshot {
    /// Where its memory comes from.
    pub(crate) kind: Kind,
    /// The policy in force.
    pub(crate) policy: Policy,
    /// The policies that SET_CACHE takes, a bit for each.
    pub(crate) policies: u32,
    /// The memory type in force, in the architecture's words.
    pub(crate) memory_type: &'static str,
    /// Whether a cacheable alias remains beside views that are not cached.
    pub(crate) is_aliased: bool,
    /// The size in bytes.
    pub(crate) size: usize,
    /// Who may touch the contents.
    pub(crate) owner: Owner,
    /// How it is mapped.
    pub(crate) mapping: Mapping,
    /// What devices do with it.
    pub(crate) direction: Direction,
    /// How many user mappings there are.
    pub(crate) mappings: usize,
    /// How many dma-bufs there are.
    pub(crate) exports: usize,
    /// The memory, which is the buffer's until the policy changes.
    pub(crate) storage: Arc<Storage>,
}

impl Buffer {
    /// What the buffer is now. May sleep.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let machine = self.machine();
        let state = self.state.lock();
        let storage = state.storage.clone();
        let (mappings, exports) = state.users.counts();
        Snapshot {
            kind: storage.kind(),
            policy: storage.policy(),
            policies: storage.policies(machine),
            memory_type: machine.words(storage.memory_type(machine)),
            is_aliased: storage.is_aliased(machine),
            size: self.size,
            owner: state.access.ownership.owner(),
            mapping: self.mapping,
            direction: self.direction,
            mappings,
            exports,
            storage,
        }
    }
}

impl Snapshot {
    /// Calls `line` with the name and the value of everything that every program may know.
    pub(crate) fn each_line(&self, mut line: impl FnMut(&'static str, fmt::Arguments<'_>)) {
        line("kind", fmt!("{}", self.kind));
        line("policy", fmt!("{}", self.policy));
        line("memory type", fmt!("{}", self.memory_type));
        line("size", fmt!("{}", self.size));
        line("owner", fmt!("{}", self.owner));
        line("mapping", fmt!("{}", self.mapping));
        line("direction", fmt!("{}", self.direction));
        line("mappings", fmt!("{}", self.mappings));
        line("exports", fmt!("{}", self.exports));
    }
}
