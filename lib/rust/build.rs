// SPDX-License-Identifier: MIT OR Apache-2.0
//! Derives the ABI from the headers that define it, for the target.

use std::{env, path::PathBuf};

fn main() {
    let headers = ["shmbuf.h", "dma-buf.h"];
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    for header in headers {
        println!("cargo:rerun-if-changed={header}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    bindgen::Builder::default()
        .headers(headers)
        .allowlist_item("(shmbuf|SHMBUF)_.*")
        .allowlist_item("dma_buf_sync|DMA_BUF_(SYNC_.*|IOCTL_SYNC)")
        .prepend_enum_name(false)
        .derive_default(true)
        .generate_comments(false)
        // The ioctl numbers are macros that contain a sizeof; only a C
        // compiler can tell what they are.
        .clang_macro_fallback()
        .clang_macro_fallback_build_dir(&out)
        .generate()
        .expect("bindgen reads the headers")
        .write_to_file(out.join("abi.rs"))
        .expect("OUT_DIR is writable");
}
