// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translation by QEMU: what is watched of it, and the instructions that are
//! fetched.

use coherence_model::cores::LINE;
use coherence_model::events::{Caches, Site};

use super::Checker;
use crate::code_sites::Owner;
use crate::cp15;
use crate::instruction_decoder::{privileged, Decoder, Kind};
use crate::mmu::PAGE;
use crate::qemu::{self, Block};

impl Checker {
    /// QEMU translates a block, because it is about to run and never ran before
    /// at this address, or changed since. It also does so when its own buffer
    /// was full; then the fetch says nothing new. A block is not translated
    /// again when its page merely is mapped elsewhere meanwhile and back.
    pub(super) fn watch_block(&mut self, block: &Block<Self>) {
        let Some(registers) = &mut self.registers else {
            return;
        };
        let cpsr = registers.read(qemu::CPSR);
        let privileged = privileged(cpsr);
        let mut decoder = Decoder::new(cpsr);
        let mut owner = None;
        let mut piece: Option<(u32, u32, Site)> = None;
        for (i, instruction) in block.instructions().enumerate() {
            let pc = instruction.address();
            let owner = *owner.get_or_insert_with(|| self.owner(pc, privileged));
            let site = self.reporter.sites.site(pc, owner);
            let (bytes, len) = instruction.bytes();

            piece = match piece {
                Some((begin, _, first)) if begin / LINE == pc / LINE => {
                    Some((begin, pc + len as u32, first))
                }
                other => {
                    self.fetch(other);
                    Some((pc, pc + len as u32, site))
                }
            };
            instruction.watch_memory(site);
            match decoder.decode(bytes, len) {
                Kind::System(word) => {
                    let operation = cp15::decode(self.emulation.architecture, word);
                    if operation.is_some() {
                        instruction.watch_system(site, word);
                    }
                }
                Kind::Hint => instruction.watch_hint(site),
                Kind::Other => {}
            }
            if let (true, Some(kernel)) = (privileged, &self.kernel) {
                if i == 0 && kernel.returns(pc) {
                    instruction.watch_return(site);
                }
                if kernel.hooks(pc) {
                    instruction.watch_function(site);
                }
            }
        }
        self.fetch(piece);
    }

    /// A fetch of a block's instructions that begin in one line: where they
    /// begin and end, and the first one's site. What the last of them has on
    /// another page is left out.
    fn fetch(&mut self, instructions: Option<(u32, u32, Site)>) {
        let Some((va, end, site)) = instructions else {
            return;
        };
        if let Some(entry) = self.entry(va) {
            let len = (end - va).min(PAGE - va % PAGE);
            let access = entry.access(va, len, site);
            self.model.fetch(&access, &mut self.reporter);
        }
    }

    /// Whose code this is.
    pub(super) fn owner(&mut self, pc: u32, privileged: bool) -> u32 {
        if !privileged {
            self.update_task_name();
            let task = self.reporter.task.clone();
            return self.reporter.sites.owner(Owner::Program(task));
        }
        // The newest: an older one at the same place is gone.
        let found = self
            .modules
            .iter()
            .rev()
            .find(|m| pc.wrapping_sub(m.base) < m.size);
        self.reporter
            .sites
            .owner(found.map_or(Owner::Kernel, |module| Owner::Module {
                name: module.name.clone(),
                base: module.base,
            }))
    }
}
