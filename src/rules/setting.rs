// SPDX-License-Identifier: GPL-2.0

//! What an administrator writes to say what a buffer shall be: module parameters, attributes in
//! configfs, properties in the device tree. All three refuse a text with the same sentence.

use super::{
    direction::Direction,
    kind::Kind,
    mapping::Mapping,
    policy::Policy,
    size::parse_size,
    uapi_enum::Words, //
};
use kernel::{
    fmt::{
        self,
        Write, //
    },
    prelude::*,
};

/// A setting of a buffer, as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting<'a> {
    /// The name of the parameter, attribute or property.
    pub(crate) name: &'a str,
    /// Its value.
    pub(crate) text: &'a [u8],
}

/// Each function understands the text as a value of one type, or says why it is none.
impl<'a> Setting<'a> {
    /// A number of bytes.
    pub(crate) fn size(self) -> Result<u64, BadSetting<'a>> {
        parse_size(self.text).ok_or(self.refused(Reason::NoSize))
    }

    /// Any kind.
    pub(crate) fn kind(self) -> Result<Kind, BadSetting<'a>> {
        self.word()
    }

    /// A kind that the default buffer can have.
    pub(crate) fn kind_of_default(self) -> Result<Kind, BadSetting<'a>> {
        const KINDS: [&str; 4] = [
            Kind::Pages.name(),
            Kind::Coherent.name(),
            Kind::Streaming.name(),
            Kind::Scatter.name(),
        ];

        match Kind::try_from(self.text) {
            Ok(Kind::Pool) => {
                Err(self.refused(Reason::Only("ALLOC, configfs and the device tree")))
            }
            Ok(Kind::Region) => Err(self.refused(Reason::Only("the device tree"))),
            Ok(kind) => Ok(kind),
            Err(_) => Err(self.refused(Reason::Choose(&KINDS))),
        }
    }

    /// A policy, or none for the one that suits the kind.
    pub(crate) fn policy(self) -> Result<Option<Policy>, BadSetting<'a>> {
        match self.text {
            DEFAULT => Ok(None),
            name => Policy::try_from(name)
                .map(Some)
                .map_err(|_| self.refused(Reason::ChooseOrDefault(Policy::WORDS))),
        }
    }

    /// A way of mapping.
    pub(crate) fn mapping(self) -> Result<Mapping, BadSetting<'a>> {
        self.word()
    }

    /// A direction.
    pub(crate) fn direction(self) -> Result<Direction, BadSetting<'a>> {
        self.word()
    }

    /// The address bits of a device, or none for a device that reaches all memory.
    pub(crate) fn mask_bits(self) -> Result<Option<u32>, BadSetting<'a>> {
        match self.text {
            DEFAULT => Ok(None),
            text => parse_size(text)
                .and_then(|bits| u32::try_from(bits).ok())
                .filter(|bits| (1..=64).contains(bits))
                .map(Some)
                .ok_or(self.refused(Reason::NoMask)),
        }
    }

    /// Whether it is the name of a device of the machine, with its bus or without, and not that for
    /// a device of the driver's own.
    pub(crate) fn names_device(self) -> Result<bool, BadSetting<'a>> {
        const BUSES: [&[u8]; 3] = [b"platform/", b"pci/", b"amba/"];

        let mut buses = BUSES.into_iter();
        let without_bus = buses.find_map(|bus| self.text.strip_prefix(bus));
        let is_good = |byte: &u8| byte.is_ascii_graphic() && *byte != b'/';
        match without_bus.unwrap_or(self.text) {
            DEFAULT if without_bus.is_none() => Ok(false),
            name @ [_, ..] if name.iter().all(is_good) => Ok(true),
            _ => Err(self.refused(Reason::NoDevice)),
        }
    }

    /// The value of a name.
    fn word<T>(self) -> Result<T, BadSetting<'a>>
    where
        T: Words + TryFrom<&'a [u8]>,
    {
        T::try_from(self.text).map_err(|_| self.refused(Reason::Choose(T::WORDS)))
    }

    /// The text refused for a reason that the caller has found.
    pub(crate) fn refused(self, reason: Reason) -> BadSetting<'a> {
        BadSetting {
            setting: self,
            reason,
        }
    }
}

/// What stands for no value of one's own.
const DEFAULT: &[u8] = b"default";

/// Why a setting is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It is none of these words.
    Choose(&'static [&'static str]),
    /// It is none of these words, and not `default`.
    ChooseOrDefault(&'static [&'static str]),
    /// It is a value that only others can have.
    Only(&'static str),
    /// It is no number of bytes.
    NoSize,
    /// It is no number of address bits.
    NoMask,
    /// It is neither yes nor no.
    NoSwitch,
    /// It is no name of a buffer.
    NoName,
    /// It is no name of a device.
    NoDevice,
    /// The buffer exists, and does not change.
    Enabled,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Choose(words) => choose(f, words, None),
            Self::ChooseOrDefault(words) => choose(f, words, Some("default")),
            Self::Only(others) => f.write_fmt(fmt!("this value is for {others}")),
            Self::NoSize => f.write_str(
                "write a decimal number of bytes, with an optional suffix K, M or G in upper or \
                 lower case",
            ),
            Self::NoMask => f.write_str("write a number from 1 to 64, or default"),
            Self::NoSwitch => f.write_str("write 1 or 0"),
            Self::NoName => f.write_str(
                "a name is 1 to 31 letters, digits, '_', '-' and '.', begins with a letter or \
                 digit, and is not default or private",
            ),
            Self::NoDevice => f.write_str(
                "write the name that a device has in /sys/bus/platform/devices, /sys/bus/pci/devices \
                 or /sys/bus/amba/devices, also as platform/NAME, pci/NAME or amba/NAME, or default",
            ),
            Self::Enabled => f.write_str("the buffer is enabled; write 0 to enable first"),
        }
    }
}

/// Shows the words to choose from, the last after an "or".
fn choose(f: &mut fmt::Formatter<'_>, words: &[&str], more: Option<&str>) -> fmt::Result {
    // As a method it could be that of an initializer.
    let all = || Iterator::chain(words.iter().copied(), more);
    let last = all().count() - 1;
    for (number, word) in all().enumerate() {
        let before = match number {
            0 => "choose ",
            _ if number == last => " or ",
            _ => ", ",
        };
        f.write_fmt(fmt!("{before}{word}"))?;
    }
    Ok(())
}

/// How many bytes of a refused text are shown: a line of the kernel log holds some hundred.
const MOST_SHOWN: usize = 64;

/// A setting that is refused, and why: [`EBUSY`] if the buffer exists, else [`EINVAL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadSetting<'a> {
    /// What was written.
    pub(crate) setting: Setting<'a>,
    /// Why it is refused.
    pub(crate) reason: Reason,
}

impl From<BadSetting<'_>> for Error {
    fn from(bad: BadSetting<'_>) -> Self {
        match bad.reason {
            Reason::Enabled => EBUSY,
            _ => EINVAL,
        }
    }
}

impl fmt::Display for BadSetting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_fmt(fmt!("{}=", self.setting.name))?;
        let text = self.setting.text;
        let shown = &text[..text.len().min(MOST_SHOWN)];
        for byte in shown.escape_ascii() {
            f.write_char(byte.into())?;
        }
        if shown.len() < text.len() {
            f.write_str("...")?;
        }
        f.write_fmt(fmt!(": {}", self.reason))
    }
}

#[kunit_tests(shmbuf_setting)]
mod tests {
    use super::*;
    use kernel::str::CString;

    fn setting(text: &[u8]) -> Setting<'_> {
        Setting { name: "x", text }
    }

    #[test]
    fn words_are_understood() {
        assert_eq!(setting(b"64m").size(), Ok(64 << 20));
        assert_eq!(setting(b"pool").kind(), Ok(Kind::Pool));
        assert_eq!(setting(b"scatter").kind_of_default(), Ok(Kind::Scatter));
        assert_eq!(setting(b"default").policy(), Ok(None));
        let policy = setting(b"noncached").policy();
        assert_eq!(policy, Ok(Some(Policy::Noncached)));
        assert_eq!(setting(b"strict").mapping(), Ok(Mapping::Strict));
        let direction = setting(b"to-device").direction();
        assert_eq!(direction, Ok(Direction::ToDevice));
        assert_eq!(setting(b"default").mask_bits(), Ok(None));
        assert_eq!(setting(b"64").mask_bits(), Ok(Some(64)));
        assert_eq!(setting(b"default").names_device(), Ok(false));
        for text in [&b"0000:00:02.0"[..], b"pci/0000:00:02.0", b"amba/default"] {
            assert_eq!(setting(text).names_device(), Ok(true));
        }
        for text in [&b""[..], b"a/b", b"a b", b"\0", b"pci/", b"pci/a/b"] {
            let bad = setting(text).names_device().unwrap_err();
            assert_eq!((bad.setting.text, bad.reason), (text, Reason::NoDevice));
        }
    }

    fn says<T>(result: Result<T, BadSetting<'_>>, sentence: &CStr) -> bool {
        let text = result
            .err()
            .map(|bad| CString::try_from_fmt(fmt!("{bad}")).unwrap());
        text.is_some_and(|text| &*text == sentence)
    }

    #[test]
    fn a_long_text_does_not_hide_the_reason() {
        let text = [b'y'; 4095];
        let bad = setting(&text).mask_bits().unwrap_err();
        let said = CString::try_from_fmt(fmt!("{bad}")).unwrap();
        let (shown, reason) = said.to_bytes().split_at(2 + MOST_SHOWN);
        assert!(shown.starts_with(b"x=") && shown.ends_with(&text[..MOST_SHOWN]));
        assert_eq!(reason, b"...: write a number from 1 to 64, or default");
    }

    #[test]
    fn what_is_refused_is_repeated_with_the_choices() {
        let size = c"x=0x1000: write a decimal number of bytes, with an optional suffix K, M or G \
            in upper or lower case";
        assert!(says(setting(b"0x1000").size(), size));
        let kind = c"x=page: choose pages, coherent, streaming, scatter, pool or region";
        assert!(says(setting(b"page").kind(), kind));
        let kind = c"x=: choose pages, coherent, streaming or scatter";
        assert!(says(setting(b"").kind_of_default(), kind));
        let kind = c"x=pool: this value is for ALLOC, configfs and the device tree";
        assert!(says(setting(b"pool").kind_of_default(), kind));
        let kind = c"x=region: this value is for the device tree";
        assert!(says(setting(b"region").kind_of_default(), kind));
        let policy = c"x=a\\nb: choose writeback, writethrough, writecombine, noncached or default";
        assert!(says(setting(b"a\nb").policy(), policy));
        let mapping = c"x=default: choose pfnmap, strict or refcounted";
        assert!(says(setting(b"default").mapping(), mapping));
        let direction = c"x=both: choose bidirectional, to-device or from-device";
        assert!(says(setting(b"both").direction(), direction));
        for text in [&b"0"[..], b"65", b"4294967328", b"x"] {
            let bad = setting(text).mask_bits().unwrap_err();
            assert_eq!((bad.setting.text, bad.reason), (text, Reason::NoMask));
        }
    }
}
