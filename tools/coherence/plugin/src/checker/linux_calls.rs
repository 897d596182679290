// SPDX-License-Identifier: MIT OR Apache-2.0
//! Functions of the kernel, when they are entered and left.

use coherence_model::events::{Device, MemoryType, PhysicalRange, Site};

use super::Checker;
use crate::linux_functions::{Kernel, LinuxEvent};
use crate::vcpu::VcpuView;

impl Checker {
    /// A hooked function begins. Errors: the checker cannot go on.
    pub fn function_entered(&mut self, site: Site) -> Result<(), &'static str> {
        self.kernel_hook(site, |kernel, pc, cpu, events| {
            kernel.entered(pc, cpu, events)
        })
    }

    /// A hooked function may have returned. Errors: the checker cannot go on.
    pub fn function_left(&mut self, site: Site) -> Result<(), &'static str> {
        self.kernel_hook(site, |kernel, pc, cpu, events| kernel.left(pc, cpu, events))
    }

    fn kernel_hook(
        &mut self,
        site: Site,
        hook: impl FnOnce(&mut Kernel, u32, &mut VcpuView, &mut Vec<LinuxEvent>),
    ) -> Result<(), &'static str> {
        let (Some(kernel), Some(registers)) = (&mut self.kernel, &mut self.registers) else {
            return Ok(());
        };
        let mut events = Vec::new();
        let architecture = self.core.architecture;
        let cpu = &mut VcpuView::new(registers, &mut self.memory, architecture, self.cpu.control);
        let (pc, _) = self.reporter.sites.get(site);
        hook(kernel, pc, cpu, &mut events);
        let caller = kernel.caller(cpu).unwrap_or(pc);
        for event in events {
            match event {
                LinuxEvent::Device(what) => self.device_by(caller, what),
                LinuxEvent::DeviceBy(pc, what) => self.device_by(pc, what),
                LinuxEvent::Allocated { va, memory, device } => {
                    if self.is_cached(va) {
                        self.device_by(caller, Device::Snoops(device));
                        self.device_by(caller, Device::CoherentCached(memory));
                    } else {
                        self.device_by(caller, Device::Coherent(memory));
                    }
                }
                LinuxEvent::FreedObject { va, by } => self.object_freed(va, by),
                LinuxEvent::NewOwner(pages) => self.model.new_owner(pages),
                LinuxEvent::Task(task) => {
                    self.cpu.task = Some(task);
                    self.update_task_name();
                }
                LinuxEvent::Module(module) => self.modules.push(module),
                LinuxEvent::UnknownModule { module, name } => self.learn_modules(module, &name),
                LinuxEvent::Returns(pc) => {
                    if let Some(translation) = self.walk(pc) {
                        self.memory.translate_again(translation.physical(pc));
                    }
                }
                LinuxEvent::AnotherCpu => {
                    return Err("the guest uses a second CPU, which this checker cannot follow: boot Linux with maxcpus=1.");
                }
            }
        }
        Ok(())
    }

    /// A module was loaded, and nobody knows yet where the kernel says where it is.
    fn learn_modules(&mut self, module: u32, name: &str) {
        let (Some(kernel), Some(registers)) = (&mut self.kernel, &mut self.registers) else {
            return;
        };
        let Some(file) = self.reporter.code.module_file(name) else {
            return;
        };
        let architecture = self.core.architecture;
        let cpu = &mut VcpuView::new(registers, &mut self.memory, architecture, self.cpu.control);
        self.modules.extend(kernel.learn(module, &file, cpu));
    }

    fn device_by(&mut self, pc: u32, what: Device) {
        let owner = self.owner(pc, true);
        let site = self.reporter.sites.site(pc, owner);
        self.reporter.called(what, site, self.model.is_snooping());
        self.device(what, Some(site));
    }

    fn is_cached(&mut self, va: u32) -> bool {
        let translation = self.walk(va);
        translation.is_some_and(|it| it.memory == MemoryType::WriteBack)
    }

    /// Of an object that is freed its first byte is known.
    fn object_freed(&mut self, va: u32, by: u32) {
        if !self.model.has_mappings() {
            return;
        }
        if let Some(translation) = self.walk(va) {
            let pa = translation.physical(va);
            self.device_by(by, Device::Freed(PhysicalRange { pa, len: 1 }));
        }
    }

    /// Makes sure, when a program runs for the first time, that the kernel is the
    /// one that the symbols are of. Errors: the checker cannot go on.
    pub(super) fn confirm_kernel(&mut self) -> Result<(), &'static str> {
        if std::mem::replace(&mut self.confirmed, true) {
            return Ok(());
        }
        let (Some(kernel), Some(registers)) = (&self.kernel, &mut self.registers) else {
            return Ok(());
        };
        let architecture = self.core.architecture;
        let cpu = &mut VcpuView::new(registers, &mut self.memory, architecture, self.cpu.control);
        kernel.confirm(cpu)
    }

    /// Reads the name of the task that runs: a program changes it when it
    /// begins.
    pub(super) fn update_task_name(&mut self) {
        let (Some(kernel), Some(registers)) = (&self.kernel, &mut self.registers) else {
            return;
        };
        let architecture = self.core.architecture;
        let cpu = &mut VcpuView::new(registers, &mut self.memory, architecture, self.cpu.control);
        let name = self.cpu.task.and_then(|task| kernel.task_name(task, cpu));
        self.reporter.task = name.unwrap_or_default();
    }
}
