// SPDX-License-Identifier: MIT OR Apache-2.0
//! All of the plugin's state, and what happens at each of QEMU's callbacks.

mod linux_calls;
mod live_translations;
mod loads_stores;
mod system_instructions;
mod tracking;
mod translated_blocks;

use std::collections::HashSet;
use std::ops::Range;

use coherence_model::cores::{Architecture, Core, Emulation, Outer};
use coherence_model::events::{Device, Maintenance, Mapping, MemoryType, Site};
use coherence_model::hazards::{Finding, Sink};
use coherence_model::Model;

use crate::arguments::{Arguments, Track};
use crate::cache_type;
use crate::cp15::{self, Cp15Operation, Level, Sweep};
use crate::hints::Hint;
use crate::instruction_decoder::{privileged, Decoder};
use crate::linux_functions::{Kernel, Module};
use crate::mmu::{self, Control, Tlb};
use crate::qemu::{self, Block, Global, GuestMemory, Registers, Sizes, Transaction, Watcher};
use crate::report::{Code, CodeFile, Cost, Reporter};
use crate::symbols::Symbols;
use crate::vcpu::VcpuView;
use crate::watched_devices::{DeviceEvent, Devices};

/// The vCPU.
struct CpuState {
    control: Control,
    tlb: Tlb,
    inner_sweep: Sweep,
    outer_sweep: Option<Sweep>,
    /// The task_struct of the task that runs, once it is known.
    task: Option<u32>,
}

/// The plugin.
pub struct Checker {
    core: Core,
    emulation: Emulation,
    model: Model,
    reporter: Reporter,
    cpu: CpuState,
    /// Global sections that the model has as live, by number.
    live_sections: HashSet<u32>,
    memory: GuestMemory,
    sizes: Sizes,
    registers: Option<Registers>,
    kernel: Option<Kernel>,
    /// The cache whose size the guest may read, as it selected it.
    cache_selection: u32,
    /// Whether the guest read another size than that of the core.
    other_size: bool,
    /// Whether a program ran, and the kernel was found to be the right one then.
    confirmed: bool,
    modules: Vec<Module>,
    devices: Devices,
    /// Numbers of the pages by which the CPU plays a device.
    played: Range<u32>,
    /// Whether loads and stores are tracked yet.
    tracking: bool,
    next_scan_out: u64,
    /// Translations compared with QEMU's, and how many differed.
    check: Option<(u64, u64)>,
}

/// Takes findings, and looks into the guest's tables for the model.
struct Observer<'a> {
    reporter: &'a mut Reporter,
    memory: &'a mut GuestMemory,
    architecture: Architecture,
    control: &'a Control,
}

impl<'a> Observer<'a> {
    fn new(
        reporter: &'a mut Reporter,
        memory: &'a mut GuestMemory,
        architecture: Architecture,
        cpu: &'a CpuState,
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
    /// Reads the files that the arguments name. Errors: a sentence for the user.
    pub fn new(arguments: Arguments) -> Result<Self, String> {
        let mut code = Code::default();
        let mut kernel = None;
        if let Some(path) = &arguments.symbols {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let symbols = Symbols::from_system_map(&text)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            kernel = Some(Kernel::new(&symbols, arguments.layout)?);
            code.kernel = CodeFile::new(symbols, arguments.vmlinux);
        }
        for path in &arguments.modules {
            code.add_module(path)?;
        }
        for path in &arguments.module_folders {
            code.add_modules_of(path)?;
        }
        for path in &arguments.programs {
            code.add_program(path)?;
        }
        let (core, emulation) = (arguments.core, arguments.emulation);
        let cpu = CpuState {
            control: Control::default(),
            tlb: Tlb::new(),
            inner_sweep: Sweep::new(core.data_cache, Level::Inner),
            outer_sweep: match core.outer {
                Outer::Integrated(geometry) => Some(Sweep::new(geometry, Level::Outer)),
                Outer::None | Outer::Pl310 => None,
            },
            task: None,
        };
        let mut reporter = Reporter::new(arguments.report, code);
        reporter.tells = arguments.summary;
        let mut model = Model::new(core);
        if arguments.stray_all {
            model.unmapped_is_stray();
        }
        if let Some(most) = arguments.history {
            model.remember_at_most(most);
        }
        // As after reset.
        model.maintain(Maintenance::OuterSwitch(false));
        Ok(Self {
            core,
            emulation,
            model,
            reporter,
            cpu,
            live_sections: HashSet::new(),
            memory: GuestMemory::new(),
            sizes: Sizes::new(),
            registers: None,
            kernel,
            cache_selection: 0,
            other_size: false,
            confirmed: false,
            modules: Vec::new(),
            devices: Devices::new(&arguments.devices),
            played: 0..0,
            tracking: arguments.track == Track::Boot,
            next_scan_out: 0,
            check: arguments.check.then_some((0, 0)),
        })
    }
}

impl Watcher for Checker {
    fn global() -> &'static Global<Self> {
        static CHECKER: Global<Checker> = Global::new();
        &CHECKER
    }

    fn vcpu_started(&mut self) -> Result<(), String> {
        let registers = self.registers.get_or_insert_with(Registers::find);
        let [main_id, cache_type] = [qemu::MAIN_ID, qemu::CACHE_TYPE].map(|n| registers.read(n));
        cache_type::check(&self.core, &self.emulation, main_id, cache_type)
    }

    fn translate(&mut self, block: &Block<Self>) -> Result<(), &'static str> {
        if self.other_size {
            return Err("a cache of the guest's core has another size than that of core=.");
        }
        let Some(registers) = &mut self.registers else {
            return Ok(());
        };
        let cpsr = registers.read(qemu::CPSR);
        let privileged = privileged(cpsr);
        if !privileged {
            self.confirm_kernel()?;
        }
        let mut decoder = Decoder::new(cpsr);
        let mut owner = None;
        let mut piece = None;
        let mut reads = None;
        for (i, instruction) in block.instructions().enumerate() {
            let pc = instruction.address();
            let owner = *owner.get_or_insert_with(|| self.owner(pc, privileged));
            let site = self.reporter.sites.site(pc, owner);
            let (bytes, len) = instruction.bytes();
            if self.tracking {
                piece = Some(self.fetch_with(piece, pc..pc + len as u32, site));
                instruction.watch_memory(site);
            }
            if let Some(word) = reads {
                instruction.watch_system(site, word);
            }
            reads = self.watch_kind(&instruction, decoder.decode(bytes, len), site);
            if privileged {
                self.watch_linux(&instruction, i == 0, site);
            }
        }
        if let Some(piece) = piece {
            self.fetch(piece);
        }
        Ok(())
    }

    #[inline(always)]
    fn load(&mut self, va: u32, transaction: Transaction, site: Site) {
        self.reporter.accesses += 1;
        let len = self.sizes.of(transaction);
        if let Some(access) = self.in_memory(va, len, site) {
            self.model_load(&access);
        } else {
            self.slow_access(va, len, transaction, site, false);
        }
    }

    #[inline(always)]
    fn store(&mut self, va: u32, transaction: Transaction, site: Site) {
        self.reporter.accesses += 1;
        let len = self.sizes.of(transaction);
        if let Some(access) = self.in_memory(va, len, site) {
            self.model_store(&access);
        } else {
            self.slow_access(va, len, transaction, site, true);
        }
    }

    fn system_instruction(&mut self, site: Site, word: u32) {
        // There are many of these.
        if cp15::decode(self.core.architecture, word) == Some(Cp15Operation::Order)
            && !self.model.is_barrier_due()
        {
            return;
        }
        let cpsr = self.register(qemu::CPSR);
        let Some(operation) = cp15::effect(self.core.architecture, word, cpsr) else {
            return;
        };
        let value = match operation {
            Cp15Operation::Drain | Cp15Operation::Order | Cp15Operation::TestAndClean(_) => 0,
            _ => self.register(cp15::source(word)),
        };
        self.operate(operation, value, site);
    }

    fn hint(&mut self, site: Site) {
        let registers = [0, 1, 2].map(|number| self.register(number));
        match Hint::decode(registers) {
            Some(Hint::DeviceReads(range)) => self.device(Device::Finds(range), Some(site)),
            Some(Hint::DeviceWrites(range)) => self.device(Device::Writes(range), Some(site)),
            Some(Hint::AsDevice { va, bytes }) => self.play_device(va, bytes),
            Some(Hint::Label(text)) => {
                if let Some(registers) = &mut self.registers {
                    let architecture = self.core.architecture;
                    let control = self.cpu.control;
                    let mut cpu = VcpuView::new(registers, &mut self.memory, architecture, control);
                    self.reporter.set_label(text.read(&mut cpu));
                }
                self.begin_tracking();
            }
            // They are for the other purpose.
            Some(
                Hint::CountBegin(_)
                | Hint::CountEnd
                | Hint::CountPreemption(_)
                | Hint::CountYields(_),
            )
            | None => {}
        }
    }

    fn exit(&mut self) -> Result<(), &'static str> {
        let (lines, bytes) = self.model.cost();
        self.reporter.finish(Cost {
            lines,
            bytes,
            forgotten: self.model.forgotten(),
            cache: self.core.data_cache,
            checked: self.check,
        });
        self.something_was_checked()
    }
}

impl Checker {
    /// Errors: that nothing was found says nothing.
    fn something_was_checked(&self) -> Result<(), &'static str> {
        if !self.tracking {
            return Err(
                "nothing was checked: the guest set no label, and track=label waits for one.",
            );
        }
        if self.reporter.accesses == 0 {
            return Err("nothing was checked: the guest made no load and no store.");
        }
        if self.kernel.as_ref().is_some_and(|kernel| !kernel.seen()) {
            return Err("the DMA API was not seen: no function of Linux was called where symbols= has them.");
        }
        Ok(())
    }

    fn register(&mut self, number: usize) -> u32 {
        self.registers
            .as_mut()
            .map_or(0, |registers| registers.read(number))
    }
}

/// What the model is told.
impl Checker {
    fn mapping(&mut self, what: Mapping) {
        let observer = &mut Observer::new(
            &mut self.reporter,
            &mut self.memory,
            self.core.architecture,
            &self.cpu,
        );
        self.model.mapping(what, observer);
    }

    fn device(&mut self, what: Device, site: Option<Site>) {
        self.model.device(what, site, &mut self.reporter);
    }

    fn maintain(&mut self, what: Maintenance) {
        self.reporter.maintained(what);
        self.model.maintain(what);
    }

    fn device_store(&mut self, pa: u32, value: u32, site: Site) {
        if self.emulation.device_stores_drain {
            self.maintain(Maintenance::Drain);
        }
        let mut events = Vec::new();
        let memory = &mut self.memory;
        self.devices
            .store(pa, value, |pa| memory.word(pa), &mut |event| {
                events.push(event)
            });
        self.device_events(events, Some(site));
    }

    fn device_events(&mut self, events: Vec<DeviceEvent>, site: Option<Site>) {
        for event in events {
            match event {
                DeviceEvent::Device(what) => self.device(what, site),
                DeviceEvent::Maintenance(what) => self.maintain(what),
            }
        }
    }
}
