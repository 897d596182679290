// SPDX-License-Identifier: MIT OR Apache-2.0
//! Derives the ABI from the one header that defines it, for the target.

use std::{env, path::PathBuf};

fn main() {
    let header = "../../include/uapi/shmbuf.h";
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    println!("cargo:rerun-if-changed={header}");
    println!("cargo:rerun-if-changed=build.rs");
    bindgen::Builder::default()
        .header(header)
        .allowlist_item("(shmbuf|SHMBUF)_.*")
        .prepend_enum_name(false)
        .derive_default(true)
        .generate_comments(false)
        // The ioctl numbers are macros that contain a sizeof; only a C
        // compiler can tell what they are.
        .clang_macro_fallback()
        .clang_macro_fallback_build_dir(&out)
        .generate()
        .expect("bindgen reads include/uapi/shmbuf.h")
        .write_to_file(out.join("abi.rs"))
        .expect("OUT_DIR is writable");
}
