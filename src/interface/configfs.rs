// SPDX-License-Identifier: GPL-2.0

//! Named buffers made by mkdir in /sys/kernel/config/shmbuf/: set the
//! attributes, write 1 to `enable`.

use super::{
    driver::Driver,
    named::Named, //
};
use crate::{
    buffer::object::Kept,
    memory::allocator::Source,
    rules::{
        decimal::Decimal,
        direction::Direction,
        failure::Failure,
        kind::Kind,
        mapping::Mapping,
        name::Name,
        policy::Policy,
        size::parse_size,
        spec::Spec, //
    },
    sys::{
        configfs::{
            InUse,
            Keepable, //
        },
        dma_device::DmaDevice, //
    },
};
use kernel::{
    configfs::{
        AttributeOperations,
        Group,
        GroupOperations,
        Subsystem, //
    },
    configfs_attrs,
    dma::DmaMask,
    fmt::{
        self,
        Write, //
    },
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    str::{
        kstrtobool_bytes,
        CString,
        Formatter, //
    },
    sync::{
        Arc,
        Mutex, //
    },
};

/// The folder of all named buffers.
pub(crate) struct Root {
    driver: Arc<Driver>,
}

impl Root {
    /// Makes /sys/kernel/config/shmbuf. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(driver: Arc<Driver>) -> impl PinInit<Subsystem<Self>, Error> {
        let attributes = configfs_attrs! {
            container: Subsystem<Root>,
            data: Root,
            child: KeptFolder,
            attributes: [],
        };
        Subsystem::new(c"shmbuf", attributes, Ok(Self { driver }))
    }
}

#[vtable]
impl GroupOperations for Root {
    type Child = KeptFolder;

    fn make_group(&self, name: &CStr) -> Result<impl PinInit<Group<KeptFolder>, Error>> {
        let attributes = configfs_attrs! {
            container: Group<KeptFolder>,
            data: KeptFolder,
            attributes: [
                size: 0,
                kind: 1,
                cache: 2,
                mapping: 3,
                direction: 4,
                dma_mask_bits: 5,
                enable: 6,
            ],
        };
        let folder = Folder::new(self.driver.clone(), Name::new(name)?);
        Keepable::group(CString::try_from(name)?, attributes, folder)
    }
}

/// The folder of a buffer.
#[pin_data]
pub(crate) struct Folder {
    driver: Arc<Driver>,
    name: Name,
    #[pin]
    state: Mutex<State>,
}

/// A folder that stays as long as anybody uses its buffer.
type KeptFolder = Keepable<Folder>;

struct State {
    spec: Spec,
    mask_bits: Option<u32>,
    enabled: Option<Pin<KBox<Named>>>,
}

impl Folder {
    fn new(driver: Arc<Driver>, name: Name) -> impl PinInit<Self, Error> {
        let state = State {
            spec: Spec {
                size: 1 << 20,
                kind: Kind::Pages,
                policy: None,
                mapping: Mapping::Pfnmap,
                direction: Direction::Bidirectional,
                align: 0,
                boundary: 0,
            },
            mask_bits: None,
            enabled: None,
        };
        try_pin_init!(Self {
            driver,
            name,
            state <- new_mutex!(state, "shmbuf::configfs"),
        })
    }

    /// Shows what `f` writes, and a newline.
    fn show(
        &self,
        page: &mut [u8; PAGE_SIZE],
        f: impl FnOnce(&State, &mut Formatter<'_>) -> fmt::Result,
    ) -> Result<usize> {
        let mut text = Formatter::new(page);
        f(&self.state.lock(), &mut text)?;
        text.write_str("\n")?;
        Ok(text.bytes_written())
    }

    /// Changes what the buffer shall be.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] while it is enabled, and what `f` says.
    fn change(&self, f: impl FnOnce(&mut State) -> Result) -> Result {
        let mut state = self.state.lock();
        if state.enabled.is_some() {
            return Err(EBUSY);
        }
        f(&mut state)
    }

    /// Makes the buffer and its node, or takes the node away. The folder stays as long as anybody
    /// uses the buffer.
    ///
    /// # Errors
    ///
    /// Those of [`Driver::publish`], [`EIO`] if the DMA mask is too small, and [`ENOENT`] if the
    /// folder is being removed. The reason is in the log.
    fn enable(folder: &KeptFolder, enable: bool) -> Result {
        let mut state = folder.state.lock();
        match (enable, &state.enabled) {
            (true, None) => {
                state.enabled = Some(Self::publish(folder, &state).map_err(|failure| {
                    pr_err!("{}: {failure}\n", folder.name);
                    Error::from(failure)
                })?);
            }
            (false, Some(_)) => state.enabled = None,
            _ => {}
        }
        Ok(())
    }

    fn publish(folder: &KeptFolder, state: &State) -> Result<Pin<KBox<Named>>, Failure> {
        let mask = state.mask_bits.map(DmaMask::try_new).transpose()?;
        folder.driver.publish(
            Some(folder.name.try_clone()?),
            &state.spec,
            DmaDevice::new(mask).map_err(Failure::of_device)?,
            Source::Allocated,
            Kept::Folder(InUse::new(folder).map_err(|_| Failure::Removed)?),
        )
    }
}

#[vtable]
impl AttributeOperations<0> for KeptFolder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show(page, |state, text| {
            text.write_fmt(fmt!("{}", Decimal(state.spec.size)))
        })
    }

    fn store(folder: &Self, text: &[u8]) -> Result {
        folder.change(|state| {
            state.spec.size = parse_size(text.trim_ascii()).ok_or(EINVAL)?;
            Ok(())
        })
    }
}

#[vtable]
impl AttributeOperations<1> for KeptFolder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show(page, |state, text| text.write_str(state.spec.kind.name()))
    }

    fn store(folder: &Self, text: &[u8]) -> Result {
        folder.change(|state| {
            state.spec.kind = Kind::try_from(text.trim_ascii())?;
            Ok(())
        })
    }
}

#[vtable]
impl AttributeOperations<2> for KeptFolder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show(page, |state, text| {
            text.write_str(state.spec.policy.map_or("default", Policy::name))
        })
    }

    fn store(folder: &Self, text: &[u8]) -> Result {
        folder.change(|state| {
            state.spec.policy = Policy::or_default(text.trim_ascii()).ok_or(EINVAL)?;
            Ok(())
        })
    }
}

#[vtable]
impl AttributeOperations<3> for KeptFolder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show(page, |state, text| {
            text.write_str(state.spec.mapping.name())
        })
    }

    fn store(folder: &Self, text: &[u8]) -> Result {
        folder.change(|state| {
            state.spec.mapping = Mapping::try_from(text.trim_ascii())?;
            Ok(())
        })
    }
}

#[vtable]
impl AttributeOperations<4> for KeptFolder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show(page, |state, text| {
            text.write_str(state.spec.direction.name())
        })
    }

    fn store(folder: &Self, text: &[u8]) -> Result {
        folder.change(|state| {
            state.spec.direction = Direction::try_from(text.trim_ascii())?;
            Ok(())
        })
    }
}

#[vtable]
impl AttributeOperations<5> for KeptFolder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show(page, |state, text| match state.mask_bits {
            Some(bits) => text.write_fmt(fmt!("{bits}")),
            None => text.write_str("default"),
        })
    }

    fn store(folder: &Self, text: &[u8]) -> Result {
        folder.change(|state| {
            state.mask_bits = match text.trim_ascii() {
                b"default" => None,
                text => Some(
                    parse_size(text)
                        .and_then(|bits| u32::try_from(bits).ok())
                        .filter(|bits| (1..=64).contains(bits))
                        .ok_or(EINVAL)?,
                ),
            };
            Ok(())
        })
    }
}

#[vtable]
impl AttributeOperations<6> for KeptFolder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show(page, |state, text| {
            text.write_str(if state.enabled.is_some() { "1" } else { "0" })
        })
    }

    fn store(folder: &Self, text: &[u8]) -> Result {
        Folder::enable(folder, kstrtobool_bytes(text)?)
    }
}
