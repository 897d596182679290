// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ioctls, as functions that take a file descriptor and the structure of the ABI.
//!
//! What is safe to call is a method of [`Buffer`](crate::Buffer) or
//! [`DmaBuf`](crate::DmaBuf), one for each function here. What a refusal means is in
//! `error.rs`, by [`Operation`](crate::Operation) and errno.

use crate::abi;

// nix derives its functions from number and type; here the number is the header's own.
nix::ioctl_readwrite_bad!(info, abi::SHMBUF_IOC_INFO, abi::shmbuf_info);
nix::ioctl_write_ptr_bad!(set_cache, abi::SHMBUF_IOC_SET_CACHE, abi::shmbuf_set_cache);
nix::ioctl_write_ptr_bad!(sync, abi::SHMBUF_IOC_SYNC, abi::shmbuf_sync);
nix::ioctl_write_ptr_bad!(alloc, abi::SHMBUF_IOC_ALLOC, abi::shmbuf_alloc);
nix::ioctl_write_ptr_bad!(export, abi::SHMBUF_IOC_EXPORT, abi::shmbuf_export);
nix::ioctl_write_ptr_bad!(copy, abi::SHMBUF_IOC_COPY, abi::shmbuf_copy);
nix::ioctl_readwrite_bad!(lent, abi::SHMBUF_IOC_LENT, abi::shmbuf_lent);
nix::ioctl_readwrite_bad!(segment, abi::SHMBUF_IOC_SEGMENT, abi::shmbuf_segment);
nix::ioctl_write_ptr_bad!(import, abi::SHMBUF_IOC_IMPORT, abi::shmbuf_import);
nix::ioctl_none_bad!(copy_result, abi::SHMBUF_IOC_COPY_RESULT);
nix::ioctl_write_ptr_bad!(dma_buf_sync, abi::DMA_BUF_IOCTL_SYNC, abi::dma_buf_sync);
