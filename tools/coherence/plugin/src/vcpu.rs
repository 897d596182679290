// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vCPU as it is during a callback: registers, and memory at its addresses.

use coherence_model::cores::Architecture;

use crate::linux_functions;
use crate::mmu::{self, Control};
use crate::qemu::{self, GuestMemory, Registers};

/// What one sees of the vCPU.
pub struct VcpuView<'a> {
    registers: &'a mut Registers,
    memory: &'a mut GuestMemory,
    architecture: Architecture,
    control: Control,
}

impl<'a> VcpuView<'a> {
    /// The vCPU with its control registers as they are now.
    pub fn new(
        registers: &'a mut Registers,
        memory: &'a mut GuestMemory,
        architecture: Architecture,
        control: Control,
    ) -> Self {
        Self {
            registers,
            memory,
            architecture,
            control,
        }
    }
}

impl linux_functions::Cpu for VcpuView<'_> {
    fn register(&mut self, number: usize) -> u32 {
        self.registers.read(number)
    }
    fn sp(&mut self) -> u32 {
        self.registers.read(qemu::SP)
    }
    fn lr(&mut self) -> u32 {
        self.registers.read(qemu::LR)
    }
    fn word(&mut self, va: u32) -> Option<u32> {
        let pa = self.physical(va)?;
        self.memory.word(pa)
    }
    fn physical(&mut self, va: u32) -> Option<u32> {
        let memory = &mut *self.memory;
        let found = mmu::walk(self.architecture, &self.control, va, |pa| memory.word(pa))?;
        Some(found.physical(va))
    }
}
