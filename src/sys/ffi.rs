// SPDX-License-Identifier: GPL-2.0

//! Declarations of `params.c`, `arch.c`, `calls.c` and `fences.c`, generated from `helpers.h`.

#![allow(
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    unreachable_pub,
    clippy::all,
    reason = "generated from a C header; the kernel's structures are opaque here"
)]

use kernel::{
    bindings::{
        address_space,
        completion,
        device,
        dma_addr_t,
        dma_fence,
        dma_resv,
        file,
        file_operations,
        gfp_t,
        inode,
        kiocb,
        mm_struct,
        page,
        pgprot_t,
        phys_addr_t,
        poll_table_struct,
        resource,
        scatterlist,
        sg_table,
        vm_area_struct,
        vm_fault,
        wait_queue_head,
        workqueue_struct, //
    },
    ffi, //
};

include!(concat!(env!("SHMBUF_GENERATED"), "/helpers.rs"));
