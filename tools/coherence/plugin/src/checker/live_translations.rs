// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translations: the TLB, and what the model knows of them.

use coherence_model::events::Mapping;

use super::Checker;
use crate::cp15::Entries;
use crate::mmu::{self, Backing, Entry, PAGE};

impl Checker {
    /// Walks the guest's tables as they are now.
    pub(super) fn walk(&mut self, va: u32) -> Option<mmu::Translation> {
        let (architecture, control) = (self.core.architecture, &self.cpu.control);
        mmu::walk(architecture, control, va, |pa| self.memory.word(pa))
    }

    /// Puts a page into the TLB, and tells the model that it came into use.
    pub(super) fn fill(
        &mut self,
        va: u32,
        translation: &mmu::Translation,
        backing: Backing,
    ) -> Entry {
        let entry = self.cpu.tlb.insert(va, translation, backing);
        self.translation_live(translation);
        entry
    }

    /// The entry of an address that may be in the TLB or not, for maintenance
    /// and fetches: nobody says whether it is memory.
    pub(super) fn entry(&mut self, va: u32) -> Option<Entry> {
        if let Some(entry) = self.cpu.tlb.find(va) {
            return Some(*entry);
        }
        let translation = self.walk(va)?;
        Some(self.fill(va, &translation, Backing::Unknown))
    }

    /// Tells the model of a translation in use.
    pub(super) fn translation_live(&mut self, translation: &mmu::Translation) {
        let mmu::Translation {
            va,
            pa,
            len,
            memory,
            global,
        } = *translation;
        if len == mmu::SECTION && global && !self.live_sections.insert(va / mmu::SECTION) {
            return;
        }
        let asid = (!global).then(|| self.cpu.control.asid());
        self.mapping(Mapping::Live {
            va,
            pa,
            len,
            memory,
            asid,
        });
    }

    /// TLB maintenance. `value` is the source register's.
    pub(super) fn drop_translations(&mut self, entries: Entries, value: u32) {
        let (va, asid) = (value & !(PAGE - 1), value as u8);
        entries.drop_from(&mut self.cpu.tlb, value);
        match entries {
            Entries::Address | Entries::AddressAndAsid => {
                self.live_sections.remove(&(va / mmu::SECTION));
            }
            Entries::Asid => {}
            Entries::All => self.live_sections.clear(),
        }
        self.mapping(match entries {
            Entries::Address => Mapping::Gone { va, asid: None },
            Entries::AddressAndAsid => Mapping::Gone {
                va,
                asid: Some(asid),
            },
            Entries::Asid => Mapping::GoneAsid(asid),
            Entries::All => Mapping::GoneAll,
        });
        // A core that speculates may walk the table again at once.
        match entries {
            Entries::All => self.linear_map_live(),
            Entries::Asid => {}
            _ if self.core.speculates => {
                let control = self.cpu.control;
                let section = mmu::section_at(&control, va, |pa| self.memory.word(pa));
                if let Some(section) = section {
                    self.translation_live(&section);
                }
            }
            _ => {}
        }
    }

    /// A core that speculates walks tables by itself.
    pub(super) fn linear_map_live(&mut self) {
        if !self.core.speculates {
            return;
        }
        let control = self.cpu.control;
        for section in mmu::cached_sections(&control, |pa| self.memory.word(pa)) {
            self.translation_live(&section);
        }
    }
}
