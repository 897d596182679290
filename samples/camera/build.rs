// SPDX-License-Identifier: MIT OR Apache-2.0
//! Derives what the sample uses of V4L2 from the kernel's header, for the target.

use std::{env, path::PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=v4l2.h");
    bindgen::Builder::default()
        .header("v4l2.h")
        .allowlist_type("v4l2_(buf_type|buffer|capability|control|field|format|memory)")
        .allowlist_type("v4l2_(queryctrl|requestbuffers)")
        .allowlist_var("VIDIOC_(QUERYCAP|QUERYCTRL|S_CTRL|S_FMT|REQBUFS|QUERYBUF|QBUF|DQBUF)")
        .allowlist_var("VIDIOC_STREAMON")
        .allowlist_var("V4L2_(CAP_VIDEO_CAPTURE|CTRL_FLAG_NEXT_CTRL|BUF_FLAG_ERROR)")
        .prepend_enum_name(false)
        .derive_default(true)
        .generate_comments(false)
        // The ioctl numbers are macros that contain a sizeof; only a C
        // compiler can tell what they are.
        .clang_macro_fallback()
        .clang_macro_fallback_build_dir(&out)
        .generate()
        .expect("bindgen reads the header")
        .write_to_file(out.join("v4l2.rs"))
        .expect("OUT_DIR is writable");
}
