// SPDX-License-Identifier: GPL-2.0

//! A driver for QEMU's educational PCI device, which copies between memory and 4 KiB of its own.
//!
//! It shows what a driver does to take memory of shmbuf: attach to the dma-buf, map it, start the
//! device, wait for its interrupt. It knows nothing of shmbuf.

// In a pattern a constant that the kernel crate does not have is a variable, which all values match.
#![deny(non_snake_case)]

mod sys;

use kernel::{
    device::Core,
    dma::DmaMask,
    driver,
    fs::File,
    io::{
        register,
        Io, //
    },
    ioctl::_IOC_SIZE,
    irq::{
        Handler,
        IrqReturn, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    new_mutex, pci,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
    time::msecs_to_jiffies,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use sys::{
    abi,
    Ended,
    Import,
    Interrupt, //
};

module! {
    type: Edu,
    name: "edu",
    authors: ["The shmbuf authors"],
    description: "QEMU's educational PCI device, with memory by dma-buf",
    license: "GPL v2",
    imports_ns: ["DMA_BUF"],
    params: {
        dma_bits: u8 {
            default: 28,
            description: "Bits of the addresses that the device drives, 1 to 32 (28, as QEMU's edu has it without dma_mask=)",
        },
    },
}

/// The registers that this driver uses. Those of the DMA may be written by 32 bits.
mod regs {
    use super::register;

    register! {
        pub(super) INTERRUPT_STATUS(u32) @ 0x24 {
            31:0 bits;
        }

        pub(super) INTERRUPT_ACKNOWLEDGE(u32) @ 0x64 {
            31:0 bits;
        }

        pub(super) DMA_SOURCE(u32) @ 0x80 {
            31:0 address;
        }

        pub(super) DMA_DESTINATION(u32) @ 0x88 {
            31:0 address;
        }

        pub(super) DMA_COUNT(u32) @ 0x90 {
            31:0 bytes;
        }

        pub(super) DMA_COMMAND(u32) @ 0x98 {
            0:0 run;
            1:1 from_device;
            2:2 interrupt;
        }
    }

    pub(super) const END: usize = 0xa0;
    /// Where the device's memory is, for its DMA.
    pub(super) const MEMORY: u32 = 0x4_0000;
}

/// How long the device may take, which needs 100 ms of its own time.
const PATIENCE_MS: u32 = 10_000;

/// The two ways of a transfer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToDevice,
    FromDevice,
}

impl Way {
    fn of(direction: u32) -> Result<Self> {
        match direction {
            abi::EDU_DIRECTION_TO_DEVICE => Ok(Self::ToDevice),
            abi::EDU_DIRECTION_FROM_DEVICE => Ok(Self::FromDevice),
            _ => Err(EINVAL),
        }
    }

    fn is_within(self, attached: u32) -> bool {
        attached == abi::EDU_DIRECTION_BIDIRECTIONAL || Self::of(attached) == Ok(self)
    }
}

/// The device as long as its driver is bound, and what is left of it for those who still have the
/// node open.
#[pin_data]
struct Device {
    pci: ARef<pci::Device>,
    bar: Arc<pci::DevresBar<{ regs::END }>>,
    ended: Arc<Ended>,
    #[pin]
    state: Mutex<State>,
}

enum State {
    /// Nobody has the node open.
    Free,
    /// Somebody has, and gave no memory yet.
    Open,
    /// The device may use this memory.
    Attached(Import),
    /// The device did not answer, and does no DMA any more.
    Failed,
    /// The driver is not bound any more.
    Gone,
}

impl Device {
    fn attach(&self, request: &abi::edu_attach) -> Result {
        if request.direction > abi::EDU_DIRECTION_FROM_DEVICE {
            return Err(EINVAL);
        }
        let mut state = self.state.lock();
        match *state {
            State::Failed | State::Gone => return Err(ENODEV),
            // The one before goes first.
            State::Free | State::Open | State::Attached(_) => *state = State::Open,
        }
        *state = State::Attached(Import::new(&self.pci, request.fd, request.direction)?);
        Ok(())
    }

    /// Copies, and returns the address of the first byte for the device.
    fn transfer(&self, request: &abi::edu_transfer) -> Result<u64> {
        let way = Way::of(request.direction)?;
        if request.length == 0 || request.reserved != 0 {
            return Err(EINVAL);
        }
        let within = |start: u64, size: u64| {
            let end = start.checked_add(request.length.into());
            end.filter(|&end| end <= size).map(|_| ()).ok_or(ERANGE)
        };
        within(request.device_offset.into(), abi::EDU_MEMORY.into())?;

        let mut state = self.state.lock();
        let import = match &*state {
            State::Attached(import) => import,
            State::Free | State::Open => return Err(ENODATA),
            State::Failed | State::Gone => return Err(ENODEV),
        };
        within(request.offset, import.size())?;
        if !way.is_within(import.direction()) {
            return Err(EACCES);
        }
        let (first, _) = import.find(request.offset)?;
        let mut done = 0;
        while done < request.length {
            let (address, follow) = import.find(request.offset + u64::from(done))?;
            let length = follow.min((request.length - done).into()) as u32;
            // The mask has at most 32 bits.
            let address = u32::try_from(address)?;
            if let Err(error) = self.run(way, address, request.device_offset + done, length) {
                sys::clear_master(&self.pci);
                dev_err!(
                    self.pci,
                    "no interrupt after {PATIENCE_MS} ms; DMA is off until the driver is bound anew\n"
                );
                *state = State::Failed;
                return Err(error);
            }
            done += length;
        }
        Ok(first)
    }

    /// Copies what is contiguous for the device.
    fn run(&self, way: Way, memory: u32, device_offset: u32, length: u32) -> Result {
        let inside = regs::MEMORY + device_offset;
        let (from, to) = match way {
            Way::ToDevice => (memory, inside),
            Way::FromDevice => (inside, memory),
        };
        let command = regs::DMA_COMMAND::zeroed()
            .with_run(true)
            .with_from_device(way == Way::FromDevice)
            .with_interrupt(true);
        let written = self.bar.try_access_with(|bar| {
            bar.write_reg(regs::DMA_SOURCE::zeroed().with_address(from));
            bar.write_reg(regs::DMA_DESTINATION::zeroed().with_address(to));
            bar.write_reg(regs::DMA_COUNT::zeroed().with_bytes(length));
            // Ordered after what the CPU wrote to memory, as all register writes are.
            bar.write_reg(command);
        });
        written.ok_or(ENODEV)?;
        self.ended.wait(msecs_to_jiffies(PATIENCE_MS))
    }
}

/// Tells that a transfer has ended.
struct Line {
    bar: Arc<pci::DevresBar<{ regs::END }>>,
    ended: Arc<Ended>,
}

impl Handler for Line {
    fn handle(&self) -> IrqReturn {
        let ours = self.bar.try_access_with(|bar| {
            // The read comes after what the device wrote to memory (PCI's ordering).
            let bits = bar.read(regs::INTERRUPT_STATUS).bits();
            if bits != 0 {
                bar.write_reg(regs::INTERRUPT_ACKNOWLEDGE::zeroed().with_bits(bits));
            }
            bits != 0
        });
        match ours {
            Some(true) => {
                self.ended.tell();
                IrqReturn::Handled
            }
            _ => IrqReturn::None,
        }
    }
}

kernel::sync::global_lock! {
    // SAFETY: Initialized with the module, before a device can be bound.
    unsafe(uninit) static BOUND: Mutex<Option<Arc<Device>>> = None;
}

/// The one device that the node is for.
struct Bound(Arc<Device>);

impl Bound {
    fn new(device: Arc<Device>) -> Result<Self> {
        let mut bound = BOUND.lock();
        if bound.is_some() {
            return Err(EBUSY);
        }
        *bound = Some(device.clone());
        Ok(Self(device))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        *BOUND.lock() = None;
        // Waits for a transfer, and unmaps.
        *self.0.state.lock() = State::Gone;
    }
}

/// An open node.
struct Handle(Arc<Device>);

#[vtable]
impl MiscDevice for Handle {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let device = BOUND.lock().clone().ok_or(ENODEV)?;
        let mut state = device.state.lock();
        match *state {
            State::Free => *state = State::Open,
            State::Open | State::Attached(_) => return Err(EBUSY),
            State::Failed | State::Gone => return Err(ENODEV),
        }
        drop(state);
        Ok(KBox::new(Self(device), GFP_KERNEL)?)
    }

    fn ioctl(handle: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let user = UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd));
        match cmd {
            abi::EDU_IOC_ATTACH => handle.0.attach(&user.reader().read()?)?,
            abi::EDU_IOC_TRANSFER => {
                let (mut reader, mut writer) = user.reader_writer();
                let mut request: abi::edu_transfer = reader.read()?;
                request.dma_addr = handle.0.transfer(&request)?;
                writer.write(&request)?;
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if let State::Open | State::Attached(_) = *state {
            *state = State::Free;
        }
    }
}

/// What is there while the driver is bound. Fields go in this order.
#[pin_data]
struct Data<'bound> {
    #[pin]
    _node: MiscDeviceRegistration<Handle>,
    _bound: Bound,
    _interrupt: Interrupt<'bound, Line>,
}

struct Driver;

kernel::pci_device_table!(TABLE, <Driver as pci::Driver>::IdInfo, [(sys::EDU, ())]);

impl pci::Driver for Driver {
    type IdInfo = ();
    type Data<'bound> = Data<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &TABLE;

    fn probe<'bound>(
        pci: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let bits = module_parameters::dma_bits.value();
            if !(1..=32).contains(&bits) {
                dev_err!(pci, "dma_bits={bits}: give 1 to 32\n");
                return Err(EINVAL);
            }
            sys::set_dma_mask(pci, DmaMask::try_new(bits.into())?).inspect_err(|_| {
                dev_err!(
                    pci,
                    "dma_bits={bits}: there is no memory at such addresses; give the device more \
                     (QEMU: -device edu,dma_mask=)\n"
                );
            })?;
            pci.enable_device_mem()?;
            pci.set_master();
            let bar = pci.iomap_region_sized::<{ regs::END }>(0, c"edu")?;
            let bar = Arc::new(bar.into_devres()?, GFP_KERNEL)?;
            let ended = Ended::new()?;
            let line = Line {
                bar: bar.clone(),
                ended: ended.clone(),
            };
            let device = Arc::pin_init(
                pin_init!(Device {
                    pci: pci.into(),
                    bar,
                    ended,
                    state <- new_mutex!(State::Free, "edu::state"),
                }),
                GFP_KERNEL,
            )?;
            Ok(try_pin_init!(Data {
                _interrupt: Interrupt::new(pci, c"edu", line)?,
                _bound: Bound::new(device)?,
                _node <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"edu" }),
            }))
        })
    }
}

#[pin_data]
struct Edu {
    #[pin]
    _driver: driver::Registration<pci::Adapter<Driver>>,
}

impl kernel::InPlaceModule for Edu {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: Once, and nothing is registered yet.
        unsafe { BOUND.init() };
        try_pin_init!(Self {
            _driver <- driver::Registration::new(c"edu", module),
        })
    }
}
