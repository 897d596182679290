// SPDX-License-Identifier: GPL-2.0

//! Cache policies: what can be asked for. What each one is on each machine, and
//! which are refused, is the table in [`super::machine`].

use kernel::prelude::*;

uapi_enum! {
    /// The memory type of all CPU views of a buffer, as asked for.
    Policy {
        /// Cached; the kernel's own type for RAM, so that no second cached type arises.
        Writeback = SHMBUF_POLICY_WRITEBACK "writeback",
        /// Cached for reads; writes go to memory at once.
        Writethrough = SHMBUF_POLICY_WRITETHROUGH "writethrough",
        /// Not cached; writes may be buffered and merged.
        Writecombine = SHMBUF_POLICY_WRITECOMBINE "writecombine",
        /// Neither cached nor buffered.
        Noncached = SHMBUF_POLICY_NONCACHED "noncached",
    }
}

impl Policy {
    /// Whether the cache may hold lines of such memory.
    pub(crate) fn is_cached(self) -> bool {
        matches!(self, Self::Writeback | Self::Writethrough)
    }
}

#[kunit_tests(shmbuf_policy)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_one_to_one() {
        for policy in Policy::ALL {
            assert_eq!(Policy::try_from(policy.name().as_bytes()), Ok(policy));
            assert_eq!(Policy::try_from(policy.to_uapi()), Ok(policy));
        }
        assert_eq!(Policy::try_from(4u32), Err(EINVAL));
        assert_eq!(Policy::try_from(&b"uncached"[..]), Err(EINVAL));
        assert_eq!(Policy::try_from(&b""[..]), Err(EINVAL));
    }
}
