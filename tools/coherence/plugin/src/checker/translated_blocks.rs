// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translation by QEMU: what is watched of it, and the instructions that are
//! fetched.
//!
//! QEMU translates a block, because it is about to run and never ran before at
//! this address, or changed since. It also does so when its own buffer was full;
//! then the fetch says nothing new. A block is not translated again when its
//! page merely is mapped elsewhere meanwhile and back.

use std::ops::Range;

use coherence_model::events::Site;

use super::Checker;
use crate::code_sites::Owner;
use crate::cp15::{self, Cp15Operation};
use crate::instruction_decoder::InstructionKind;
use crate::mmu::PAGE;
use crate::qemu::Instruction;

/// Instructions of a block that begin in one line.
pub(super) struct Piece {
    /// From the first to the end of the last.
    instructions: Range<u32>,
    /// The first one's site.
    first: Site,
}

impl Checker {
    /// One more instruction of a block is fetched, after those of the piece.
    /// Returns the piece that it is in.
    pub(super) fn fetch_with(
        &mut self,
        piece: Option<Piece>,
        instruction: Range<u32>,
        site: Site,
    ) -> Piece {
        if let Some(piece) = piece {
            let line = self.core.data_cache.line;
            if piece.instructions.start / line == instruction.start / line {
                let instructions = piece.instructions.start..instruction.end;
                return Piece {
                    instructions,
                    ..piece
                };
            }
            self.fetch(piece);
        }
        Piece {
            instructions: instruction,
            first: site,
        }
    }

    /// Fetches a piece. What its last instruction has on another page is left out.
    pub(super) fn fetch(&mut self, piece: Piece) {
        let Range { start: va, end } = piece.instructions;
        if let Some(entry) = self.entry(va) {
            let len = (end - va).min(PAGE - va % PAGE);
            let access = entry.access(va, len, piece.first);
            self.model.fetch(&access, &mut self.reporter);
        }
    }

    /// Watches an instruction for what it is. Returns one that is to be watched when the next
    /// one of the block runs, and the register has what it read.
    pub(super) fn watch_kind(
        &self,
        instruction: &Instruction<Self>,
        kind: InstructionKind,
        site: Site,
    ) -> Option<u32> {
        match kind {
            InstructionKind::System(word) => match cp15::decode(self.core.architecture, word) {
                Some(Cp15Operation::CacheSize) => return Some(word),
                Some(_) => instruction.watch_system(site, word),
                None => {}
            },
            InstructionKind::Hint => instruction.watch_hint(site),
            InstructionKind::Other => {}
        }
        None
    }

    /// Watches an instruction of the kernel for where it is.
    pub(super) fn watch_linux(&self, instruction: &Instruction<Self>, first: bool, site: Site) {
        let Some(kernel) = &self.kernel else {
            return;
        };
        let pc = instruction.address();
        if first && kernel.returns(pc) {
            instruction.watch_return(site);
        }
        if kernel.hooks(pc) {
            instruction.watch_function(site);
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
                base: module.base.wrapping_sub(module.link),
            }))
    }
}
