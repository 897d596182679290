// SPDX-License-Identifier: GPL-2.0

//! What devices do with a buffer.

use kernel::{
    dma::DataDirection,
    prelude::*, //
};

uapi_enum! {
    /// What devices do with a buffer.
    Direction {
        /// Devices read and write.
        Bidirectional = SHMBUF_DIRECTION_BIDIRECTIONAL "bidirectional",
        /// Devices read.
        ToDevice = SHMBUF_DIRECTION_TO_DEVICE "to-device",
        /// Devices write.
        FromDevice = SHMBUF_DIRECTION_FROM_DEVICE "from-device",
    }
}

impl Direction {
    /// What the DMA API calls it.
    pub(crate) fn dma(self) -> DataDirection {
        match self {
            Self::Bidirectional => DataDirection::Bidirectional,
            Self::ToDevice => DataDirection::ToDevice,
            Self::FromDevice => DataDirection::FromDevice,
        }
    }
}

#[kunit_tests(shmbuf_direction)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_one_to_one() {
        for direction in Direction::ALL {
            assert_eq!(
                Direction::try_from(direction.name().as_bytes()),
                Ok(direction)
            );
            assert_eq!(Direction::try_from(direction.to_uapi()), Ok(direction));
        }
        assert_eq!(Direction::try_from(3u32), Err(EINVAL));
        assert_eq!(Direction::try_from(&b""[..]), Err(EINVAL));
    }
}
