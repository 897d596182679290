// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes and threads that do opposite things to one buffer at once, as `stress` does.

use std::time::Duration;

use super::{claim, Claim, Scope};
use crate::{runner::Env, stress};

pub(super) const CLAIMS: &[Claim] =
    &[claim(Scope::Kind, "stress_keeps_the_contract", stress).seconds(300)];

fn stress(env: &Env) {
    let policies = env.machine.settable(&env.config);
    stress::stress(Duration::from_secs(8), env.machine.is_vivt(), policies);
}
