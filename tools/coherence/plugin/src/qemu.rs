// SPDX-License-Identifier: MIT OR Apache-2.0
//! The functions and types of QEMU's plugin API, version 7 (QEMU 11), that are
//! used here, and safe wrappers around them. All `unsafe` is in this file.
//!
//! QEMU must run all vCPUs in one thread (`-accel tcg,thread=single`). Then its
//! callbacks never run at the same time or within each other, and one
//! [`Watcher`] can have them all.
//!
//! But then QEMU 11.1 does not say which vCPU runs: a callback from translated
//! code has the number of the vCPU for which the block was translated first.
//! So the guest may use one CPU only: Linux gets `maxcpus=1`. What other CPUs
//! do until then, waiting to be started, does not matter and is left out.
//! (Scoreboards are worse there: on all vCPUs but the first, code that uses one
//! has other constants changed. None is used here.)

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;

use coherence_model::events::Site;

use crate::arguments::{Arguments, Purpose};
use crate::checker::Checker;
use crate::counter::Counter;

/// The version that the declarations in this file are of.
const API_VERSION: c_int = 7;

/// Read by QEMU before it calls [`qemu_plugin_install`].
#[no_mangle]
#[allow(non_upper_case_globals)]
pub static qemu_plugin_version: c_int = API_VERSION;

/// `qemu_info_t`
#[repr(C)]
pub struct Info {
    target_name: *const c_char,
    version_min: c_int,
    version_cur: c_int,
    system_emulation: bool,
    smp_vcpus: c_int,
    max_vcpus: c_int,
}

/// `struct qemu_plugin_tb`
#[repr(C)]
struct OpaqueBlock {
    _private: [u8; 0],
}

/// `struct qemu_plugin_insn`
#[repr(C)]
struct OpaqueInstruction {
    _private: [u8; 0],
}

/// `struct qemu_plugin_hwaddr`
#[repr(C)]
struct OpaqueAddress {
    _private: [u8; 0],
}

/// `struct qemu_plugin_register`
#[repr(C)]
struct OpaqueRegister {
    _private: [u8; 0],
}

/// `qemu_plugin_mem_value`
#[repr(C)]
struct MemoryValue {
    size: c_uint,
    /// A union; all sizes up to 64 bits begin here, in the host's byte order.
    low: u64,
    high: u64,
}

/// `qemu_plugin_reg_descriptor`
#[repr(C)]
struct RegisterDescriptor {
    handle: *mut OpaqueRegister,
    name: *const c_char,
    feature: *const c_char,
    is_readonly: bool,
}

/// GLib's `GArray` and `GByteArray`, as far as they are public.
#[repr(C)]
struct GArray {
    data: *mut u8,
    len: c_uint,
}

/// `QEMU_PLUGIN_CB_NO_REGS`, `QEMU_PLUGIN_CB_R_REGS`
const NO_REGISTERS: c_int = 0;
const READ_REGISTERS: c_int = 1;
/// `QEMU_PLUGIN_MEM_R`, `QEMU_PLUGIN_MEM_W`
const LOADS: c_int = 1;
const STORES: c_int = 2;
/// `QEMU_PLUGIN_HWADDR_OPERATION_OK`
const OPERATION_OK: c_int = 0;

type VcpuCallback = extern "C" fn(c_uint, *mut c_void);
type MemoryCallback = extern "C" fn(c_uint, u32, u64, *mut c_void);

extern "C" {
    fn qemu_plugin_reset(id: u64, cb: extern "C" fn(*mut c_void), userdata: *mut c_void);
    fn qemu_plugin_register_vcpu_init_cb(id: u64, cb: VcpuCallback, userdata: *mut c_void);
    fn qemu_plugin_register_vcpu_tb_trans_cb(
        id: u64,
        cb: extern "C" fn(*mut OpaqueBlock, *mut c_void),
        userdata: *mut c_void,
    );
    fn qemu_plugin_register_atexit_cb(
        id: u64,
        cb: extern "C" fn(*mut c_void),
        userdata: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        insn: *mut OpaqueInstruction,
        cb: VcpuCallback,
        flags: c_int,
        userdata: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_mem_cb(
        insn: *mut OpaqueInstruction,
        cb: MemoryCallback,
        flags: c_int,
        rw: c_int,
        userdata: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(tb: *const OpaqueBlock) -> usize;
    fn qemu_plugin_tb_get_insn(tb: *const OpaqueBlock, index: usize) -> *mut OpaqueInstruction;
    fn qemu_plugin_insn_data(
        insn: *const OpaqueInstruction,
        dest: *mut c_void,
        len: usize,
    ) -> usize;
    fn qemu_plugin_insn_vaddr(insn: *const OpaqueInstruction) -> u64;
    fn qemu_plugin_mem_size_shift(info: u32) -> c_uint;
    fn qemu_plugin_mem_get_value(info: u32) -> MemoryValue;
    fn qemu_plugin_get_hwaddr(info: u32, vaddr: u64) -> *mut OpaqueAddress;
    fn qemu_plugin_hwaddr_is_io(address: *const OpaqueAddress) -> bool;
    fn qemu_plugin_hwaddr_phys_addr(address: *const OpaqueAddress) -> u64;
    fn qemu_plugin_get_registers() -> *mut GArray;
    fn qemu_plugin_read_register(handle: *mut OpaqueRegister, buffer: *mut GArray) -> bool;
    fn qemu_plugin_read_memory_hwaddr(address: u64, buffer: *mut GArray, len: usize) -> c_int;
    fn qemu_plugin_write_memory_hwaddr(address: u64, buffer: *mut GArray) -> c_int;

    fn g_byte_array_new() -> *mut GArray;
    fn g_byte_array_set_size(array: *mut GArray, length: c_uint) -> *mut GArray;
    fn g_array_free(array: *mut GArray, free_segment: c_int) -> *mut c_char;
}

/// Pointers carry numbers of up to 64 bits to the callbacks.
const _: () = assert!(size_of::<*mut c_void>() == size_of::<u64>());

fn as_userdata(number: u64) -> *mut c_void {
    std::ptr::without_provenance_mut(number as usize)
}

fn from_userdata(userdata: *mut c_void) -> u64 {
    userdata.addr() as u64
}

/// The site in the lower half of a userdata.
#[inline(always)]
fn site_of(userdata: *mut c_void) -> Site {
    Site(from_userdata(userdata) as u32)
}

/// What QEMU's callbacks are made for.
pub trait Watcher: Sized + 'static {
    /// Where the watcher is while QEMU runs.
    fn global() -> &'static Global<Self>;
    /// A vCPU is about to run for the first time. Errors: it cannot be watched.
    fn vcpu_started(&mut self) -> Result<(), String>;
    /// QEMU translates a block: this chooses what is watched of it. Errors: the
    /// watcher cannot go on.
    fn translate(&mut self, block: &Block<Self>) -> Result<(), &'static str>;
    /// A load was made.
    fn load(&mut self, va: u32, transaction: Transaction, site: Site);
    /// A store was made.
    fn store(&mut self, va: u32, transaction: Transaction, site: Site);
    /// A system instruction is about to run, if its condition holds and the
    /// mode may.
    fn system_instruction(&mut self, site: Site, word: u32);
    /// A hint is about to run, if r0 says that it is one.
    fn hint(&mut self, site: Site);
    /// QEMU ends. Errors: nothing was watched.
    fn exit(&mut self) -> Result<(), &'static str>;
}

/// Where the plugin's only state is.
pub struct Global<W>(UnsafeCell<Option<(W, Option<ThreadId>)>>);

impl<W> Global<W> {
    /// There is no watcher yet.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(None))
    }
}

// SAFETY: It is written while QEMU starts, in its main thread, then used in the
// one thread of all vCPUs (`vcpu_started` makes sure that there is only one), and
// last in the main thread at exit, when QEMU has stopped the vCPUs.
unsafe impl<W> Sync for Global<W> {}

/// Gives the watcher to one callback.
#[inline(always)]
fn with<W: Watcher, R>(callback: impl FnOnce(&mut W) -> R) -> R {
    // SAFETY: Callbacks do not run at the same time (see Global) or within each
    // other: QEMU calls none of them from the functions that are used here.
    let state = unsafe { &mut *W::global().0.get() };
    match state {
        Some((watcher, _)) => callback(watcher),
        None => unreachable!("QEMU has callbacks only after the watcher was made"),
    }
}

/// Called by QEMU when it loads the plugin.
///
/// # Safety
/// As QEMU calls it: `info` and the `argc` strings of `argv` are valid during the call.
#[no_mangle]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: QEMU's promise, see above.
    let info = unsafe { &*info };
    let text = |pointer: *const c_char| {
        // SAFETY: As above; all are strings that end with a NUL.
        unsafe { CStr::from_ptr(pointer) }
            .to_string_lossy()
            .into_owned()
    };
    let arguments = (0..argc as usize)
        // SAFETY: There are argc of them.
        .map(|i| text(unsafe { *argv.add(i) }));

    if let Err(reason) = check_version(info.version_min, info.version_cur)
        .and_then(|()| check_target(&text(info.target_name), info.system_emulation))
        .and_then(|()| install(id, arguments))
    {
        eprintln!("coherence: {reason}");
        return -1;
    }
    0
}

fn check_version(min: c_int, cur: c_int) -> Result<(), String> {
    if (min..=cur).contains(&API_VERSION) {
        return Ok(());
    }
    Err(format!(
        "this QEMU has plugin API {cur} and takes plugins from API {min} on, but this plugin was written for API {API_VERSION}, that of QEMU 11."
    ))
}

fn check_target(target: &str, system: bool) -> Result<(), String> {
    match (target, system) {
        ("arm", true) => Ok(()),
        (_, true) => Err(format!(
            "this plugin is for qemu-system-arm, not for the target {target}."
        )),
        (_, false) => Err("this plugin is for qemu-system-arm, not for single programs.".into()),
    }
}

fn install(id: u64, arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let arguments = Arguments::parse(arguments)?;
    match arguments.purpose {
        Purpose::Check => watch(id, Checker::new(arguments)?),
        Purpose::Count => watch(id, Counter::new(&arguments)?),
    }
    Ok(())
}

/// The id that QEMU gave the plugin.
static ID: AtomicU64 = AtomicU64::new(0);

fn watch<W: Watcher>(id: u64, watcher: W) {
    // SAFETY: No callback is registered yet.
    unsafe { *W::global().0.get() = Some((watcher, None)) };
    ID.store(id, Ordering::Relaxed);
    register::<W>(id);
}

fn register<W: Watcher>(id: u64) {
    // SAFETY: The id is ours, and the functions have the types that API 7 wants.
    unsafe {
        qemu_plugin_register_vcpu_init_cb(id, vcpu_started::<W>, as_userdata(0));
        qemu_plugin_register_vcpu_tb_trans_cb(id, translated::<W>, as_userdata(0));
        qemu_plugin_register_atexit_cb(id, exiting::<W>, as_userdata(0));
    }
}

/// Makes QEMU forget all translated blocks, so that [`Watcher::translate`] is
/// called for each anew. The block that runs now still runs to its end as it is.
/// Call it from a callback of the vCPU.
pub fn translate_all_again<W: Watcher>() {
    // SAFETY: The id is ours, and the function has the type that API 7 wants. QEMU
    // waits until no translated code runs, and then forgets the callbacks too.
    unsafe { qemu_plugin_reset(ID.load(Ordering::Relaxed), forgotten::<W>, as_userdata(0)) };
}

extern "C" fn forgotten<W: Watcher>(_: *mut c_void) {
    register::<W>(ID.load(Ordering::Relaxed));
}

extern "C" fn vcpu_started<W: Watcher>(_vcpu: c_uint, _: *mut c_void) {
    let this = std::thread::current().id();
    // SAFETY: vCPUs start one after the other. Where each has a thread of its own,
    // the second ends here before any other callback of its can run.
    let Some((watcher, thread)) = (unsafe { &mut *W::global().0.get() }) else {
        return;
    };
    if *thread.get_or_insert(this) == this {
        or_give_up::<W>(watcher.vcpu_started());
    } else {
        or_give_up::<W>(Err(
            "run QEMU with all vCPUs in one thread: -accel tcg,thread=single.",
        ));
    }
}

extern "C" fn translated<W: Watcher>(tb: *mut OpaqueBlock, _: *mut c_void) {
    or_give_up::<W>(with(|watcher: &mut W| {
        watcher.translate(&Block {
            tb,
            lifetime: PhantomData,
        })
    }));
}

/// The only vCPU that counts.
const FIRST: c_uint = 0;

/// Gives the watcher to a callback of the first vCPU.
#[inline(always)]
fn on_first<W: Watcher>(vcpu: c_uint, callback: impl FnOnce(&mut W)) {
    if vcpu == FIRST {
        with(callback);
    }
}

extern "C" fn loaded<W: Watcher>(vcpu: c_uint, info: u32, va: u64, site: *mut c_void) {
    on_first(vcpu, |watcher: &mut W| {
        watcher.load(va as u32, Transaction(info), site_of(site))
    });
}

extern "C" fn stored<W: Watcher>(vcpu: c_uint, info: u32, va: u64, site: *mut c_void) {
    on_first(vcpu, |watcher: &mut W| {
        watcher.store(va as u32, Transaction(info), site_of(site))
    });
}

extern "C" fn system_instruction<W: Watcher>(vcpu: c_uint, site_and_word: *mut c_void) {
    let word = (from_userdata(site_and_word) >> 32) as u32;
    on_first(vcpu, |watcher: &mut W| {
        watcher.system_instruction(site_of(site_and_word), word)
    });
}

extern "C" fn hint<W: Watcher>(vcpu: c_uint, site: *mut c_void) {
    on_first(vcpu, |watcher: &mut W| watcher.hint(site_of(site)));
}

extern "C" fn function_entered(_: c_uint, site: *mut c_void) {
    or_give_up::<Checker>(with(|checker: &mut Checker| {
        checker.function_entered(site_of(site))
    }));
}

extern "C" fn function_left(_: c_uint, site: *mut c_void) {
    or_give_up::<Checker>(with(|checker: &mut Checker| {
        checker.function_left(site_of(site))
    }));
}

extern "C" fn executed(vcpu: c_uint, site: *mut c_void) {
    on_first(vcpu, |counter: &mut Counter| {
        counter.executed(site_of(site))
    });
}

/// Ends QEMU, without a report, if there is a reason to.
fn or_give_up<W: Watcher>(result: Result<(), impl Display>) {
    if let Err(reason) = result {
        eprintln!("coherence: {reason}");
        // SAFETY: No callback uses the watcher now (see with).
        unsafe { *W::global().0.get() = None };
        std::process::exit(1);
    }
}

extern "C" fn exiting<W: Watcher>(_: *mut c_void) {
    // SAFETY: As in with. There is none after or_give_up.
    if let Some((watcher, _)) = unsafe { &mut *W::global().0.get() } {
        let result = watcher.exit();
        or_give_up::<W>(result);
    }
}

/// A translation block, while QEMU translates it.
pub struct Block<'a, W> {
    tb: *mut OpaqueBlock,
    lifetime: PhantomData<(&'a OpaqueBlock, W)>,
}

impl<W> Block<'_, W> {
    /// The block's instructions, in their order.
    pub fn instructions(&self) -> impl Iterator<Item = Instruction<'_, W>> {
        // SAFETY: The block lives during the callback that made self.
        let count = unsafe { qemu_plugin_tb_n_insns(self.tb) };
        (0..count).map(|i| Instruction {
            // SAFETY: As above, and there are that many.
            insn: unsafe { qemu_plugin_tb_get_insn(self.tb, i) },
            lifetime: PhantomData,
        })
    }
}

/// An instruction, while QEMU translates it.
pub struct Instruction<'a, W> {
    insn: *mut OpaqueInstruction,
    lifetime: PhantomData<(&'a OpaqueInstruction, W)>,
}

impl<W: Watcher> Instruction<'_, W> {
    /// Virtual address of the instruction.
    pub fn address(&self) -> u32 {
        // SAFETY: The instruction lives as long as its block.
        unsafe { qemu_plugin_insn_vaddr(self.insn) as u32 }
    }

    /// Its two or four bytes, little endian, and how many there are.
    pub fn bytes(&self) -> ([u8; 4], usize) {
        let mut bytes = [0; 4];
        // SAFETY: As above, and there is room for that many bytes.
        let len =
            unsafe { qemu_plugin_insn_data(self.insn, bytes.as_mut_ptr().cast(), bytes.len()) };
        (bytes, len)
    }

    /// Calls [`Watcher::load`] and [`Watcher::store`] after each access to memory.
    pub fn watch_memory(&self, site: Site) {
        for (callback, accesses) in [
            (loaded::<W> as MemoryCallback, LOADS),
            (stored::<W>, STORES),
        ] {
            // SAFETY: As above.
            unsafe {
                qemu_plugin_register_vcpu_mem_cb(
                    self.insn,
                    callback,
                    NO_REGISTERS,
                    accesses,
                    as_userdata(site.0.into()),
                );
            }
        }
    }

    /// Calls [`Watcher::system_instruction`] before each time it runs, also when
    /// its condition will not hold.
    pub fn watch_system(&self, site: Site, word: u32) {
        self.watch_execution(
            system_instruction::<W>,
            READ_REGISTERS,
            (u64::from(word) << 32) | u64::from(site.0),
        );
    }

    /// Calls [`Watcher::hint`] before each time it runs.
    pub fn watch_hint(&self, site: Site) {
        self.watch_execution(hint::<W>, READ_REGISTERS, site.0.into());
    }

    fn watch_execution(&self, callback: VcpuCallback, registers: c_int, number: u64) {
        // SAFETY: As above.
        unsafe {
            qemu_plugin_register_vcpu_insn_exec_cb(
                self.insn,
                callback,
                registers,
                as_userdata(number),
            );
        }
    }
}

impl Instruction<'_, Checker> {
    /// Calls [`Checker::function_entered`] before each time it runs.
    pub fn watch_function(&self, site: Site) {
        self.watch_execution(function_entered, READ_REGISTERS, site.0.into());
    }

    /// Calls [`Checker::function_left`] before each time it runs.
    pub fn watch_return(&self, site: Site) {
        self.watch_execution(function_left, READ_REGISTERS, site.0.into());
    }
}

impl Instruction<'_, Counter> {
    /// Calls [`Counter::executed`] before each time it runs.
    pub fn watch_any(&self, site: Site) {
        self.watch_execution(executed, NO_REGISTERS, site.0.into());
    }
}

/// A load or store that was made, during its callback.
#[derive(Clone, Copy)]
pub struct Transaction(u32);

impl Transaction {
    fn bytes(self) -> u32 {
        // SAFETY: The number came from QEMU and is used during its callback.
        1 << unsafe { qemu_plugin_mem_size_shift(self.0) }
    }

    /// The lower 32 bits of what was loaded or stored.
    pub fn value(self) -> u32 {
        // SAFETY: As above.
        let value = unsafe { qemu_plugin_mem_get_value(self.0) };
        let bits = 8 * self.bytes().min(4);
        value.low as u32 & (u32::MAX >> (32 - bits))
    }

    /// Where QEMU's own translation says that it went.
    pub fn target(self, va: u32) -> Option<QemuTranslation> {
        // SAFETY: As above; the address is used before the callback ends.
        unsafe {
            let address = qemu_plugin_get_hwaddr(self.0, va.into());
            (!address.is_null()).then(|| QemuTranslation {
                pa: qemu_plugin_hwaddr_phys_addr(address) as u32,
                device: qemu_plugin_hwaddr_is_io(address),
            })
        }
    }
}

/// How many bytes transactions have. QEMU uses few different numbers for
/// transactions, and to ask it each time costs as much as all the rest of a
/// callback.
pub struct Sizes([(u32, u32); 256]);

impl Sizes {
    /// The length of no transaction is known.
    pub fn new() -> Self {
        Self([(0, 0); 256])
    }

    /// Bytes of a transaction.
    #[inline(always)]
    pub fn of(&mut self, transaction: Transaction) -> u32 {
        let number = transaction.0;
        let known = &mut self.0[(number ^ (number >> 10)) as usize % 256];
        if known.1 == 0 || known.0 != number {
            *known = (number, transaction.bytes());
        }
        known.1
    }
}

/// Where an access went, by QEMU's own translation.
pub struct QemuTranslation {
    /// Physical address of the access.
    pub pa: u32,
    /// It went to a device's register, not to memory.
    pub device: bool,
}

/// An array of bytes as QEMU wants it, used over and over.
struct Buffer(*mut GArray);

impl Buffer {
    fn new() -> Self {
        // SAFETY: No preconditions; it does not fail.
        Self(unsafe { g_byte_array_new() })
    }

    fn clear(&mut self) {
        // SAFETY: The array is ours and never freed.
        unsafe { g_byte_array_set_size(self.0, 0) };
    }

    /// The first four bytes, little endian, if there are so many.
    fn word(&self) -> Option<u32> {
        self.bytes().first_chunk().copied().map(u32::from_le_bytes)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: As above; GLib keeps len bytes at data.
        unsafe {
            let array = &*self.0;
            if array.len == 0 {
                return &[];
            }
            std::slice::from_raw_parts(array.data, array.len as usize)
        }
    }
}

/// The guest's physical memory as the vCPU that runs sees it. Use it in callbacks.
pub struct GuestMemory(Buffer);

impl GuestMemory {
    /// The one physical memory that the guest has.
    pub fn new() -> Self {
        Self(Buffer::new())
    }

    /// Reads bytes, of memory or of a device. The slice holds until the next read.
    pub fn read(&mut self, pa: u32, len: usize) -> Option<&[u8]> {
        if len == 0 {
            return Some(&[]);
        }
        // SAFETY: The buffer is valid and grows as needed.
        let result = unsafe { qemu_plugin_read_memory_hwaddr(pa.into(), self.0 .0, len) };
        (result == OPERATION_OK).then(|| self.0.bytes())
    }

    /// Reads a word, of memory or of a device's register.
    pub fn word(&mut self, pa: u32) -> Option<u32> {
        self.read(pa, 4)?;
        self.0.word()
    }

    /// Makes QEMU translate the instruction at this address again when it runs
    /// next: writes it as it is.
    pub fn translate_again(&mut self, pa: u32) {
        if self.read(pa, 4).is_some() {
            // SAFETY: The buffer holds what was read. If it cannot be written,
            // nothing happens.
            unsafe { qemu_plugin_write_memory_hwaddr(pa.into(), self.0 .0) };
        }
    }
}

/// The registers that are read, by the number in [`Registers::read`].
const NAMES: [&str; 19] = [
    "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "sp", "lr",
    "pc", "cpsr", "MIDR", "CTR",
];
/// The stack pointer's number for [`Registers::read`].
pub const SP: usize = 13;
/// The link register's number for [`Registers::read`].
pub const LR: usize = 14;
/// The CPSR's number for [`Registers::read`].
pub const CPSR: usize = 16;

/// The main ID register's number for [`Registers::read`].
pub const MAIN_ID: usize = 17;
/// The cache type register's number for [`Registers::read`].
pub const CACHE_TYPE: usize = 18;

/// The registers of the vCPU that runs.
pub struct Registers {
    handles: [*mut OpaqueRegister; NAMES.len()],
    buffer: Buffer,
}

impl Registers {
    /// Finds the registers. Call it when a vCPU has started.
    pub fn find() -> Self {
        let mut handles = [std::ptr::null_mut(); NAMES.len()];
        // SAFETY: A vCPU runs. The array holds descriptors, and their names are
        // never freed; the array is ours to free.
        unsafe {
            let array = qemu_plugin_get_registers();
            let descriptors = std::slice::from_raw_parts(
                (*array).data.cast::<RegisterDescriptor>(),
                (*array).len as usize,
            );
            for descriptor in descriptors {
                let name = CStr::from_ptr(descriptor.name).to_bytes();
                if let Some(i) = NAMES.iter().position(|n| n.as_bytes() == name) {
                    handles[i] = descriptor.handle;
                }
            }
            g_array_free(array, 1);
        }
        assert!(
            handles.iter().all(|h| !h.is_null()),
            "qemu-system-arm names its registers"
        );
        Self {
            handles,
            buffer: Buffer::new(),
        }
    }

    /// A register's value, in a callback that may read registers.
    pub fn read(&mut self, number: usize) -> u32 {
        self.buffer.clear();
        // SAFETY: The handle came from QEMU, and the buffer is valid.
        let read = unsafe { qemu_plugin_read_register(self.handles[number], self.buffer.0) };
        match self.buffer.word() {
            Some(value) if read => value,
            _ => panic!("QEMU gives registers in this callback"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(check_version(7, 7), Ok(()));
        assert_eq!(check_version(2, 8), Ok(()));
        for (min, cur) in [(2, 4), (8, 9)] {
            let reason = check_version(min, cur).unwrap_err();
            assert!(
                reason.contains(&format!("has plugin API {cur}")),
                "{reason}"
            );
        }
    }

    #[test]
    fn targets() {
        assert_eq!(check_target("arm", true), Ok(()));
        assert!(check_target("aarch64", true).is_err());
        assert!(check_target("arm", false).is_err());
    }
}
