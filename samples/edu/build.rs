// SPDX-License-Identifier: MIT OR Apache-2.0
//! Derives the driver's interface from its header, for the target.

use std::{env, path::PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=edu.h");
    bindgen::Builder::default()
        .header("edu.h")
        .allowlist_item("(edu|EDU)_.*")
        .prepend_enum_name(false)
        .derive_default(true)
        .generate_comments(false)
        .clang_macro_fallback()
        .clang_macro_fallback_build_dir(&out)
        .generate()
        .expect("bindgen reads the header")
        .write_to_file(out.join("abi.rs"))
        .expect("OUT_DIR is writable");
}
