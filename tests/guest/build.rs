// SPDX-License-Identifier: MIT OR Apache-2.0
//! Derives what the tests use of other drivers, and the numbers of the coherence
//! checker's hints, from the headers that define it, for the target.

use std::{env, path::PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=drivers.h");
    println!("cargo:rerun-if-changed=../../tools/coherence/hint.h");
    bindgen::Builder::default()
        .header("drivers.h")
        .allowlist_item("dma_heap_allocation_data|DMA_HEAP_IOCTL_ALLOC")
        .allowlist_item("udmabuf_create|UDMABUF_CREATE")
        .allowlist_type("uffd(io_(api|register|zeropage)|_msg)")
        .allowlist_var(
            "UFFD(IO_(API|REGISTER|ZEROPAGE)|IO_REGISTER_MODE_MISSING|_API|_USER_MODE_ONLY)",
        )
        .allowlist_type("coherence_hint")
        .allowlist_type(
            "v4l2_(buffer|capability|control|exportbuffer|format|requestbuffers)|v4l2_(buf_type|field|memory)",
        )
        .allowlist_var("VIDIOC_(QUERYCAP|S_FMT|S_CTRL|REQBUFS|QUERYBUF|EXPBUF|QBUF|DQBUF|STREAMON|STREAMOFF)")
        .allowlist_var("V4L2_(CAP_VIDEO_(CAPTURE|M2M)|CID_VFLIP|PIX_FMT_(GREY|RGB565))")
        .prepend_enum_name(false)
        .derive_default(true)
        .generate_comments(false)
        // The ioctl numbers are macros that contain a sizeof; only a C
        // compiler can tell what they are.
        .clang_macro_fallback()
        .clang_macro_fallback_build_dir(&out)
        .generate()
        .expect("bindgen reads the headers")
        .write_to_file(out.join("drivers.rs"))
        .expect("OUT_DIR is writable");
}
