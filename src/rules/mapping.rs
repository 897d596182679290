// SPDX-License-Identifier: GPL-2.0

//! How user mappings are made.

use kernel::prelude::*;

uapi_enum! {
    /// How user mappings are made.
    Mapping {
        /// At once, by page frame number.
        Pfnmap = SHMBUF_MAPPING_PFNMAP "pfnmap",
        /// By fault, and withdrawn while a device owns the buffer.
        Strict = SHMBUF_MAPPING_STRICT "strict",
        /// At once, with a reference to each page.
        Refcounted = SHMBUF_MAPPING_REFCOUNTED "refcounted",
    }
}

#[kunit_tests(shmbuf_mapping)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_one_to_one() {
        for mapping in Mapping::ALL {
            assert_eq!(Mapping::try_from(mapping.name().as_bytes()), Ok(mapping));
            assert_eq!(Mapping::try_from(mapping.to_uapi()), Ok(mapping));
        }
        assert_eq!(Mapping::try_from(3u32), Err(EINVAL));
        assert_eq!(Mapping::try_from(&b""[..]), Err(EINVAL));
    }
}
