// SPDX-License-Identifier: GPL-2.0

//! Named buffers made by mkdir in /sys/kernel/config/shmbuf/: set the
//! attributes, write 1 to `enable`.

use super::{
    driver::{
        self,
        Driver, //
    },
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
        setting::{
            BadSetting,
            Reason,
            Setting, //
        },
        spec::Spec, //
    },
    sys::{
        compat::configfs_attrs,
        configfs::{
            InUse,
            Keepable, //
        },
        global, //
    },
};
use kernel::{
    configfs::{
        AttributeOperations,
        Group,
        GroupOperations,
        Subsystem, //
    },
    fmt::{
        self,
        Write, //
    },
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    str::{
        kstrtobool_bytes,
        BStr,
        CString,
        Formatter, //
    },
    sync::{
        Arc,
        Mutex, //
    },
};

/// The folder of all named buffers. It has no data of its own: in Linux 7.2 the kernel crate takes
/// that from a wrong place for a subsystem's folder.
pub(crate) struct Root;

impl Root {
    /// Makes /sys/kernel/config/shmbuf. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new() -> impl PinInit<Subsystem<Self>, Error> {
        let attributes = configfs_attrs! {
            container: Subsystem<Root>,
            data: Root,
            child: KeptFolder,
            attributes: [],
        };
        Subsystem::new(c"shmbuf", attributes, Ok(Self))
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
                policy: 2,
                mapping: 3,
                direction: 4,
                dma_mask_bits: 5,
                enable: 6,
                cache: 7,
                device: 8,
            ],
        };
        let as_name = Name::new(name).inspect_err(|_| {
            let setting = Setting {
                name: "name",
                text: name.to_bytes(),
            };
            pr_err!("mkdir: {}\n", setting.refused(Reason::NoName));
        })?;
        let folder = Folder::new(global::get()?, as_name);
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
    /// The name of the device of the machine that it is for.
    device: Option<CString>,
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
            device: None,
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

    /// Changes what the buffer shall be, by the `text` that was written to the attribute `name`.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] while it is enabled, [`EINVAL`] if `set` does not understand the text. The reason
    /// is in the log.
    fn change<'a>(
        &self,
        name: &'static str,
        text: &'a [u8],
        set: impl FnOnce(&mut State, Setting<'a>) -> Result<(), BadSetting<'a>>,
    ) -> Result {
        let setting = Setting {
            name,
            text: text.trim_ascii(),
        };
        let mut state = self.state.lock();
        let done = match state.enabled {
            Some(_) => Err(setting.refused(Reason::Enabled)),
            None => set(&mut state, setting),
        };
        done.map_err(|bad| self.said(bad))
    }

    /// Puts the reason for which an attribute is refused into the log.
    fn said(&self, bad: BadSetting<'_>) -> Error {
        pr_err!("{}: {bad}\n", self.name);
        bad.into()
    }

    /// Makes the buffer and its node, or takes the node away. The folder stays as long as anybody
    /// uses the buffer.
    ///
    /// # Errors
    ///
    /// Those of [`Driver::publish`] and [`driver::dma_device`], and [`ENOENT`] if the folder is being
    /// removed. The reason is in the log.
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
        folder.driver.publish(
            Some(folder.name.try_clone()?),
            &state.spec,
            driver::dma_device(state.device.as_deref(), state.mask_bits, state.spec.kind)?,
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
        folder.change("size", text, |state, setting| {
            state.spec.size = setting.size()?;
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
        folder.change("kind", text, |state, setting| {
            state.spec.kind = setting.kind()?;
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
        folder.change("policy", text, |state, setting| {
            state.spec.policy = setting.policy()?;
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
        folder.change("mapping", text, |state, setting| {
            state.spec.mapping = setting.mapping()?;
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
        folder.change("direction", text, |state, setting| {
            state.spec.direction = setting.direction()?;
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
        folder.change("dma_mask_bits", text, |state, setting| {
            state.mask_bits = setting.mask_bits()?;
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
        let setting = Setting {
            name: "enable",
            text: text.trim_ascii(),
        };
        let enable = kstrtobool_bytes(setting.text)
            .map_err(|_| folder.said(setting.refused(Reason::NoSwitch)))?;
        Folder::enable(folder, enable)
    }
}

/// Another name of `policy`, for scripts.
#[vtable]
impl AttributeOperations<7> for KeptFolder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        <Self as AttributeOperations<2>>::show(folder, page)
    }

    fn store(folder: &Self, text: &[u8]) -> Result {
        <Self as AttributeOperations<2>>::store(folder, text)
    }
}

#[vtable]
impl AttributeOperations<8> for KeptFolder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show(page, |state, text| match &state.device {
            Some(name) => text.write_fmt(fmt!("{}", BStr::from_bytes(name.to_bytes()))),
            None => text.write_str("default"),
        })
    }

    fn store(folder: &Self, text: &[u8]) -> Result {
        let name = CString::try_from_fmt(fmt!("{}", BStr::from_bytes(text.trim_ascii())))?;
        folder.change("device", text, |state, setting| {
            state.device = setting.names_device()?.then_some(name);
            Ok(())
        })
    }
}
