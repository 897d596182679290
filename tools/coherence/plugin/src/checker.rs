// SPDX-License-Identifier: MIT OR Apache-2.0
//! All of the plugin's state, and what happens at each of QEMU's callbacks.

mod linux_calls;
mod live_translations;
mod loads_stores;
mod system_instructions;
mod translated_blocks;

use std::collections::HashSet;
use std::ops::Range;

use coherence_model::cores::{Architecture, Core, Emulation};
use coherence_model::events::{self, Caches, Device, Maintenance, Mapping, MemoryType, Site};
use coherence_model::hazards::{Finding, Sink};
use coherence_model::Model;

use crate::arguments::Arguments;
use crate::cp15::Sweep;
use crate::linux_functions::{Kernel, Module};
use crate::mmu::{self, Control, Tlb};
use crate::qemu::{Block, Global, Memory, Registers, Sizes, Transaction, Watcher};
use crate::report::{Code, Cost, Reporter};
use crate::symbols::Symbols;
use crate::watched_devices::{self, Devices};

/// The vCPU.
struct Cpu {
    control: Control,
    tlb: Tlb,
    sweep: Sweep,
    /// Its task's task_struct, once it is known.
    task: Option<u32>,
}

/// The plugin.
pub struct Checker {
    core: Core,
    emulation: Emulation,
    model: Model,
    reporter: Reporter,
    cpu: Cpu,
    /// Global sections that the model has as live, by number.
    live_sections: HashSet<u32>,
    memory: Memory,
    sizes: Sizes,
    registers: Option<Registers>,
    kernel: Option<Kernel>,
    modules: Vec<Module>,
    devices: Devices,
    /// Numbers of the pages by which the CPU plays a device.
    played: Range<u32>,
    accesses: u64,
    next_scan_out: u64,
    /// Translations compared with QEMU's, and how many differed.
    check: Option<(u64, u64)>,
}

/// Takes findings, and looks into the guest's tables for the
/// model.
struct Observer<'a> {
    reporter: &'a mut Reporter,
    memory: &'a mut Memory,
    architecture: Architecture,
    control: &'a Control,
}

impl<'a> Observer<'a> {
    fn new(
        reporter: &'a mut Reporter,
        memory: &'a mut Memory,
        architecture: Architecture,
        cpu: &'a Cpu,
    ) -> Self {
        Self {
            reporter,
            memory,
            architecture,
            control: &cpu.control,
        }
    }
}

impl Sink for Observer<'_> {
    fn found(&mut self, finding: Finding) {
        self.reporter.found(finding);
    }

    fn maps(&mut self, va: u32, pa: u32, memory: MemoryType, asid: Option<u8>) -> Option<bool> {
        if asid.is_some_and(|asid| asid != self.control.asid()) {
            // Other tables have it.
            return None;
        }
        let found = mmu::walk(self.architecture, self.control, va, |pa| {
            self.memory.word(pa)
        });
        Some(found.is_some_and(|found| found.physical(va) == pa && found.memory == memory))
    }
}

impl Checker {
    /// Errors: a sentence for the user.
    pub fn new(arguments: Arguments) -> Result<Self, String> {
        let mut code = Code::default();
        let mut kernel = None;
        if let Some(path) = &arguments.symbols {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            code.kernel = Symbols::from_system_map(&text)?;
            kernel = Some(Kernel::new(&code.kernel, arguments.layout)?);
        }
        for path in arguments.modules.iter().chain(&arguments.programs) {
            code.add(path)?;
        }
        let (core, emulation) = (arguments.core, arguments.emulation);
        let cpu = Cpu {
            control: Control::default(),
            tlb: Tlb::new(),
            sweep: Sweep::new(emulation.data_cache, events::Operation::Clean),
            task: None,
        };
        let mut reporter = Reporter::new(arguments.report, code);
        let mut model = Model::new(core);
        // As after reset.
        model.maintain(Maintenance::OuterSwitch(false), Site(0), &mut reporter);
        Ok(Self {
            core,
            emulation,
            model,
            reporter,
            cpu,
            live_sections: HashSet::new(),
            memory: Memory::new(),
            sizes: Sizes::new(),
            registers: None,
            kernel,
            modules: Vec::new(),
            devices: Devices::new(&arguments.devices),
            played: 0..0,
            accesses: 0,
            next_scan_out: 0,
            check: arguments.check.then_some((0, 0)),
        })
    }

    fn finish(&mut self) {
        let (lines, bytes) = self.model.cost();
        let cost = Cost {
            accesses: self.accesses,
            lines,
            bytes,
            forgotten: self.model.forgotten(),
            cache: self.emulation.data_cache.lines(),
            checked: self.check,
        };
        self.reporter.finish(cost);
    }
}

impl Watcher for Checker {
    fn global() -> &'static Global<Self> {
        static CHECKER: Global<Checker> = Global::new();
        &CHECKER
    }

    fn vcpu_started(&mut self) {
        self.registers.get_or_insert_with(Registers::find);
    }

    fn translate(&mut self, block: &Block<Self>) {
        self.watch_block(block);
    }

    #[inline(always)]
    fn load(&mut self, va: u32, transaction: Transaction, site: Site) {
        self.take_load(va, transaction, site);
    }

    #[inline(always)]
    fn store(&mut self, va: u32, transaction: Transaction, site: Site) {
        self.take_store(va, transaction, site);
    }

    fn system_instruction(&mut self, site: Site, word: u32) {
        self.do_system_instruction(site, word);
    }

    fn hint(&mut self, site: Site) {
        self.take_hint(site);
    }

    fn exit(&mut self) {
        self.finish();
    }
}

/// What the model is told.
impl Checker {
    fn mapping(&mut self, what: Mapping) {
        let observer = &mut Observer::new(
            &mut self.reporter,
            &mut self.memory,
            self.emulation.architecture,
            &self.cpu,
        );
        self.model.mapping(what, observer);
    }

    fn device(&mut self, what: Device, site: Option<Site>) {
        self.model.device(what, site, &mut self.reporter);
    }

    fn maintain(&mut self, what: Maintenance, site: Site) {
        self.reporter.maintained(what);
        self.model.maintain(what, site, &mut self.reporter);
    }

    fn device_store(&mut self, pa: u32, value: u32, site: Site) {
        if self.emulation.device_stores_drain {
            self.maintain(Maintenance::Drain, site);
        }
        let mut events = Vec::new();
        let memory = &mut self.memory;
        self.devices
            .store(pa, value, |pa| memory.word(pa), &mut |event| {
                events.push(event)
            });
        for event in events {
            match event {
                watched_devices::Event::Device(what) => self.device(what, Some(site)),
                watched_devices::Event::Maintenance(what) => self.maintain(what, site),
            }
        }
    }
}
