// SPDX-License-Identifier: GPL-2.0

//! Enums of the uAPI.

/// A type whose values have names.
pub(crate) trait Words: Sized {
    /// The names of all values, in the order of the uAPI.
    const WORDS: &'static [&'static str];
}

/// Makes an enum of values that have a number in `include/uapi/shmbuf.h`, and a name in parameters
/// and reports. One line for each value is all there is to say.
macro_rules! uapi_enum {
    (
        $(#[$type_doc:meta])*
        $type:ident {
            $($(#[$value_doc:meta])* $value:ident = $number:ident $name:literal,)+
        }
    ) => {
        $(#[$type_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $type {
            $($(#[$value_doc])* $value,)+
        }

        impl $type {
            /// All values, in the order of the uAPI.
            pub(crate) const ALL: [Self; [$($name),+].len()] = [$(Self::$value),+];

            /// The number in the uAPI.
            pub(crate) fn to_uapi(self) -> u32 {
                match self {
                    $(Self::$value => $crate::rules::uapi::$number,)+
                }
            }

            /// The name in parameters and reports.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }
        }

        impl $crate::rules::uapi_enum::Words for $type {
            const WORDS: &'static [&'static str] = &[$($name),+];
        }

        /// The value of a number in the uAPI; [`EINVAL`] for any other.
        impl TryFrom<u32> for $type {
            type Error = Error;

            fn try_from(number: u32) -> Result<Self> {
                let mut values = Self::ALL.into_iter();
                values.find(|value| value.to_uapi() == number).ok_or(EINVAL)
            }
        }

        /// The value of a name in parameters; [`EINVAL`] for any other.
        impl TryFrom<&[u8]> for $type {
            type Error = Error;

            fn try_from(name: &[u8]) -> Result<Self> {
                let mut values = Self::ALL.into_iter();
                values.find(|value| value.name().as_bytes() == name).ok_or(EINVAL)
            }
        }

        impl kernel::fmt::Display for $type {
            fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
