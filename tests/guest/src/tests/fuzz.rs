// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs of the fuzzer's corpus, and some that are made up, the same each time.

use super::{claim, without_debugfs, Claim, Scope};
use crate::fuzz;

pub(super) const CLAIMS: &[Claim] = &[claim(Scope::Once, "fuzzed_programs", |_| fuzz::replay(100))
    .unless(without_debugfs)
    .seconds(600)];
