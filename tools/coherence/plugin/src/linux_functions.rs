// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux, watched through its functions: who owns memory that a device
//! accesses, which module is where, which task runs.
//!
//! The functions are those of kernel/dma/direct.c and of the architecture, one
//! layer below what drivers call. There every segment of a scatterlist comes by
//! with its address and length, so that the layout of `struct scatterlist` need
//! not be known. A scatterlist's segments are remembered from its mapping until
//! its unmapping. Bus addresses are physical addresses, as on all boards here.
//!
//! Kernels before 7.3 have some of them inside others. There a page's address is known when it is
//! synced for the device, or is what the mapping of it returns.
//!
//! phys_addr_t has 32 bits (no LPAE). dma_addr_t may have 64, of which the upper half is 0.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use coherence_model::events::{self, Device, Direction};

use crate::module_layout::{self, ModuleFile, ModuleLayout};
use crate::symbols::{self, Symbols};

/// Offsets in structs, which depend on the kernel's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Of `struct module`.
    pub module: ModuleLayout,
    /// `offsetof(struct task_struct, comm)`
    pub task_comm: u32,
    /// `sizeof(struct page)`
    pub page_bytes: u32,
    /// `8 * offsetof(struct device, flags) + DEV_FLAG_DMA_COHERENT`
    pub device_coherent: u32,
}

/// Bytes of `struct task_struct`, at most.
const TASK_BYTES: u32 = 8192;
/// What the first task is called, or how its name begins.
const FIRST_TASK: &str = "swapper";

/// `MODULE_NAME_LEN` and `TASK_COMM_LEN`
const MODULE_NAME_BYTES: u32 = 64 - 4;
const TASK_COMM_BYTES: u32 = 16;

/// `DMA_MAPPING_ERROR`
const MAPPING_ERROR: u32 = u32::MAX;
/// `DMA_ATTR_NO_KERNEL_MAPPING`: what is returned is no address.
const ATTR_NO_KERNEL_MAPPING: u32 = 1 << 4;
/// `DMA_ATTR_SKIP_CPU_SYNC`
const ATTR_SKIP_CPU_SYNC: u32 = 1 << 5;
/// `DMA_ATTR_MMIO`
const ATTR_MMIO: u32 = 1 << 10;
/// `DMA_ATTR_DEBUGGING_IGNORE_CACHELINES`
const ATTR_IGNORE_CACHELINES: u32 = 1 << 11;

/// A mapping's caller is on the same stack as what it calls, not farther away.
const NEAR: u32 = 4096;

/// What is hooked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Map,
    MapPage,
    MapList,
    Unmap,
    UnmapList,
    SyncForDevice,
    SyncForCpu,
    SyncList,
    Allocate,
    Free,
    AllocatePages,
    FreePages,
    NewPages,
    FreedPages,
    FreedObject,
    ReleaseDevice,
    SwitchTo,
    InitModule,
    StartCpu,
}

impl Function {
    /// Whether its first argument is the device whose mappings begin or end.
    fn is_of_a_device(self) -> bool {
        matches!(
            self,
            Self::Map
                | Self::MapPage
                | Self::MapList
                | Self::Unmap
                | Self::UnmapList
                | Self::AllocatePages
                | Self::FreePages
                | Self::ReleaseDevice
        )
    }

    /// Whether the device that is its first argument gets memory.
    fn begins_use(self) -> bool {
        matches!(
            self,
            Self::Map | Self::MapPage | Self::Allocate | Self::AllocatePages
        )
    }
}

/// Functions that not each kernel has: one for one CPU has not the first, and
/// compilers may put the others into their callers.
const OPTIONAL: [&str; 5] = [
    "secondary_start_kernel",
    "prep_new_page",
    "post_alloc_hook",
    "__free_frozen_pages",
    "__free_pages_ok",
];

/// What does the same as one of 7.3 in kernels that do not have that yet, from 6.1 on.
const BEFORE: [(&str, &str); 7] = [
    ("dma_map_phys", "dma_map_page_attrs"),
    ("dma_unmap_phys", "dma_unmap_page_attrs"),
    ("__dma_sync_single_for_cpu", "dma_sync_single_for_cpu"),
    ("__dma_sync_single_for_device", "dma_sync_single_for_device"),
    ("__dma_sync_sg_for_cpu", "dma_sync_sg_for_cpu"),
    ("__dma_sync_sg_for_device", "dma_sync_sg_for_device"),
    ("__free_frozen_pages", "free_unref_page"),
];

/// What maps one part of memory, the first that a kernel has. Each is inside of the next where that
/// is hooked.
const MAPS: [(&str, Function); 3] = [
    ("dma_direct_map_phys", Function::Map),
    ("dma_map_phys", Function::Map),
    ("dma_map_page_attrs", Function::MapPage),
];

const FUNCTIONS: [(&str, Function); 20] = [
    ("dma_direct_map_sg", Function::MapList),
    ("dma_unmap_phys", Function::Unmap),
    ("dma_direct_unmap_sg", Function::UnmapList),
    ("arch_sync_dma_for_device", Function::SyncForDevice),
    ("arch_sync_dma_for_cpu", Function::SyncForCpu),
    ("__dma_sync_sg_for_cpu", Function::SyncList),
    ("__dma_sync_sg_for_device", Function::SyncList),
    ("dma_alloc_attrs", Function::Allocate),
    ("dma_free_attrs", Function::Free),
    ("dma_direct_alloc_pages", Function::AllocatePages),
    ("dma_direct_free_pages", Function::FreePages),
    ("prep_new_page", Function::NewPages),
    ("post_alloc_hook", Function::NewPages),
    ("__free_frozen_pages", Function::FreedPages),
    ("__free_pages_ok", Function::FreedPages),
    ("kfree", Function::FreedObject),
    ("devres_release_all", Function::ReleaseDevice),
    ("__switch_to", Function::SwitchTo),
    ("do_init_module", Function::InitModule),
    ("secondary_start_kernel", Function::StartCpu),
];

/// What drivers call, some of it through macros of other names: their own place
/// is where these return to.
const INTERFACE: [&str; 17] = [
    "dma_map_phys",
    "dma_map_page_attrs",
    "dma_map_sg_attrs",
    "dma_map_sgtable",
    "dma_unmap_phys",
    "dma_unmap_page_attrs",
    "dma_unmap_sg_attrs",
    "__dma_sync_single_for_cpu",
    "__dma_sync_single_for_device",
    "__dma_sync_sg_for_cpu",
    "__dma_sync_sg_for_device",
    "dma_alloc_attrs",
    "dma_free_attrs",
    "dma_alloc_pages",
    "dma_free_pages",
    "dma_alloc_noncontiguous",
    "dma_free_noncontiguous",
];

/// What calls that for drivers, in kernels that have it.
const LAYERS: [&str; 8] = [
    "blk_rq_dma_map_iter_start",
    "blk_rq_dma_map_iter_next",
    "blk_rq_integrity_dma_map_iter_start",
    "blk_rq_integrity_dma_map_iter_next",
    "blk_dma_map_iter_start",
    "blk_dma_map_direct",
    "scsi_dma_map",
    "scsi_dma_unmap",
];

/// The kernel's own table of translations. Without LPAE it is aligned to its size.
const TABLE: &str = "swapper_pg_dir";
const TABLE_BYTES: u32 = 16 << 10;

/// A function of kernels that can run under Xen. Without LPAE they are those with a dma_addr_t of 64
/// bits (arch/arm/Kconfig).
const WIDE: &str = "xen_early_init";

/// `THREAD_SIZE`, to which stacks are aligned.
const STACK_BYTES: u32 = 8192;

/// A scatterlist that is mapped.
#[derive(Debug, Default)]
struct List {
    /// With so many entries.
    entries: u32,
    segments: Vec<Segment>,
    /// Those of its segments that are on the stack of who maps it.
    on_stack: Vec<events::PhysicalRange>,
}

/// A part of a mapping.
type Segment = (events::PhysicalRange, Direction);

/// What a call has to say when it returns.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    MapPage {
        len: u32,
        direction: Direction,
        attributes: u32,
        /// Where it is, if it was synced.
        range: Option<events::PhysicalRange>,
    },
    Map {
        segment: Segment,
        /// The scatterlist that it is of.
        list: Option<u32>,
        /// It was to be synced, and was not yet.
        unsynced: bool,
        on_stack: bool,
    },
    /// A scatterlist.
    MapList(u32),
    Unmap(Vec<Segment>),
    SyncForDevice(Segment),
    /// So many bytes; where the address is stored; for which device; whether the result
    /// is an address of the CPU's.
    Allocate(u32, u32, u32, bool),
    AllocatePages(u32, u32, Direction),
    /// All that is managed for this device.
    ReleaseDevice(u32),
}

/// A call that has not returned. Tasks are told apart by their stacks.
#[derive(Debug)]
struct Pending {
    returns_to: u32,
    sp: u32,
    device: u32,
    call: Call,
}

/// What a hook may look at.
pub trait Cpu {
    /// One of r0 to r3.
    fn register(&mut self, number: usize) -> u32;
    /// The stack pointer.
    fn sp(&mut self) -> u32;
    /// Link register: at a function's entry, where it returns to.
    fn lr(&mut self) -> u32;
    /// A word of virtual memory, if it is mapped.
    fn word(&mut self, va: u32) -> Option<u32>;
    /// Where virtual memory is, if it is mapped.
    fn physical(&mut self, va: u32) -> Option<u32>;

    /// A call's fifth argument, or one behind it, if all are words.
    fn stacked(&mut self, number: u32) -> u32 {
        let sp = self.sp();
        self.word(sp + 4 * number).unwrap_or(0)
    }

    /// A call's argument, from 0, if all are words.
    fn argument(&mut self, number: u32) -> u32 {
        match number {
            0..=3 => self.register(number as usize),
            _ => self.stacked(number - 4),
        }
    }

    /// A string of at most so many bytes.
    fn string(&mut self, va: u32, most: u32) -> String {
        let mut bytes = Vec::new();
        for at in va..va + most {
            let byte = self
                .word(at & !3)
                .map(|word| word.to_le_bytes()[at as usize % 4]);
            match byte {
                None | Some(0) => break,
                Some(byte) => bytes.push(byte),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// What a hook found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinuxEvent {
    /// Something about memory that devices access.
    Device(Device),
    /// The same, done by this instruction.
    DeviceBy(u32, Device),
    /// Coherent memory was allocated for a device: non-cached at this virtual address,
    /// or cached if the device looks into the caches.
    Allocated {
        /// Where the CPU has it.
        va: u32,
        /// Where it is.
        memory: events::PhysicalRange,
        /// For which device.
        device: u32,
    },
    /// An object of the kernel's was freed, at this virtual address, by this instruction.
    FreedObject {
        /// Where it is.
        va: u32,
        /// Who frees it.
        by: u32,
    },
    /// Pages have a new owner, whoever had them before.
    NewOwner(events::PhysicalRange),
    /// This CPU runs another task, whose task_struct is here.
    Task(u32),
    /// A part of a module was loaded.
    Module(Module),
    /// A module was loaded, and where its parts are is not known yet: [`Kernel::learn`] finds it,
    /// if there is a file of the module.
    UnknownModule {
        /// Its `struct module`.
        module: u32,
        /// The module's name.
        name: String,
    },
    /// [`Kernel::returns`] has become true of this address.
    Returns(u32),
    /// A second CPU begins to run the kernel.
    AnotherCpu,
}

/// Where a part of a module's code is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The module's name.
    pub name: String,
    /// Where the part begins.
    pub base: u32,
    /// Bytes of the part.
    pub size: u32,
    /// Where the part begins in [`Symbols`].
    pub link: u32,
}

/// `PAGE_SIZE`
const PAGE_BYTES: u32 = 4096;

/// The kernel's list of all pages of memory, where it is one list (FLATMEM).
#[derive(Debug, Clone, Copy)]
struct Pages {
    /// `mem_map`: where the list's address is.
    list: u32,
    /// `__pv_phys_pfn_offset`: where the number of the first page is.
    first: u32,
    /// Bytes of an entry.
    entry: u32,
}

impl Pages {
    fn find(symbols: &Symbols, layout: Option<Layout>) -> Option<Self> {
        Some(Self {
            list: symbols.address("mem_map")?,
            first: symbols.address("__pv_phys_pfn_offset")?,
            entry: layout?.page_bytes,
        })
    }

    /// The memory of 2^order pages, by the first one's entry.
    fn range(self, page: u32, order: u32, cpu: &mut impl Cpu) -> Option<events::PhysicalRange> {
        let number = page.checked_sub(cpu.word(self.list)?)? / self.entry;
        let number = cpu.word(self.first)?.checked_add(number)?;
        Some(events::PhysicalRange {
            pa: number.checked_mul(PAGE_BYTES)?,
            len: PAGE_BYTES.checked_shl(order)?,
        })
    }
}

/// The kernel's own table of its functions, for kallsyms.
#[derive(Debug, Clone, Copy)]
struct FunctionTable {
    /// `kallsyms_offsets`: addresses of functions, sorted.
    addresses: u32,
    /// `kallsyms_num_syms`: where their number is.
    count: u32,
    /// `kallsyms_relative_base`, in older kernels: where that is which the addresses are from.
    base: Option<u32>,
}

impl FunctionTable {
    /// Where the symbols say that the table is, if the kernel has one.
    fn find(symbols: &Symbols) -> Option<Self> {
        Some(Self {
            addresses: symbols.address("kallsyms_offsets")?,
            count: symbols.address("kallsyms_num_syms")?,
            base: symbols.address("kallsyms_relative_base"),
        })
    }

    /// Whether a function begins at this address.
    fn has(self, address: u32, cpu: &mut impl Cpu) -> bool {
        let (mut first, mut end) = (0, cpu.word(self.count).unwrap_or(0));
        let base = self.base.map_or(Some(0), |base| cpu.word(base));
        let Some(address) = base.and_then(|base| address.checked_sub(base)) else {
            return false;
        };
        while first < end {
            let middle = first + (end - first) / 2;
            let at = self.addresses.wrapping_add(middle.wrapping_mul(4));
            match cpu.word(at) {
                Some(found) if found == address => return true,
                Some(found) if found < address => first = middle + 1,
                Some(_) => end = middle,
                None => return false,
            }
        }
        false
    }
}

/// The functions, and the calls of them.
pub struct Kernel {
    functions: HashMap<u32, Function>,
    table: Option<FunctionTable>,
    pages: Option<Pages>,
    /// Whether any of the functions began yet.
    seen: bool,
    /// The segments of a list are known when they are synced.
    lists_by_sync: bool,
    /// A dma_addr_t has 64 bits.
    wide: bool,
    map_list: Range<u32>,
    interface: Vec<Range<u32>>,
    /// By stack: the call of the interface that was made last.
    callers: HashMap<u32, u32>,
    /// What syncs a mapping.
    syncs: HashSet<u32>,
    /// By stack: the `struct device` whose mapping was made, synced or unmapped last.
    devices: HashMap<u32, u32>,
    /// Those that look into the caches: what is mapped for them is not synced.
    snooping: HashSet<u32>,
    /// That of the events that were pushed last.
    device: u32,
    /// Told, or learned.
    module_layout: Option<ModuleLayout>,
    task_comm: Option<u32>,
    /// Told, or not known.
    device_coherent: Option<u32>,
    pending: Vec<Pending>,
    /// Where any of the calls returned to.
    returns: HashSet<u32>,
    /// By the first entry.
    lists: HashMap<u32, List>,
}

impl Kernel {
    /// Finds the functions to hook. Errors: some are not there, so that something
    /// would not be seen, or the kernel is of another kind.
    pub fn new(symbols: &Symbols, layout: Option<Layout>) -> Result<Self, String> {
        let table = symbols.address(TABLE);
        if table.is_some_and(|table| table % TABLE_BYTES != 0) {
            return Err("the kernel has LPAE, and so DMA addresses of 64 bits, which the checker does not follow.".into());
        }
        let needed = FUNCTIONS.iter().map(|(name, _)| name).chain(&INTERFACE);
        let missing: BTreeSet<&str> = needed
            .copied()
            .filter(|name| !OPTIONAL.contains(name) && find(symbols, name).is_none())
            .collect();
        if !missing.is_empty() {
            let names: Vec<_> = missing.into_iter().collect();
            return Err(format!(
                "the kernel's symbols have no {}: this is none of the Linux 6.1 to 7.3 that the checker knows, or not a whole System.map.",
                names.join(", ")
            ));
        }
        let mut functions = HashMap::new();
        let mut map_list = 0..0;
        for (name, function) in FUNCTIONS {
            let Some((name, address)) = find(symbols, name) else {
                continue;
            };
            functions.insert(address, function);
            if function == Function::MapList {
                map_list = extent(symbols, name, address);
            }
        }
        let maps = MAPS
            .iter()
            .find_map(|(name, function)| Some((symbols.address(name)?, *function)));
        functions.extend(maps);
        let interface = INTERFACE
            .iter()
            .chain(&LAYERS)
            .filter_map(|name| find(symbols, name))
            .map(|(name, address)| extent(symbols, name, address))
            .collect();
        let syncs = INTERFACE
            .iter()
            .filter(|name| name.starts_with("__dma_sync_"))
            .filter_map(|name| find(symbols, name))
            .map(|(_, address)| address)
            .collect();
        let (callers, devices, pending, returns, lists) = Default::default();
        Ok(Self {
            functions,
            table: FunctionTable::find(symbols),
            pages: Pages::find(symbols, layout),
            seen: false,
            lists_by_sync: symbols.address(MAPS[0].0).is_none(),
            wide: symbols.address(WIDE).is_some(),
            map_list,
            interface,
            callers,
            syncs,
            devices,
            snooping: HashSet::new(),
            device: 0,
            module_layout: layout.map(|it| it.module),
            task_comm: layout.map(|it| it.task_comm),
            device_coherent: layout.map(|it| it.device_coherent),
            pending,
            returns,
            lists,
        })
    }

    /// Makes sure that the kernel that runs has its functions where the symbols
    /// say. Call it when a program runs. Errors: another kernel runs.
    pub fn confirm(&self, cpu: &mut impl Cpu) -> Result<(), &'static str> {
        let right = self.table.is_none_or(|table| {
            let mut addresses = self.functions.keys();
            addresses.all(|address| table.has(*address, cpu))
        });
        if self.seen && right {
            Ok(())
        } else {
            Err("the kernel that runs has its functions elsewhere: symbols= is the System.map of another one.")
        }
    }

    /// Whether a hooked function was ever called.
    pub fn seen(&self) -> bool {
        self.seen
    }

    /// Whether a hooked function begins here.
    pub fn hooks(&self, pc: u32) -> bool {
        self.functions.contains_key(&pc) || self.is_interface(pc)
    }

    fn is_interface(&self, pc: u32) -> bool {
        self.interface.iter().any(|it| it.start == pc)
    }

    /// Who called the interface last on the stack that is in use: on whose
    /// behalf the functions behind it run.
    pub fn caller(&self, cpu: &mut impl Cpu) -> Option<u32> {
        self.callers.get(&(cpu.sp() / STACK_BYTES)).copied()
    }

    /// Whether a hooked function may return here.
    pub fn returns(&self, pc: u32) -> bool {
        self.returns.contains(&pc)
    }

    /// A hooked function begins.
    pub fn entered(&mut self, pc: u32, cpu: &mut impl Cpu, events: &mut Vec<LinuxEvent>) {
        self.seen = true;
        if self.is_interface(pc) {
            let caller = call_before(cpu.lr());
            // It calls itself too.
            if !self.interface.iter().any(|it| it.contains(&caller)) {
                self.callers.insert(cpu.sp() / STACK_BYTES, caller);
            }
        }
        let function = self.functions.get(&pc).copied();
        if self.syncs.contains(&pc) || function.is_some_and(Function::is_of_a_device) {
            self.devices.insert(cpu.sp() / STACK_BYTES, cpu.register(0));
        }
        let Some(function) = function else {
            return;
        };
        if function.begins_use() {
            self.ask_whether_it_snoops(cpu, events);
        }
        let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|n| cpu.register(n));
        let segment =
            |pa, len, direction| (events::PhysicalRange { pa, len }, direction_of(direction));
        match function {
            // (dev, phys, size, dir, attrs, flush)
            Function::Map if cpu.stacked(0) & ATTR_MMIO == 0 => {
                let segment = segment(r1, r2, r3);
                let list = self.list_of_caller(cpu);
                self.name_device(r0, events);
                let (range, direction) = segment;
                let attributes = cpu.stacked(0);
                events.push(LinuxEvent::Device(match list {
                    Some(_) if attributes & (ATTR_SKIP_CPU_SYNC | ATTR_IGNORE_CACHELINES) == 0 => {
                        Device::MapEntry(range, direction)
                    }
                    _ => mapped(range, direction, attributes),
                }));
                let call = Call::Map {
                    segment,
                    list,
                    unsynced: attributes & ATTR_SKIP_CPU_SYNC == 0,
                    on_stack: is_on_stack(range.pa, cpu),
                };
                self.wait(cpu, call, events);
            }
            // (dev, page, offset, size, dir, attrs)
            Function::MapPage => {
                self.name_device(r0, events);
                let call = Call::MapPage {
                    len: r3,
                    direction: direction_of(cpu.stacked(0)),
                    attributes: cpu.stacked(1),
                    range: None,
                };
                self.wait(cpu, call, events);
            }
            // (dev, sgl, nents, dir, attrs)
            Function::MapList => {
                let list = List {
                    entries: r2,
                    ..List::default()
                };
                self.lists.insert(r1, list);
                self.wait(cpu, Call::MapList(r1), events);
            }
            // (dev, addr, size, dir, attrs)
            Function::Unmap => {
                let [len, direction, attributes] = self.behind(1, cpu);
                if attributes & ATTR_MMIO == 0 {
                    let segment = segment(self.address(1, cpu), len, direction);
                    self.wait(cpu, Call::Unmap(vec![segment]), events);
                }
            }
            // (dev, sgl, nents, dir, attrs)
            Function::UnmapList => {
                // A mapping that fails ends as far as it got.
                let fails = |pending: &Pending| pending.call == Call::MapList(r1);
                if !self.pending.iter().any(fails) {
                    self.count_entries(r1, r2, events);
                }
                let mut segments = self.lists.remove(&r1).unwrap_or_default().segments;
                for (_, direction) in &mut segments {
                    *direction = direction_of(r3);
                }
                self.wait(cpu, Call::Unmap(segments), events);
            }
            // (paddr, size, dir)
            Function::SyncForDevice => {
                let sp = cpu.sp();
                for pending in &mut self.pending {
                    if let Call::Map { unsynced, .. } = &mut pending.call {
                        *unsynced &= pending.sp.wrapping_sub(sp) >= NEAR;
                    }
                }
                let segment = segment(r0, r1, r2);
                self.mapped_by_sync(segment, cpu, events);
                self.wait(cpu, Call::SyncForDevice(segment), events)
            }
            Function::SyncForCpu => {
                let (range, direction) = segment(r0, r1, r2);
                let sp = cpu.sp();
                self.name_device(self.device_on(sp), events);
                let unmaps = |pending: &Pending| {
                    matches!(pending.call, Call::Unmap(_)) && pending.sp.wrapping_sub(sp) < NEAR
                };
                let returns = if self.pending.iter().any(unmaps) {
                    Device::UnmapBegins(range, direction)
                } else {
                    Device::Returns(range, direction)
                };
                events.push(LinuxEvent::Device(returns));
            }
            // (dev, sg, nelems, dir)
            Function::SyncList => self.count_entries(r1, r2, events),
            // (dev, size, dma_handle, gfp, attrs)
            Function::Allocate => {
                let mapped = cpu.stacked(0) & ATTR_NO_KERNEL_MAPPING == 0;
                self.wait(cpu, Call::Allocate(r1, r2, r0, mapped), events);
            }
            // (dev, size, cpu_addr, dma_handle, attrs)
            Function::Free if r2 != 0 => {
                let pa = self.address(3, cpu);
                let range = events::PhysicalRange { pa, len: r1 };
                events.push(LinuxEvent::Device(Device::CoherentFreed(range)));
            }
            // (dev, size, dma_handle, dir, gfp)
            Function::AllocatePages => {
                self.wait(cpu, Call::AllocatePages(r1, r2, direction_of(r3)), events);
            }
            // (dev, size, page, dma_addr, dir)
            Function::FreePages => {
                let [direction] = self.behind(3, cpu);
                let (range, direction) = segment(self.address(3, cpu), r1, direction);
                self.name_device(r0, events);
                events.push(LinuxEvent::Device(Device::Unmap(range, direction)));
            }
            // (page, order, gfp_flags, alloc_flags)
            Function::NewPages => {
                let range = self.pages.and_then(|pages| pages.range(r0, r1, cpu));
                events.extend(range.map(LinuxEvent::NewOwner));
            }
            // (page, order, flags)
            Function::FreedPages => {
                let range = self.pages.and_then(|pages| pages.range(r0, r1, cpu));
                let freed =
                    |range| LinuxEvent::DeviceBy(call_before(cpu.lr()), Device::Freed(range));
                events.extend(range.map(freed));
            }
            // (object)
            Function::FreedObject => events.push(LinuxEvent::FreedObject {
                va: r0,
                by: call_before(cpu.lr()),
            }),
            // (dev)
            Function::ReleaseDevice => self.wait(cpu, Call::ReleaseDevice(r0), events),
            // (prev, prev's thread_info, next's thread_info), which begins its task_struct
            Function::SwitchTo => {
                if self.task_comm.is_none() {
                    self.task_comm = find_comm(r0, cpu);
                }
                events.push(LinuxEvent::Task(r2));
            }
            // (mod)
            Function::InitModule => match self.module_layout {
                Some(layout) => events.extend(parts(r0, layout, cpu).map(LinuxEvent::Module)),
                None => events.push(LinuxEvent::UnknownModule {
                    module: r0,
                    name: cpu.string(r0 + module_layout::NAME, MODULE_NAME_BYTES),
                }),
            },
            Function::StartCpu => events.push(LinuxEvent::AnotherCpu),
            Function::Map | Function::Free => {}
        }
    }

    /// Which argument is a dma_addr_t that has so many words before it: one of 64 bits begins at an
    /// even one.
    fn argument(&self, before: u32) -> u32 {
        if self.wide {
            before.next_multiple_of(2)
        } else {
            before
        }
    }

    /// A dma_addr_t that has so many words before it.
    fn address(&self, before: u32, cpu: &mut impl Cpu) -> u32 {
        cpu.argument(self.argument(before))
    }

    /// The words behind it.
    fn behind<const N: usize>(&self, before: u32, cpu: &mut impl Cpu) -> [u32; N] {
        let first = self.argument(before) + 1 + u32::from(self.wide);
        std::array::from_fn(|number| cpu.argument(first + number as u32))
    }

    /// What is synced for the device while it is being mapped is mapped, where nothing said so before.
    fn mapped_by_sync(
        &mut self,
        (range, direction): Segment,
        cpu: &mut impl Cpu,
        events: &mut Vec<LinuxEvent>,
    ) {
        let sp = cpu.sp();
        let maps = |p: &&mut Pending| {
            let maps = matches!(
                p.call,
                Call::Map { .. } | Call::MapPage { .. } | Call::MapList(_)
            );
            maps && p.sp.wrapping_sub(sp) < NEAR
        };
        let Some(pending) = self.pending.iter_mut().filter(maps).min_by_key(|p| p.sp) else {
            return;
        };
        let device = pending.device;
        let map = match &mut pending.call {
            Call::MapPage {
                range: place @ None,
                attributes,
                ..
            } => {
                *place = Some(range);
                mapped(range, direction, *attributes)
            }
            Call::MapList(list) if self.lists_by_sync => {
                let list = self.lists.entry(*list).or_default();
                list.segments.push((range, direction));
                list.on_stack
                    .extend(is_on_stack(range.pa, cpu).then_some(range));
                Device::MapEntry(range, direction)
            }
            _ => return,
        };
        self.name_device(device, events);
        events.push(LinuxEvent::Device(map));
    }

    /// Finds in a module, which its file describes, where the kernel says where modules are. Returns
    /// where the parts of this one are.
    pub fn learn(&mut self, module: u32, file: &ModuleFile, cpu: &mut impl Cpu) -> Vec<Module> {
        self.module_layout = file.find(|offset| cpu.word(module + offset));
        let found = self.module_layout.map(|layout| parts(module, layout, cpu));
        found.into_iter().flatten().collect()
    }

    /// Code runs that calls have returned to; one may return now.
    pub fn left(&mut self, pc: u32, cpu: &mut impl Cpu, events: &mut Vec<LinuxEvent>) {
        let (sp, result) = (cpu.sp(), cpu.register(0));
        // The last thing that a function calls may return in its place.
        let (returned, pending): (Vec<_>, _) = self
            .pending
            .drain(..)
            .partition(|p| p.returns_to == pc && p.sp == sp);
        self.pending = pending;
        for Pending { device, call, .. } in returned.into_iter().rev() {
            self.name_device(device, events);
            self.returned(call, (pc, result), cpu, events);
        }
    }

    fn returned(
        &mut self,
        call: Call,
        (pc, result): (u32, u32),
        cpu: &mut impl Cpu,
        events: &mut Vec<LinuxEvent>,
    ) {
        let mut device = |what| events.push(LinuxEvent::Device(what));
        match call {
            Call::Map { segment, .. } if result == MAPPING_ERROR => {
                device(Device::Unmap(segment.0, segment.1));
            }
            Call::Map {
                segment,
                list,
                unsynced,
                on_stack,
            } => {
                // A device that needs none, as far as can be told without its flag.
                if self.device_coherent.is_none() && unsynced && self.snooping.insert(self.device) {
                    device(Device::Snoops(self.device));
                }
                let (range, _) = segment;
                if let Some(list) = list {
                    let list = self.lists.entry(list).or_default();
                    list.segments.push(segment);
                    list.on_stack.extend(on_stack.then_some(range));
                } else if on_stack {
                    device(Device::OnStack(range));
                }
            }
            Call::MapPage {
                range: Some(range),
                direction,
                ..
            } if result == MAPPING_ERROR => device(Device::Unmap(range, direction)),
            Call::MapPage { .. } if result == MAPPING_ERROR => {}
            Call::MapPage {
                len,
                direction,
                attributes,
                range: place,
            } => {
                let range = place.unwrap_or(events::PhysicalRange { pa: result, len });
                if place.is_none() {
                    device(mapped(range, direction, attributes));
                    if attributes & ATTR_SKIP_CPU_SYNC == 0
                        && self.device_coherent.is_none()
                        && self.snooping.insert(self.device)
                    {
                        device(Device::Snoops(self.device));
                    }
                }
                if is_on_stack(range.pa, cpu) {
                    device(Device::OnStack(range));
                }
            }
            Call::MapList(list) => {
                let list = self.lists.get(&list);
                for range in list.iter().flat_map(|list| &list.on_stack) {
                    device(Device::OnStack(*range));
                }
            }
            Call::Unmap(segments) => {
                for (range, direction) in segments {
                    device(Device::Unmap(range, direction));
                }
            }
            Call::SyncForDevice((range, direction)) => device(Device::Owns(range, direction)),
            Call::Allocate(len, handle, device, mapped) => {
                if let (1.., Some(pa)) = (result, cpu.word(handle)) {
                    let memory = events::PhysicalRange { pa, len };
                    let va = result;
                    events.push(match (mapped, self.snooping.contains(&device)) {
                        (true, _) => LinuxEvent::Allocated { va, memory, device },
                        (false, true) => LinuxEvent::Device(Device::CoherentCached(memory)),
                        (false, false) => LinuxEvent::Device(Device::Coherent(memory)),
                    });
                }
            }
            Call::AllocatePages(len, handle, direction) => {
                if let (1.., Some(pa)) = (result, cpu.word(handle)) {
                    device(Device::MapUnsynced(
                        events::PhysicalRange { pa, len },
                        direction,
                    ));
                }
            }
            Call::ReleaseDevice(of) => {
                self.snooping.remove(&of);
                let by = call_before(pc);
                events.push(LinuxEvent::DeviceBy(by, Device::DriverGone(of)));
            }
        }
    }

    /// The name of a task.
    pub fn task_name(&self, task: u32, cpu: &mut impl Cpu) -> Option<String> {
        Some(cpu.string(task + self.task_comm?, TASK_COMM_BYTES))
    }

    fn wait(&mut self, cpu: &mut impl Cpu, call: Call, events: &mut Vec<LinuxEvent>) {
        let (returns_to, sp) = (cpu.lr() & !1, cpu.sp());
        self.pending.push(Pending {
            returns_to,
            sp,
            device: self.device_on(sp),
            call,
        });
        if self.returns.insert(returns_to) {
            events.push(LinuxEvent::Returns(returns_to));
        }
    }

    /// The device on whose behalf a stack is in use; 0 before the first.
    fn device_on(&self, sp: u32) -> u32 {
        let device = self.devices.get(&(sp / STACK_BYTES));
        device.copied().unwrap_or_default()
    }

    /// Compares a call about a list with the mapping of it.
    fn count_entries(&self, list: u32, entries: u32, events: &mut Vec<LinuxEvent>) {
        let Some(list) = self.lists.get(&list) else {
            return;
        };
        if let (true, Some((range, _))) = (list.entries != entries, list.segments.first()) {
            events.push(LinuxEvent::Device(Device::WrongCount(*range)));
        }
    }

    /// Says of a device that gets memory whether it looks into the caches, if it does
    /// (`dev_is_dma_coherent()`).
    fn ask_whether_it_snoops(&mut self, cpu: &mut impl Cpu, events: &mut Vec<LinuxEvent>) {
        let Some(bit) = self.device_coherent else {
            return;
        };
        let device = cpu.register(0);
        let flags = cpu.word(device.wrapping_add(bit / 32 * 4)).unwrap_or(0);
        if (flags >> (bit % 32)) & 1 == 1 && self.snooping.insert(device) {
            events.push(LinuxEvent::Device(Device::Snoops(device)));
        }
    }

    /// Says whose the events are that follow, if they are another device's.
    fn name_device(&mut self, device: u32, events: &mut Vec<LinuxEvent>) {
        if device != self.device {
            self.device = device;
            events.push(LinuxEvent::Device(Device::Of(device)));
        }
    }

    /// The scatterlist that the caller maps, if it maps one.
    fn list_of_caller(&self, cpu: &mut impl Cpu) -> Option<u32> {
        if !self.map_list.contains(&cpu.lr()) {
            return None;
        }
        let sp = cpu.sp();
        let callers = self.pending.iter().filter_map(|p| match p.call {
            Call::MapList(list) if p.sp.wrapping_sub(sp) < NEAR => Some((p.sp, list)),
            _ => None,
        });
        callers.min().map(|(_, list)| list)
    }
}

/// Whether physical memory is of the stack that is in use.
fn is_on_stack(pa: u32, cpu: &mut impl Cpu) -> bool {
    let stack = cpu.sp() / STACK_BYTES * STACK_BYTES;
    let mut pages = (0..STACK_BYTES).step_by(PAGE_BYTES as usize);
    pages.any(|page| cpu.physical(stack + page) == Some(pa / PAGE_BYTES * PAGE_BYTES))
}

/// How memory is mapped that is no entry of a list.
fn mapped(range: events::PhysicalRange, direction: Direction, attributes: u32) -> Device {
    if attributes & ATTR_SKIP_CPU_SYNC != 0 {
        Device::MapUnsynced(range, direction)
    } else if attributes & ATTR_IGNORE_CACHELINES != 0 {
        Device::MapSharingLines(range, direction)
    } else {
        Device::Map(range, direction)
    }
}

/// A function of 7.3, or what was in its place before: its name there, and where it is.
fn find(symbols: &Symbols, name: &'static str) -> Option<(&'static str, u32)> {
    let before = BEFORE.into_iter().find(|(now, _)| *now == name);
    let names = [Some(name), before.map(|(_, before)| before)];
    let mut names = names.into_iter().flatten();
    names.find_map(|name| Some((name, symbols.address(name)?)))
}

/// Where the parts of a module are.
fn parts(module: u32, layout: ModuleLayout, cpu: &mut impl Cpu) -> [Module; 2] {
    let name = cpu.string(module + layout.name, MODULE_NAME_BYTES);
    [
        (layout.base, layout.size, 0),
        (layout.init_base, layout.init_size, symbols::INIT),
    ]
    .map(|(base, size, link)| Module {
        name: name.clone(),
        base: cpu.word(module + base).unwrap_or(0),
        size: cpu.word(module + size).unwrap_or(0),
        link,
    })
}

/// Where a task has its name, if it is the first one.
fn find_comm(task: u32, cpu: &mut impl Cpu) -> Option<u32> {
    let first = FIRST_TASK.as_bytes().first_chunk().copied()?;
    let mut offsets = (0..TASK_BYTES).step_by(4);
    offsets.find(|offset| {
        cpu.word(task + offset) == Some(u32::from_le_bytes(first))
            && cpu
                .string(task + offset, TASK_COMM_BYTES)
                .starts_with(FIRST_TASK)
    })
}

/// The call, of which this is what comes after it.
fn call_before(lr: u32) -> u32 {
    (lr & !1).wrapping_sub(4)
}

/// From where to where a function goes.
fn extent(symbols: &Symbols, name: &str, begin: u32) -> Range<u32> {
    let next = |at: &u32| symbols.function(*at).is_none_or(|(n, _)| n != name);
    begin..(begin..).step_by(4).find(next).unwrap_or(begin)
}

/// `enum dma_data_direction`
fn direction_of(number: u32) -> Direction {
    match number {
        1 => Direction::ToDevice,
        2 => Direction::FromDevice,
        _ => Direction::Bidirectional,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Clone)]
    struct Fake {
        registers: [u32; 4],
        sp: u32,
        lr: u32,
        memory: HashMap<u32, u32>,
    }

    impl Cpu for Fake {
        fn register(&mut self, number: usize) -> u32 {
            self.registers[number]
        }
        fn sp(&mut self) -> u32 {
            self.sp
        }
        fn lr(&mut self) -> u32 {
            self.lr
        }
        fn word(&mut self, va: u32) -> Option<u32> {
            self.memory.get(&va).copied()
        }
        fn physical(&mut self, va: u32) -> Option<u32> {
            (va >= 0xf000_0000).then(|| va - 0x8000_0000)
        }
    }

    const SP: u32 = 0xf080_1f00;
    const LR: u32 = 0xc010_0000;

    /// Where the functions begin, and which are hooked besides.
    fn hooked() -> impl Iterator<Item = (&'static str, Function, u32)> {
        let all = FUNCTIONS.into_iter().chain([MAPS[0]]);
        (0xc000_0000..)
            .step_by(0x100)
            .zip(all)
            .map(|(address, (name, function))| (name, function, address))
    }

    fn address(function: Function) -> u32 {
        let found = hooked().find(|(_, f, _)| *f == function);
        found.unwrap().2
    }

    /// Where the interface begins that is not hooked for itself, 0x100 bytes apart.
    const REST: u32 = 0xc010_0000;

    const LIST: u32 = 0xc110_0000;
    const FIRST: u32 = 0xc110_0004;

    /// The names of a System.map that the checker takes, with their addresses.
    fn names() -> Vec<(&'static str, u32)> {
        let mut names: Vec<_> = hooked().map(|(name, _, address)| (name, address)).collect();
        for (i, name) in INTERFACE.into_iter().enumerate() {
            if !names.iter().any(|(other, _)| *other == name) {
                names.push((name, REST + 0x100 * i as u32));
            }
        }
        names.push(("_etext", 0xc100_0000));
        names.push(("mem_map", LIST));
        names.push(("__pv_phys_pfn_offset", FIRST));
        names
    }

    fn system_map(names: &[(&str, u32)]) -> Symbols {
        let lines = names
            .iter()
            .map(|(name, address)| format!("{address:08x} T {name}\n"));
        Symbols::from_system_map(&lines.collect::<String>()).unwrap()
    }

    fn kernel() -> Kernel {
        let symbols = system_map(&names());
        let layout = Layout {
            module: ModuleLayout {
                name: 12,
                base: 100,
                size: 104,
                init_base: 112,
                init_size: 116,
            },
            task_comm: 8,
            page_bytes: 36,
            device_coherent: 8 * 20 + 6,
        };
        Kernel::new(&symbols, Some(layout)).unwrap()
    }

    /// A call from `lr` with `sp`, which returns `result`.
    fn enter(
        kernel: &mut Kernel,
        function: Function,
        registers: [u32; 4],
        fake: &Fake,
    ) -> Vec<LinuxEvent> {
        let mut events = Vec::new();
        let mut cpu = Fake {
            registers,
            ..fake.clone()
        };
        kernel.entered(address(function), &mut cpu, &mut events);
        events.retain(|event| !matches!(event, LinuxEvent::Returns(_)));
        events
    }

    fn leave(kernel: &mut Kernel, result: u32, fake: &Fake) -> Vec<LinuxEvent> {
        let mut events = Vec::new();
        let mut cpu = Fake {
            registers: [result, 0, 0, 0],
            ..fake.clone()
        };
        assert!(kernel.returns(fake.lr));
        kernel.left(fake.lr, &mut cpu, &mut events);
        events
    }

    /// The sync of what is mapped, within the call of that.
    fn sync(kernel: &mut Kernel, (r, direction): (events::PhysicalRange, u32), map: &Fake) {
        let within = at(map.sp - 16, LR + 256);
        enter(
            kernel,
            Function::SyncForDevice,
            [r.pa, r.len, direction, 0],
            &within,
        );
        leave(kernel, 0, &within);
    }

    fn at(sp: u32, lr: u32) -> Fake {
        Fake {
            sp,
            lr,
            memory: HashMap::from([(sp, 0)]),
            ..Fake::default()
        }
    }

    fn range(pa: u32, len: u32) -> events::PhysicalRange {
        events::PhysicalRange { pa, len }
    }

    use Direction::*;

    #[test]
    fn one_mapping() {
        let (mut kernel, outer, inner) = (kernel(), at(SP, LR), at(SP - 32, LR + 64));
        let r = range(0x6000_1000, 256);
        let map = [0, r.pa, r.len, 1];
        assert_eq!(
            enter(&mut kernel, Function::Map, map, &outer),
            [LinuxEvent::Device(Device::Map(r, ToDevice))]
        );
        assert_eq!(
            enter(
                &mut kernel,
                Function::SyncForDevice,
                [r.pa, r.len, 1, 0],
                &inner
            ),
            []
        );
        assert_eq!(
            leave(&mut kernel, 0, &inner),
            [LinuxEvent::Device(Device::Owns(r, ToDevice))]
        );
        assert_eq!(leave(&mut kernel, r.pa, &outer), []);
        assert!(kernel.pending.is_empty());

        assert_eq!(enter(&mut kernel, Function::Unmap, map, &outer), []);
        assert_eq!(
            enter(
                &mut kernel,
                Function::SyncForCpu,
                [r.pa, r.len, 1, 0],
                &inner
            ),
            [LinuxEvent::Device(Device::UnmapBegins(r, ToDevice))]
        );
        assert_eq!(
            leave(&mut kernel, 0, &outer),
            [LinuxEvent::Device(Device::Unmap(r, ToDevice))]
        );
        // Without the unmap it is a sync.
        assert_eq!(
            enter(
                &mut kernel,
                Function::SyncForCpu,
                [r.pa, r.len, 1, 0],
                &inner
            ),
            [LinuxEvent::Device(Device::Returns(r, ToDevice))]
        );
    }

    /// A kernel without what came with 7.3, and with the names that were before.
    fn older() -> Kernel {
        let of_old = |name| BEFORE.into_iter().find(|(now, _)| *now == name);
        let names: Vec<_> = names()
            .into_iter()
            .filter(|(name, _)| *name != "dma_direct_map_phys" && !name.ends_with("_page_attrs"))
            .map(|(name, address)| (of_old(name).map_or(name, |(_, old)| old), address))
            .collect();
        Kernel::new(&system_map(&names), None).unwrap()
    }

    /// In which the mapping of a page is entered, with attributes.
    fn map_page(kernel: &mut Kernel, len: u32, attributes: u32) -> Fake {
        let mut cpu = at(SP, LR);
        cpu.memory.extend([(SP, 1), (SP + 4, attributes)]);
        cpu.registers = [0, 0xef80_0000, 0, len];
        let (function, _) = kernel
            .functions
            .iter()
            .find(|(_, function)| **function == Function::MapPage)
            .unwrap();
        let mut events = Vec::new();
        kernel.entered(*function, &mut cpu, &mut events);
        events.retain(|event| !matches!(event, LinuxEvent::Returns(_)));
        assert_eq!(events, []);
        cpu
    }

    #[test]
    fn a_page_before_7_3() {
        let (mut kernel, inner) = (older(), at(SP - 32, LR + 64));
        let r = range(0x6000_1000, 256);
        let owned = [LinuxEvent::Device(Device::Owns(r, ToDevice))];
        let call = [r.pa, r.len, 1, 0];
        for (attributes, result, map, end) in [
            (0, r.pa, Device::Map(r, ToDevice), None),
            (
                0,
                MAPPING_ERROR,
                Device::Map(r, ToDevice),
                Some(Device::Unmap(r, ToDevice)),
            ),
            (
                ATTR_IGNORE_CACHELINES,
                r.pa,
                Device::MapSharingLines(r, ToDevice),
                None,
            ),
        ] {
            let outer = map_page(&mut kernel, r.len, attributes);
            let mapped = enter(&mut kernel, Function::SyncForDevice, call, &inner);
            assert_eq!(mapped, [LinuxEvent::Device(map)]);
            assert_eq!(leave(&mut kernel, 0, &inner), owned);
            let end: Vec<_> = end.into_iter().map(LinuxEvent::Device).collect();
            assert_eq!(leave(&mut kernel, result, &outer), end);
        }
        // A sync that is no part of a mapping.
        assert_eq!(
            enter(&mut kernel, Function::SyncForDevice, call, &inner),
            []
        );
        leave(&mut kernel, 0, &inner);
        // What is not synced is known by what is returned.
        let outer = map_page(&mut kernel, r.len, ATTR_SKIP_CPU_SYNC);
        let unsynced = [LinuxEvent::Device(Device::MapUnsynced(r, ToDevice))];
        assert_eq!(leave(&mut kernel, r.pa, &outer), unsynced);
        let outer = map_page(&mut kernel, r.len, 0);
        let snoops = [Device::Map(r, ToDevice), Device::Snoops(0)].map(LinuxEvent::Device);
        assert_eq!(leave(&mut kernel, r.pa, &outer), snoops);
        let outer = map_page(&mut kernel, r.len, 0);
        assert_eq!(leave(&mut kernel, MAPPING_ERROR, &outer), []);
        assert!(kernel.pending.is_empty());
    }

    #[test]
    fn a_list_before_7_3() {
        let (mut kernel, outer, inner) = (older(), at(SP, LR), at(SP - 32, LR + 64));
        let (sgl, parts) = (
            0xc200_0000,
            [range(0x6000_0000, 4096), range(0x6000_8000, 64)],
        );
        enter(&mut kernel, Function::MapList, [0, sgl, 2, 2], &outer);
        for r in parts {
            let mapped = enter(
                &mut kernel,
                Function::SyncForDevice,
                [r.pa, r.len, 2, 0],
                &inner,
            );
            assert_eq!(
                mapped,
                [LinuxEvent::Device(Device::MapEntry(r, FromDevice))]
            );
            leave(&mut kernel, 0, &inner);
        }
        leave(&mut kernel, 2, &outer);
        enter(&mut kernel, Function::UnmapList, [0, sgl, 2, 2], &outer);
        let unmapped = parts.map(|r| LinuxEvent::Device(Device::Unmap(r, FromDevice)));
        assert_eq!(leave(&mut kernel, 0, &outer), unmapped);
    }

    #[test]
    fn who_sees_to_the_caches() {
        let (mut kernel, mut cpu) = (kernel(), at(SP, LR));
        let r = range(0x6000_1000, 256);
        for (attributes, what) in [
            (ATTR_SKIP_CPU_SYNC, Device::MapUnsynced(r, ToDevice)),
            (ATTR_IGNORE_CACHELINES, Device::MapSharingLines(r, ToDevice)),
            (0, Device::Map(r, ToDevice)),
        ] {
            cpu.memory.insert(SP, attributes);
            let map = [0, r.pa, r.len, 1];
            assert_eq!(
                enter(&mut kernel, Function::Map, map, &cpu),
                [LinuxEvent::Device(what)]
            );
        }
    }

    /// A list that is synced or unmapped with another number of entries than it has.
    #[test]
    fn entries_of_a_list() {
        let (mut kernel, outer) = (kernel(), at(SP, LR));
        let inner = at(SP - 64, address(Function::MapList) + 0x20);
        let (r, sgl) = (range(0x6000_0000, 4096), 0xc200_0000);
        let map = |kernel: &mut Kernel| {
            enter(kernel, Function::MapList, [0, sgl, 2, 0], &outer);
            for r in [r, range(0x6000_8000, 64)] {
                let mapped = enter(kernel, Function::Map, [0, r.pa, r.len, 0], &inner);
                let entry = Device::MapEntry(r, Bidirectional);
                assert_eq!(mapped, [LinuxEvent::Device(entry)]);
                leave(kernel, r.pa, &inner);
            }
            leave(kernel, 2, &outer);
        };
        map(&mut kernel);
        let wrong = [LinuxEvent::Device(Device::WrongCount(r))];
        for (entries, found) in [(2, &[][..]), (1, &wrong)] {
            let call = [0, sgl, entries, 0];
            assert_eq!(enter(&mut kernel, Function::SyncList, call, &outer), found);
        }
        let unmap = [0, sgl, 1, 0];
        assert_eq!(
            enter(&mut kernel, Function::UnmapList, unmap, &outer),
            wrong
        );
        leave(&mut kernel, 0, &outer);
        // One that fails after its first entry.
        enter(&mut kernel, Function::MapList, [0, sgl, 2, 0], &outer);
        enter(&mut kernel, Function::Map, [0, r.pa, r.len, 0], &inner);
        leave(&mut kernel, r.pa, &inner);
        let within = at(SP - 64, LR + 4);
        assert_eq!(enter(&mut kernel, Function::UnmapList, unmap, &within), []);
    }

    /// On the stack is what is in the 8 KiB around the stack pointer.
    #[test]
    fn buffers_on_the_stack() {
        let (mut kernel, outer) = (kernel(), at(SP, LR));
        let inner = at(SP - 64, address(Function::MapList) + 0x20);
        let stack = (SP - 0x8000_0000) / STACK_BYTES * STACK_BYTES;
        let tells = |r| [LinuxEvent::Device(Device::OnStack(r))];
        for (pa, on_stack) in [
            (stack - 64, false),
            (stack, true),
            (stack + STACK_BYTES - 64, true),
            (stack + STACK_BYTES, false),
        ] {
            let r = range(pa, 64);
            enter(&mut kernel, Function::Map, [0, r.pa, r.len, 2], &outer);
            sync(&mut kernel, (r, 2), &outer);
            let told = leave(&mut kernel, r.pa, &outer);
            let expected = if on_stack {
                tells(r).to_vec()
            } else {
                Vec::new()
            };
            assert_eq!(told, expected);
        }
        // One of a list when all of it is mapped.
        let (sgl, r) = (0xc200_0000, range(stack + 256, 64));
        enter(&mut kernel, Function::MapList, [0, sgl, 2, 2], &outer);
        for r in [range(0x6000_0000, 64), r] {
            enter(&mut kernel, Function::Map, [0, r.pa, r.len, 2], &inner);
            sync(&mut kernel, (r, 2), &inner);
            assert_eq!(leave(&mut kernel, r.pa, &inner), []);
        }
        assert_eq!(leave(&mut kernel, 2, &outer), tells(r));
        // None if that fails.
        enter(&mut kernel, Function::Map, [0, r.pa, r.len, 2], &outer);
        let failed = [LinuxEvent::Device(Device::Unmap(r, FromDevice))];
        assert_eq!(leave(&mut kernel, MAPPING_ERROR, &outer), failed);
    }

    /// The flag of a device says it, whatever is mapped or allocated for it.
    #[test]
    fn a_device_that_is_coherent() {
        const COHERENT: u32 = 0xc300_0000;
        const PLAIN: u32 = 0xc400_0000;
        let flags = |cpu: &mut Fake| {
            cpu.memory.insert(COHERENT + 20, (1 << 6) | (1 << 8));
            cpu.memory.insert(PLAIN + 20, !(1 << 6));
        };
        let r = range(0x6000_1000, 256);
        let tells = |function, r3, attributes| {
            let (mut kernel, mut cpu) = (kernel(), at(SP, LR));
            flags(&mut cpu);
            cpu.memory.insert(SP, attributes);
            let mut call = |device| {
                let registers = [device, r.pa, r.len, r3];
                let mut events = enter(&mut kernel, function, registers, &cpu);
                events.retain(|it| matches!(it, LinuxEvent::Device(Device::Snoops(_))));
                events
            };
            assert_eq!(call(PLAIN), []);
            let snoops = [LinuxEvent::Device(Device::Snoops(COHERENT))];
            assert_eq!(call(COHERENT), snoops);
            // It is told once.
            assert_eq!(call(COHERENT), []);
        };
        tells(Function::Map, 1, 0);
        tells(Function::Map, 1, ATTR_SKIP_CPU_SYNC);
        tells(Function::Allocate, 0, ATTR_NO_KERNEL_MAPPING);
        tells(Function::AllocatePages, 1, 0);

        // One that syncs nothing does not, if its flag says no.
        let (mut kernel, mut cpu) = (kernel(), at(SP, LR));
        flags(&mut cpu);
        enter(&mut kernel, Function::Map, [PLAIN, r.pa, r.len, 1], &cpu);
        assert_eq!(leave(&mut kernel, r.pa, &cpu), []);
        // Memory of which the CPU has no address yet is cached in its turn.
        let handle = 0xf080_2000;
        cpu.memory.insert(SP, ATTR_NO_KERNEL_MAPPING);
        cpu.memory.insert(handle, r.pa);
        for (device, memory) in [
            (PLAIN, Device::Coherent(r)),
            (COHERENT, Device::CoherentCached(r)),
        ] {
            enter(
                &mut kernel,
                Function::Allocate,
                [device, r.len, handle, 0],
                &cpu,
            );
            assert_eq!(leave(&mut kernel, 1, &cpu), [LinuxEvent::Device(memory)]);
        }
    }

    /// What is mapped for a device without a sync, though nobody asked for that, by a
    /// kernel of which the layout is not known.
    #[test]
    fn a_device_that_looks_into_the_caches() {
        let (mut kernel, mut cpu) = (kernel(), at(SP, LR));
        kernel.device_coherent = None;
        let r = range(0x6000_1000, 256);
        let mut map = |device, attributes, syncs: bool| {
            cpu.memory.insert(SP, attributes);
            enter(&mut kernel, Function::Map, [device, r.pa, r.len, 1], &cpu);
            if syncs {
                sync(&mut kernel, (r, 1), &cpu);
            }
            leave(&mut kernel, r.pa, &cpu)
        };
        assert_eq!(map(7, 0, true), []);
        assert_eq!(map(7, ATTR_SKIP_CPU_SYNC, false), []);
        let snoops = [LinuxEvent::Device(Device::Snoops(8))];
        assert_eq!(map(8, 0, false), snoops);
        // It is told once.
        assert_eq!(map(8, 0, false), []);
    }

    #[test]
    fn what_is_freed() {
        let (mut kernel, mut cpu) = (kernel(), at(SP, LR));
        cpu.memory.insert(LIST, 0xef80_0000);
        cpu.memory.insert(FIRST, 0x6_0000);
        let page = 0xef80_0000 + 5 * 36;
        let by = LR - 4;
        let freed = Device::Freed(range(0x6000_5000, 2 * 4096));
        assert_eq!(
            enter(&mut kernel, Function::FreedPages, [page, 1, 0, 0], &cpu),
            [LinuxEvent::DeviceBy(by, freed)]
        );
        let va = 0xc200_0000;
        assert_eq!(
            enter(&mut kernel, Function::FreedObject, [va, 0, 0, 0], &cpu),
            [LinuxEvent::FreedObject { va, by }]
        );
        // What is managed for it ends before.
        assert_eq!(
            enter(&mut kernel, Function::ReleaseDevice, [7, 0, 0, 0], &cpu),
            []
        );
        assert_eq!(
            leave(&mut kernel, 0, &cpu),
            [
                LinuxEvent::Device(Device::Of(7)),
                LinuxEvent::DeviceBy(by, Device::DriverGone(7))
            ]
        );
    }

    /// Another task's calls come between, on a stack of its own.
    #[test]
    fn a_sync_is_of_the_device_on_its_stack() {
        const OTHER: u32 = SP + STACK_BYTES;
        let (mut kernel, r) = (kernel(), range(0x6000_1000, 256));
        let event = LinuxEvent::Device;
        let (map, sync) = ([7, r.pa, r.len, 1], [r.pa, r.len, 1, 0]);
        assert_eq!(
            enter(&mut kernel, Function::Map, map, &at(SP, LR)),
            [event(Device::Of(7)), event(Device::Map(r, ToDevice))]
        );
        enter(&mut kernel, Function::SyncForDevice, sync, &at(SP - 32, LR));
        assert_eq!(
            enter(
                &mut kernel,
                Function::Map,
                [8, r.pa, r.len, 1],
                &at(OTHER, LR + 8)
            ),
            [event(Device::Of(8)), event(Device::Map(r, ToDevice))]
        );
        assert_eq!(
            leave(&mut kernel, 0, &at(SP - 32, LR)),
            [event(Device::Of(7)), event(Device::Owns(r, ToDevice))]
        );
        // A sync alone, of the other one.
        let index = INTERFACE
            .iter()
            .position(|name| *name == "__dma_sync_single_for_cpu");
        let mut cpu = Fake {
            registers: [8, 0, 0, 0],
            ..at(OTHER, LR)
        };
        let single = REST + 0x100 * index.unwrap() as u32;
        kernel.entered(single, &mut cpu, &mut Vec::new());
        assert_eq!(
            enter(&mut kernel, Function::SyncForCpu, sync, &at(OTHER - 32, LR)),
            [event(Device::Of(8)), event(Device::Returns(r, ToDevice))]
        );
    }

    #[test]
    fn a_mapping_that_fails_ends() {
        let (mut kernel, cpu) = (kernel(), at(SP, LR));
        let r = range(0x6000_1000, 256);
        enter(&mut kernel, Function::Map, [0, r.pa, r.len, 2], &cpu);
        assert_eq!(
            leave(&mut kernel, MAPPING_ERROR, &cpu),
            [LinuxEvent::Device(Device::Unmap(r, FromDevice))]
        );
    }

    #[test]
    fn a_mapping_of_registers_does_not_count() {
        let (mut kernel, mut cpu) = (kernel(), at(SP, LR));
        cpu.memory.insert(SP, ATTR_MMIO);
        assert_eq!(
            enter(&mut kernel, Function::Map, [0, 0x1000_0000, 4, 0], &cpu),
            []
        );
        assert_eq!(
            enter(&mut kernel, Function::Unmap, [0, 0x1000_0000, 4, 0], &cpu),
            []
        );
        assert!(kernel.pending.is_empty());
    }

    #[test]
    fn a_scatterlist() {
        let (mut kernel, outer) = (kernel(), at(SP, LR));
        let inner = at(SP - 64, address(Function::MapList) + 0x20);
        let (a, b, sgl) = (
            range(0x6000_0000, 4096),
            range(0x6000_8000, 64),
            0xc200_0000,
        );
        enter(&mut kernel, Function::MapList, [0, sgl, 2, 0], &outer);
        for r in [a, b] {
            enter(&mut kernel, Function::Map, [0, r.pa, r.len, 0], &inner);
            sync(&mut kernel, (r, 0), &inner);
            assert_eq!(leave(&mut kernel, r.pa, &inner), []);
        }
        // Somebody else's single mapping meanwhile, on another stack.
        let other = at(0xf090_1f00, LR);
        enter(&mut kernel, Function::Map, [0, 0x7000_0000, 4, 0], &other);
        leave(&mut kernel, 0x7000_0000, &other);
        leave(&mut kernel, 2, &outer);

        enter(&mut kernel, Function::UnmapList, [0, sgl, 2, 1], &outer);
        assert_eq!(
            leave(&mut kernel, 0, &outer),
            [
                LinuxEvent::Device(Device::Unmap(a, ToDevice)),
                LinuxEvent::Device(Device::Unmap(b, ToDevice))
            ]
        );
        assert!(kernel.pending.is_empty());
    }

    #[test]
    fn tasks_have_their_own_calls() {
        let (mut kernel, first, second) = (kernel(), at(SP, LR), at(SP + 0x10000, LR));
        enter(
            &mut kernel,
            Function::SyncForDevice,
            [0x6000_0000, 32, 1, 0],
            &first,
        );
        enter(
            &mut kernel,
            Function::SyncForDevice,
            [0x6000_0040, 32, 1, 0],
            &second,
        );
        // The first returns first, although it began first.
        let owns = |pa| [LinuxEvent::Device(Device::Owns(range(pa, 32), ToDevice))];
        assert_eq!(leave(&mut kernel, 0, &first), owns(0x6000_0000));
        assert_eq!(leave(&mut kernel, 0, &first), []);
        assert_eq!(leave(&mut kernel, 0, &second), owns(0x6000_0040));
    }

    #[test]
    fn a_place_to_return_to_is_told_once() {
        let (mut kernel, mut events) = (kernel(), Vec::new());
        for _ in 0..2 {
            kernel.entered(
                address(Function::SyncForDevice),
                &mut at(SP, LR),
                &mut events,
            );
        }
        assert_eq!(events, [LinuxEvent::Returns(LR)]);
        assert!(!kernel.returns(LR + 4));
    }

    #[test]
    fn two_calls_return_at_once() {
        let (mut kernel, cpu) = (kernel(), at(SP, LR));
        let r = range(0x6000_0000, 32);
        enter(&mut kernel, Function::Unmap, [0, r.pa, r.len, 1], &cpu);
        enter(
            &mut kernel,
            Function::SyncForDevice,
            [r.pa, r.len, 1, 0],
            &cpu,
        );
        assert_eq!(
            leave(&mut kernel, 0, &cpu),
            [
                LinuxEvent::Device(Device::Owns(r, ToDevice)),
                LinuxEvent::Device(Device::Unmap(r, ToDevice))
            ]
        );
    }

    #[test]
    fn coherent_memory() {
        let (mut kernel, mut cpu) = (kernel(), at(SP, LR));
        let handle = 0xf080_2000;
        enter(&mut kernel, Function::Allocate, [0, 8192, handle, 0], &cpu);
        cpu.memory.insert(handle, 0x6800_0000);
        let r = range(0x6800_0000, 8192);
        let allocated = |device| LinuxEvent::Allocated {
            va: 0xf0a0_0000,
            memory: r,
            device,
        };
        assert_eq!(leave(&mut kernel, 0xf0a0_0000, &cpu), [allocated(0)]);
        // Without an address.
        cpu.memory.insert(SP, ATTR_NO_KERNEL_MAPPING);
        enter(&mut kernel, Function::Allocate, [7, 8192, handle, 0], &cpu);
        assert_eq!(
            leave(&mut kernel, 0xc200_0000, &cpu),
            [LinuxEvent::Device(Device::Coherent(r))]
        );
        // One that fails.
        enter(&mut kernel, Function::Allocate, [0, 8192, handle, 0], &cpu);
        assert_eq!(leave(&mut kernel, 0, &cpu), []);
        assert_eq!(
            enter(
                &mut kernel,
                Function::Free,
                [0, 8192, 0xf0a0_0000, r.pa],
                &cpu
            ),
            [LinuxEvent::Device(Device::CoherentFreed(r))]
        );
        assert_eq!(
            enter(&mut kernel, Function::Free, [0, 8192, 0, 0], &cpu),
            []
        );
    }

    #[test]
    fn noncoherent_pages() {
        let (mut kernel, mut cpu) = (kernel(), at(SP, LR));
        let handle = 0xf080_2000;
        // Another device's mapping was made on this stack before.
        enter(&mut kernel, Function::Map, [8, 0x6900_0000, 4, 1], &cpu);
        leave(&mut kernel, 0x6900_0000, &cpu);
        enter(
            &mut kernel,
            Function::AllocatePages,
            [7, 4096, handle, 2],
            &cpu,
        );
        cpu.memory.insert(handle, 0x6800_0000);
        let r = range(0x6800_0000, 4096);
        assert_eq!(
            leave(&mut kernel, 0xc200_0000, &cpu),
            [
                LinuxEvent::Device(Device::Of(7)),
                LinuxEvent::Device(Device::MapUnsynced(r, FromDevice))
            ]
        );
        cpu.memory.insert(SP, 0);
        enter(&mut kernel, Function::Map, [8, 0x6900_0000, 4, 1], &cpu);
        cpu.memory.insert(SP, 2);
        assert_eq!(
            enter(
                &mut kernel,
                Function::FreePages,
                [7, 4096, 0xc200_0000, r.pa],
                &cpu
            ),
            [
                LinuxEvent::Device(Device::Of(7)),
                LinuxEvent::Device(Device::Unmap(r, FromDevice))
            ]
        );
    }

    #[test]
    fn addresses_of_64_bits() {
        let mut names = names();
        names.push((WIDE, 0xc0ff_0000));
        let mut kernel = Kernel::new(&system_map(&names), None).unwrap();
        let r = range(0x6000_1000, 256);
        let junk = 0xdead_beef;
        let mut cpu = at(SP, LR);
        let mut stack = |words: &[u32]| {
            let places = (SP..).step_by(4);
            cpu.memory.extend(places.zip(words.iter().copied()));
            cpu.clone()
        };
        let map = stack(&[0]);
        enter(&mut kernel, Function::Map, [0, r.pa, r.len, 1], &map);
        leave(&mut kernel, r.pa, &map);
        let unmap = stack(&[r.len, 1, 0]);
        enter(&mut kernel, Function::Unmap, [0, junk, r.pa, 0], &unmap);
        let end = LinuxEvent::Device(Device::Unmap(r, ToDevice));
        assert_eq!(leave(&mut kernel, 0, &unmap), [end]);
        // Of a device's registers.
        let unmap = stack(&[r.len, 1, ATTR_MMIO]);
        enter(&mut kernel, Function::Unmap, [0, junk, r.pa, 0], &unmap);
        assert!(kernel.pending.is_empty());

        let free = stack(&[r.pa, 0, 0]);
        assert_eq!(
            enter(&mut kernel, Function::Free, [0, r.len, 1, junk], &free),
            [LinuxEvent::Device(Device::CoherentFreed(r))]
        );
        let free = stack(&[r.pa, 0, 2]);
        let unmapped = LinuxEvent::Device(Device::Unmap(r, FromDevice));
        let call = [0, r.len, 1, junk];
        assert_eq!(
            enter(&mut kernel, Function::FreePages, call, &free),
            [unmapped]
        );
    }

    #[test]
    fn modules_and_tasks() {
        let (mut kernel, mut cpu) = (kernel(), at(SP, LR));
        let module = 0xbf00_8000;
        for (at, word) in [
            (12, u32::from_le_bytes(*b"samp")),
            (16, u32::from_le_bytes(*b"le\0x")),
            (100, 0xbf00_0000),
            (104, 0x3000),
            (112, 0xbf00_9000),
            (116, 0x400),
        ] {
            cpu.memory.insert(module + at, word);
        }
        let part = |base, size, link| {
            let name = "sample".into();
            LinuxEvent::Module(Module {
                name,
                base,
                size,
                link,
            })
        };
        assert_eq!(
            enter(&mut kernel, Function::InitModule, [module, 0, 0, 0], &cpu),
            [
                part(0xbf00_0000, 0x3000, 0),
                part(0xbf00_9000, 0x400, symbols::INIT)
            ]
        );

        assert_eq!(
            enter(
                &mut kernel,
                Function::SwitchTo,
                [0, 0, 0xc300_0000, 0],
                &cpu
            ),
            [LinuxEvent::Task(0xc300_0000)]
        );
        cpu.memory
            .insert(0xc300_0008, u32::from_le_bytes(*b"sh\0\0"));
        assert_eq!(kernel.task_name(0xc300_0000, &mut cpu), Some("sh".into()));
    }

    #[test]
    fn a_layout_that_was_not_told() {
        let mut kernel = Kernel::new(&system_map(&names()), None).unwrap();
        let mut cpu = at(SP, LR);
        let (module, first) = (0xbf00_8000, 0xc180_0000);
        cpu.memory
            .insert(module + 12, u32::from_le_bytes(*b"one\0"));
        assert_eq!(
            enter(&mut kernel, Function::InitModule, [module, 0, 0, 0], &cpu),
            [LinuxEvent::UnknownModule {
                module,
                name: "one".into()
            }]
        );

        // A word that begins so is not the name yet.
        cpu.memory
            .insert(first + 0x20, u32::from_le_bytes(*b"swap"));
        for (task, comm) in [(first, *b"swapper/"), (0xc300_0000, *b"init\0\0\0\0")] {
            for (i, word) in comm.chunks(4).enumerate() {
                let word = u32::from_le_bytes(word.try_into().unwrap());
                cpu.memory.insert(task + 0x340 + 4 * i as u32, word);
            }
        }
        assert_eq!(kernel.task_name(0xc300_0000, &mut cpu), None);
        let registers = [first, first, 0xc300_0000, 0];
        enter(&mut kernel, Function::SwitchTo, registers, &cpu);
        assert_eq!(kernel.task_name(0xc300_0000, &mut cpu), Some("init".into()));
    }

    #[test]
    fn pages_with_a_new_owner() {
        let (mut kernel, mut cpu) = (kernel(), at(SP, LR));
        let page = 0xef80_0000 + 5 * 36;
        let new = |kernel: &mut Kernel, cpu: &Fake| {
            enter(kernel, Function::NewPages, [page, 2, 0, 0], cpu)
        };
        // Before the list is there.
        assert_eq!(new(&mut kernel, &cpu), []);
        cpu.memory.insert(LIST, 0xef80_0000);
        cpu.memory.insert(FIRST, 0x6_0000);
        let range = range(0x6000_5000, 4 * 4096);
        assert_eq!(new(&mut kernel, &cpu), [LinuxEvent::NewOwner(range)]);
    }

    #[test]
    fn whose_call_it_is() {
        let (mut kernel, mut events) = (kernel(), Vec::new());
        let unmap = address(Function::Unmap);
        let sync = address(Function::SyncForCpu);
        assert_eq!(kernel.caller(&mut at(SP, LR)), None);
        // From within the interface itself, and from behind it.
        for (pc, sp, lr) in [
            (unmap, SP, LR),
            (unmap, SP - 32, unmap + 8),
            (sync, SP - 64, unmap + 16),
        ] {
            assert!(kernel.hooks(pc));
            kernel.entered(pc, &mut at(sp, lr), &mut events);
            assert_eq!(kernel.caller(&mut at(SP - 64, 0)), Some(LR - 4));
        }
        assert_eq!(kernel.caller(&mut at(SP + 0x10000, 0)), None);
    }

    #[test]
    fn a_second_cpu() {
        let (mut kernel, cpu) = (kernel(), at(SP, LR));
        assert_eq!(
            enter(&mut kernel, Function::StartCpu, [0; 4], &cpu),
            [LinuxEvent::AnotherCpu]
        );
    }

    fn refused(names: &[(&str, u32)]) -> String {
        match Kernel::new(&system_map(names), None) {
            Ok(_) => panic!("it is taken"),
            Err(reason) => reason,
        }
    }

    #[test]
    fn a_kernel_without_what_drivers_call_is_refused() {
        for missing in ["dma_direct_map_sg", "dma_map_sg_attrs"] {
            let mut names = names();
            names.retain(|(name, _)| *name != missing);
            let reason = refused(&names);
            assert!(reason.contains(&format!("no {missing}:")), "{reason}");
        }
        let mut names = names();
        names.retain(|(name, _)| !OPTIONAL.contains(name));
        assert!(Kernel::new(&system_map(&names), None).is_ok());
    }

    #[test]
    fn a_kernel_with_lpae_is_refused() {
        let with_table_at = |table| {
            let mut names = names();
            names.push((TABLE, table));
            names
        };
        // As arch/arm/kernel/head.S puts it before the code at 0xc0008000.
        let reason = refused(&with_table_at(0xc000_3000));
        assert!(reason.contains("LPAE"), "{reason}");
        let without = system_map(&with_table_at(0xc000_4000));
        assert!(Kernel::new(&without, None).is_ok());
    }

    /// A kernel with a table of the functions at these addresses.
    fn with_table(mut addresses: Vec<u32>) -> (Kernel, Fake) {
        let (table, count) = (0xc080_0000, 0xc090_0000);
        let mut names = names();
        names.push(("kallsyms_offsets", table));
        names.push(("kallsyms_num_syms", count));
        addresses.sort_unstable();
        let mut cpu = at(SP, LR);
        cpu.memory.insert(count, addresses.len() as u32);
        let words = (table..).step_by(4).zip(addresses);
        cpu.memory.extend(words);
        (Kernel::new(&system_map(&names), None).unwrap(), cpu)
    }

    #[test]
    fn another_kernel_that_runs_is_refused() {
        let all: Vec<u32> = names().iter().map(|(_, address)| *address).collect();
        let (mut kernel, cpu) = with_table(all.clone());
        // No function of it has run.
        assert!(kernel.confirm(&mut cpu.clone()).is_err());
        enter(&mut kernel, Function::SwitchTo, [0; 4], &cpu);
        assert_eq!(kernel.confirm(&mut cpu.clone()), Ok(()));
        for i in 0..FUNCTIONS.len() {
            let mut others = all.clone();
            others.retain(|address| *address != all[i]);
            let (mut kernel, cpu) = with_table(others);
            enter(&mut kernel, Function::SwitchTo, [0; 4], &cpu);
            assert!(kernel.confirm(&mut cpu.clone()).is_err(), "{i}");
        }
        // Older ones have the addresses from a base on.
        let base = 0xc0a0_0000;
        let (mut kernel, mut cpu) = with_table(all.iter().map(|it| it - 0xc000_0000).collect());
        enter(&mut kernel, Function::SwitchTo, [0; 4], &cpu);
        assert!(kernel.confirm(&mut cpu).is_err());
        kernel.table.as_mut().unwrap().base = Some(base);
        assert!(kernel.confirm(&mut cpu).is_err());
        cpu.memory.insert(base, 0xc000_0000);
        assert_eq!(kernel.confirm(&mut cpu), Ok(()));
        // Nothing is where the table should be.
        kernel.seen = true;
        assert!(kernel.confirm(&mut at(SP, LR)).is_err());
    }

    #[test]
    fn a_layer_calls_for_its_caller() {
        let mut names = names();
        let layer = 0xc020_0000;
        names.push((LAYERS[0], layer));
        names.push(("another", layer + 0x100));
        let mut kernel = Kernel::new(&system_map(&names), None).unwrap();
        let map = system_map(&names).address("dma_map_phys").unwrap();
        for (pc, sp, lr) in [(layer, SP, LR), (map, SP - 32, layer + 8)] {
            kernel.entered(pc, &mut at(sp, lr), &mut Vec::new());
        }
        assert_eq!(kernel.caller(&mut at(SP - 32, 0)), Some(LR - 4));
    }
}
