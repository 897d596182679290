// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes constants of the numbers that hint.h defines.

use std::{env, fs, path::PathBuf};

const HEADER: &str = "../hint.h";

fn main() {
    println!("cargo:rerun-if-changed={HEADER}");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let header = fs::read_to_string(HEADER).expect("the header is beside this crate");
    // Lines such as "COHERENCE_LABEL = 0xcac4e003,".
    let constants: String = header
        .lines()
        .filter_map(|line| {
            let line = line.trim().strip_prefix("COHERENCE_")?;
            let (name, number) = line.strip_suffix(',')?.split_once(" = ")?;
            Some(format!("pub const {name}: u32 = {number};\n"))
        })
        .collect();
    fs::write(out.join("hint_numbers.rs"), constants).expect("OUT_DIR is writable");
}
