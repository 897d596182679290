// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads and stores.

use coherence_model::events::{Access, Device, PhysicalRange, Site};

use super::{Checker, Observer};
use crate::mmu::{Backing, Entry, PAGE};
use crate::qemu::Transaction;

impl Checker {
    #[inline(always)]
    pub(super) fn model_load(&mut self, access: &Access) {
        let sink = &mut Observer::new(
            &mut self.reporter,
            &mut self.memory,
            self.core.architecture,
            &self.cpu,
        );
        self.model.load(access, sink);
    }

    #[inline(always)]
    pub(super) fn model_store(&mut self, access: &Access) {
        let sink = &mut Observer::new(
            &mut self.reporter,
            &mut self.memory,
            self.core.architecture,
            &self.cpu,
        );
        self.model.store(access, sink);
    }

    /// The usual case: the TLB has the page, it is memory, and the access is
    /// within it.
    #[inline(always)]
    pub(super) fn in_memory(&self, va: u32, len: u32, site: Site) -> Option<Access> {
        let entry = self.cpu.tlb.find(va)?;
        let within = va % PAGE + len <= PAGE;
        (entry.backing == Backing::Memory && within).then(|| entry.access(va, len, site))
    }

    #[cold]
    pub(super) fn slow_access(
        &mut self,
        va: u32,
        len: u32,
        transaction: Transaction,
        site: Site,
        store: bool,
    ) {
        let first = len.min(PAGE - va % PAGE);
        for (va, len) in [(va, first), (va.wrapping_add(first), len - first)] {
            if len == 0 {
                continue;
            }
            let Some(entry) = self.entry_of_access(va, transaction) else {
                continue;
            };
            let access = entry.access(va, len, site);
            match (entry.backing, store) {
                (Backing::Memory, false) => self.model_load(&access),
                (Backing::Memory, true) => self.model_store(&access),
                (Backing::Played, store) => self.played_access(&access, store),
                (_, true) => self.device_store(access.pa, transaction.value(), site),
                (_, false) => {}
            }
        }
    }

    fn played_access(&mut self, access: &Access, store: bool) {
        let range = PhysicalRange {
            pa: access.pa,
            len: access.len,
        };
        let what = if store {
            Device::Writes(range)
        } else {
            Device::Finds(range)
        };
        self.device(what, Some(access.site));
    }

    /// Accesses to these pages are a device's from now on, and to no others.
    pub(super) fn play_device(&mut self, va: u32, bytes: u32) {
        let pages = match bytes {
            0 => 0..0,
            _ => va / PAGE..va.saturating_add(bytes).div_ceil(PAGE),
        };
        let before = std::mem::replace(&mut self.played, pages.clone());
        for page in before.chain(pages) {
            self.cpu.tlb.drop_page(page * PAGE);
        }
    }

    /// The page of an access, with what is there.
    fn entry_of_access(&mut self, va: u32, transaction: Transaction) -> Option<Entry> {
        if let Some(entry) = self.cpu.tlb.find(va) {
            if entry.backing != Backing::Unknown {
                return Some(*entry);
            }
        }
        let translation = self.walk(va)?;
        let qemus = transaction.target(va)?;
        if let Some((all, different)) = &mut self.check {
            *all += 1;
            *different += u64::from(translation.physical(va) != qemus.pa);
        }
        if qemus.device {
            Some(self.fill(va, &translation, Backing::Device))
        } else if self.played.contains(&(va / PAGE)) {
            // No mapping of the CPU's, to the model.
            Some(self.cpu.tlb.insert(va, &translation, Backing::Played))
        } else {
            Some(self.fill(va, &translation, Backing::Memory))
        }
    }
}
