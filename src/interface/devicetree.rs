// SPDX-License-Identifier: GPL-2.0

//! Named buffers of device-tree nodes with `compatible = "shmbuf,buffer"`. The
//! binding is Documentation/devicetree/bindings/shmbuf,buffer.yaml.

use super::{
    driver::Driver,
    named::Named, //
};
use crate::{
    buffer::object::Kept,
    memory::allocator::{
        declared_policy,
        Source, //
    },
    rules::{
        direction::Direction,
        failure::{
            Failure,
            Invalid, //
        },
        kind::Kind,
        machine::Contents,
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
        compat::of_device_table,
        dma_device::{
            self,
            DmaDevice, //
        },
        global,
        io_region::{
            IoRange,
            Width, //
        },
        reserved_memory, //
    },
};
use kernel::{
    device::{
        property::FwNode,
        Core,
        Device, //
    },
    dma::DmaMask,
    of, platform,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        Arc, //
    },
};

/// The buffer of a node. Memory and range belong to it and not to the node's device, which may be
/// unbound at any time.
pub(crate) struct Bound {
    _named: Pin<KBox<Named>>,
}

of_device_table!(
    OF_TABLE,
    <Bound as platform::Driver>::IdInfo,
    [(of::DeviceId::new(c"shmbuf,buffer"), ())]
);

impl platform::Driver for Bound {
    type IdInfo = ();
    type Data<'bound> = Self;
    const OF_ID_TABLE: Option<of::IdTable<Self::IdInfo>> = Some(&OF_TABLE);

    fn probe<'bound>(
        node: &'bound platform::Device<Core<'_>>,
        _id: Option<&'bound ()>,
    ) -> impl PinInit<Self, Error> + 'bound {
        Self::new(node)
    }
}

impl Bound {
    fn new(node: &platform::Device<Core<'_>>) -> Result<Self> {
        let device: &Device = node.as_ref();
        let properties = Properties {
            device,
            fwnode: device.fwnode().ok_or(ENODEV)?,
        };
        let label: CString = properties
            .fwnode
            .property_read(c"label")
            .required_by(device)?;
        let name = Name::new(&label).inspect_err(|_| {
            let setting = Setting {
                name: "label",
                text: label.to_bytes(),
            };
            dev_err!(device, "{}\n", setting.refused(Reason::NoName));
        })?;
        let kind = properties
            .word(c"shmbuf,kind", |setting| setting.kind())?
            .unwrap_or(Kind::Pages);
        let bits = properties.mask_bits()?;
        let mask = bits.map(DmaMask::try_new).transpose()?;

        let said = |failure: Failure| {
            dev_err!(device, "{failure}\n");
            Error::from(failure)
        };
        let no_device = |error| said(Failure::of_device(error, bits));
        let other = properties.other_device()?;
        if other.is_some() && !kind.is_for_a_device() {
            return Err(said(Failure::Invalid(Invalid::Device(kind))));
        }
        let new_device = || {
            let made = match &other {
                Some(other) => DmaDevice::of_device(mask, other),
                None => DmaDevice::of_node(mask, device),
            };
            made.map_err(no_device)
        };

        let has_memory_region = properties.fwnode.property_present(c"memory-region");
        let (dma_device, source, size) = if kind == Kind::Region {
            let range = properties.io_range(node, has_memory_region)?;
            let contents = match has_memory_region || properties.fwnode.property_present(IS_MEMORY)
            {
                true => Contents::Memory,
                false => Contents::Registers,
            };
            (
                new_device()?,
                Source::Region(range, contents),
                Some(range.size() as u64),
            )
        } else if has_memory_region {
            let dma_device = DmaDevice::with_reserved_memory(mask, device, other.as_deref())
                .map_err(no_device)?;
            let (_, size) = reserved_memory::range(device)?;
            (dma_device, Source::Allocated, Some(size))
        } else {
            (new_device()?, Source::Allocated, None)
        };

        let size = match properties
            .fwnode
            .property_read::<u64>(c"shmbuf,size")
            .optional()
        {
            Some(size) if kind != Kind::Region => size,
            Some(_) => return Err(properties.refused("shmbuf,size", "kind region has that of reg")),
            None => size
                .ok_or_else(|| properties.refused("shmbuf,size", "wanted without memory-region"))?,
        };
        // Its former name is in older device trees.
        let policy = match properties.word(c"shmbuf,policy", |setting| setting.policy())? {
            Some(policy) => policy,
            None => properties
                .word(c"shmbuf,cache", |setting| setting.policy())?
                .flatten(),
        };
        let is_cached = policy.is_some_and(Policy::is_cached);
        if kind == Kind::Region && is_cached && properties.fwnode.property_present(WIDTH) {
            let reason = "what is cached is not accessed by so many bytes at a time; leave it out";
            return Err(properties.refused("reg-io-width", reason));
        }
        let spec = Spec {
            size,
            kind,
            policy: policy.or(declared_policy(&dma_device)),
            mapping: properties
                .word(c"shmbuf,mapping", |setting| setting.mapping())?
                .unwrap_or(Mapping::Pfnmap),
            direction: properties
                .word(c"shmbuf,direction", |setting| setting.direction())?
                .unwrap_or(Direction::Bidirectional),
            align: 0,
            boundary: 0,
        };
        let named = global::get::<Arc<Driver>>()?
            .publish(Some(name), &spec, dma_device, source, Kept::Nothing)
            .map_err(said)?;
        Ok(Self { _named: named })
    }
}

/// The property that says how many bytes an access to registers has.
const WIDTH: &CStr = c"reg-io-width";

/// The property that says that `reg` is memory, and not registers.
const IS_MEMORY: &CStr = c"shmbuf,memory";

/// The property that refers to the device of another node.
const OTHER_DEVICE: &CStr = c"shmbuf,device";

/// The properties of a node.
struct Properties<'a> {
    device: &'a Device,
    fwnode: &'a FwNode,
}

impl Properties<'_> {
    fn refused(&self, property: &str, reason: &str) -> Error {
        dev_err!(self.device, "{property}: {reason}\n");
        EINVAL
    }

    /// What `parse` makes of the string `property`, if there is one.
    fn word<T>(
        &self,
        property: &CStr,
        parse: impl FnOnce(Setting<'_>) -> Result<T, BadSetting<'_>>,
    ) -> Result<Option<T>> {
        let Some(text) = self.fwnode.property_read::<CString>(property).optional() else {
            return Ok(None);
        };
        let setting = Setting {
            name: property.to_str()?,
            text: text.to_bytes(),
        };
        parse(setting).map(Some).map_err(|bad| {
            dev_err!(self.device, "{bad}\n");
            Error::from(bad)
        })
    }

    fn mask_bits(&self) -> Result<Option<u32>> {
        let bits = self.fwnode.property_read::<u32>(c"shmbuf,dma-mask-bits");
        match bits.optional() {
            None => Ok(None),
            Some(bits @ 1..=64) => Ok(Some(bits)),
            Some(_) => Err(self.refused("shmbuf,dma-mask-bits", "wanted 1 to 64")),
        }
    }

    /// The device that the buffer is for, if it is not the node's own.
    fn other_device(&self) -> Result<Option<ARef<Device>>> {
        if !self.fwnode.property_present(OTHER_DEVICE) {
            return Ok(None);
        }
        if self.fwnode.property_present(c"dma-coherent") {
            let reason = "the node of shmbuf,device tells whether that one snoops; leave it out";
            return Err(self.refused("dma-coherent", reason));
        }
        let found = dma_device::find_referred(self.device, OTHER_DEVICE);
        found.map(Some).map_err(|error| {
            let reason = match error {
                ENOENT => "it refers to no node",
                ENODEV => "the node that it refers to is disabled",
                error => return error,
            };
            dev_err!(self.device, "shmbuf,device: {reason}\n");
            error
        })
    }

    /// The device memory of kind region.
    fn io_range(
        &self,
        node: &platform::Device<Core<'_>>,
        has_memory_region: bool,
    ) -> Result<IoRange> {
        let bits = self.fwnode.property_read::<u32>(WIDTH).or(4);
        let width = Width::new(bits)
            .ok_or_else(|| self.refused("reg-io-width", "wanted 1, 2, 4, or 8 on 64 bits"))?;
        let range = match has_memory_region {
            true => IoRange::of_reserved_memory(node, width),
            false => IoRange::of_resource(node, 0, width),
        };
        range.map_err(|error| match error {
            ENODEV if !has_memory_region => {
                self.refused("reg", "kind region wants it, or memory-region")
            }
            EINVAL => self.refused("reg", "it must begin at a page"),
            error => error,
        })
    }
}
