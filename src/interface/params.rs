// SPDX-License-Identifier: GPL-2.0

//! The module parameters, understood. Pure logic but for where they come from.

use crate::{
    rules::{
        direction::Direction,
        setting::{
            BadSetting,
            Setting, //
        },
        spec::Spec, //
    },
    sys, //
};
use kernel::prelude::*;

/// What the default buffer shall be, by the parameters that the module was loaded with.
pub(crate) fn given() -> Result<Spec, BadSetting<'static>> {
    parse(
        sys::params::size(),
        sys::params::kind(),
        sys::params::policy(),
        sys::params::mapping(),
    )
}

/// The name of the device of the machine that the default buffer is for, if it is for one.
pub(crate) fn device() -> Result<Option<&'static CStr>, BadSetting<'static>> {
    let name = sys::params::device();
    let setting = Setting {
        name: "device",
        text: name.to_bytes(),
    };
    Ok(setting.names_device()?.then_some(name))
}

fn parse<'a>(
    size: &'a [u8],
    kind: &'a [u8],
    policy: &'a [u8],
    mapping: &'a [u8],
) -> Result<Spec, BadSetting<'a>> {
    let setting = |name, text| Setting { name, text };
    Ok(Spec {
        size: setting("size", size).size()?,
        kind: setting("kind", kind).kind_of_default()?,
        policy: setting("policy", policy).policy()?,
        mapping: setting("mapping", mapping).mapping()?,
        direction: Direction::Bidirectional,
        align: 0,
        boundary: 0,
    })
}

#[kunit_tests(shmbuf_params)]
mod tests {
    use super::*;
    use crate::rules::{
        kind::Kind,
        mapping::Mapping,
        policy::Policy, //
    };

    #[test]
    fn good_parameters() {
        let spec = parse(b"4M", b"coherent", b"writecombine", b"pfnmap");
        assert_eq!(
            spec,
            Ok(Spec {
                size: 4 << 20,
                kind: Kind::Coherent,
                policy: Some(Policy::Writecombine),
                mapping: Mapping::Pfnmap,
                direction: Direction::Bidirectional,
                align: 0,
                boundary: 0,
            })
        );
        let spec = parse(b"1M", b"pages", b"default", b"pfnmap");
        assert_eq!(spec.map(|spec| spec.policy), Ok(None));
    }

    #[test]
    fn bad_parameters() {
        for (size, kind, policy, mapping, bad) in [
            (
                &b"big"[..],
                &b"pages"[..],
                &b"default"[..],
                &b"pfnmap"[..],
                "size",
            ),
            (b"1M", b"page", b"default", b"pfnmap", "kind"),
            (b"1M", b"", b"default", b"pfnmap", "kind"),
            (b"1M", b"pool", b"default", b"pfnmap", "kind"),
            (b"1M", b"pages", b"uncached", b"pfnmap", "policy"),
            (b"1M", b"pages", b"", b"pfnmap", "policy"),
            (b"1M", b"pages", b"default", b"pfn", "mapping"),
        ] {
            let found = parse(size, kind, policy, mapping).err();
            assert_eq!(found.map(|bad| bad.setting.name), Some(bad));
        }
    }
}
