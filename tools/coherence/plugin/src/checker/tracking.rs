// SPDX-License-Identifier: MIT OR Apache-2.0
//! The beginning of tracking, where that is not power-on.
//!
//! Until then loads, stores and fetches are not watched at all. System
//! instructions are, so that the vCPU's control registers are known, and so are
//! the kernel's functions: who owns what, which modules there are and which task
//! runs. What else there is to know is looked up now: devices' registers, and the
//! kernel's tables. Of what caches hold nothing is known
//! ([`Model::history_is_unknown`]).
//!
//! [`Model::history_is_unknown`]: coherence_model::Model::history_is_unknown

use coherence_model::cores::Architecture;

use super::Checker;
use crate::mmu::{self, Translation};
use crate::qemu;

impl Checker {
    /// Tracks loads and stores from now on, if they are not tracked yet.
    pub(super) fn begin_tracking(&mut self) {
        if std::mem::replace(&mut self.tracking, true) {
            return;
        }
        // Maintenance of it was not followed.
        self.cpu.tlb.drop_all();
        self.live_sections.clear();
        self.read_registers();
        if self.core.architecture == Architecture::V7 {
            let memory = &mut self.memory;
            let uncached = mmu::uncached_pages(&self.cpu.control, |pa| memory.word(pa));
            self.model
                .history_is_unknown(uncached.iter().map(Translation::range));
        }
        self.linear_map_live();
        qemu::translate_all_again::<Self>();
    }

    /// What devices' registers say: whether the outer cache is on, and what is
    /// displayed.
    fn read_registers(&mut self) {
        let mut events = Vec::new();
        let memory = &mut self.memory;
        self.devices
            .read_registers(|pa| memory.word(pa), &mut |event| events.push(event));
        self.device_events(events, None);
    }
}
