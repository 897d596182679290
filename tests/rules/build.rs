// SPDX-License-Identifier: GPL-2.0
//! Derives the numbers of the uAPI from the header, as Kbuild does for the driver.

use std::{env, path::PathBuf};

fn main() {
    const HEADER: &str = "../../include/uapi/shmbuf.h";
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={HEADER}");
    println!("cargo:rustc-env=SHMBUF_GENERATED={}", out.display());
    bindgen::Builder::default()
        .header(HEADER)
        .use_core()
        .ctypes_prefix("ffi")
        .allowlist_item("SHMBUF_.*|shmbuf_(kind|policy|mapping|direction|owner)")
        .prepend_enum_name(false)
        .generate_comments(false)
        .generate()
        .expect("bindgen reads the header")
        .write_to_file(out.join("uapi.rs"))
        .expect("OUT_DIR is writable");
}
