# SPDX-License-Identifier: MIT OR Apache-2.0
"""The ABI, by the names of the headers. Made by generate_abi.py: do not edit."""

import ctypes
from typing import Final

SHMBUF_KIND_PAGES: Final = 0x0
SHMBUF_KIND_COHERENT: Final = 0x1
SHMBUF_KIND_STREAMING: Final = 0x2
SHMBUF_KIND_SCATTER: Final = 0x3
SHMBUF_KIND_POOL: Final = 0x4
SHMBUF_KIND_REGION: Final = 0x5
SHMBUF_KIND_IMPORTED: Final = 0x6
SHMBUF_POLICY_WRITEBACK: Final = 0x0
SHMBUF_POLICY_WRITETHROUGH: Final = 0x1
SHMBUF_POLICY_WRITECOMBINE: Final = 0x2
SHMBUF_POLICY_NONCACHED: Final = 0x3
SHMBUF_MAPPING_PFNMAP: Final = 0x0
SHMBUF_MAPPING_STRICT: Final = 0x1
SHMBUF_MAPPING_REFCOUNTED: Final = 0x2
SHMBUF_DIRECTION_BIDIRECTIONAL: Final = 0x0
SHMBUF_DIRECTION_TO_DEVICE: Final = 0x1
SHMBUF_DIRECTION_FROM_DEVICE: Final = 0x2
SHMBUF_OWNER_CPU: Final = 0x0
SHMBUF_OWNER_DEVICE: Final = 0x1
SHMBUF_POLICY_DEFAULT: Final = 0xFFFFFFFF
SHMBUF_INFO_PHYS_ADDR: Final = 0x1
SHMBUF_INFO_DMA_ADDR: Final = 0x2
SHMBUF_INFO_ALIASED: Final = 0x4
SHMBUF_INFO_SNOOPS: Final = 0x8
SHMBUF_SYNC_READ: Final = 0x1
SHMBUF_SYNC_WRITE: Final = 0x2
SHMBUF_SYNC_RW: Final = 0x3
SHMBUF_SYNC_START: Final = 0x0
SHMBUF_SYNC_END: Final = 0x4
SHMBUF_EXPORT_READ_ONLY: Final = 0x1
SHMBUF_COPY_ASYNC: Final = 0x1
SHMBUF_COPY_EVENTFD: Final = 0x2
SHMBUF_COPY_SYNC_FILE: Final = 0x4
SHMBUF_IOC_MAGIC: Final = 0xBC
SHMBUF_IOC_INFO: Final = 0xC0D8BC00
SHMBUF_IOC_SET_CACHE: Final = 0x4008BC01
SHMBUF_IOC_SYNC: Final = 0x4018BC02
SHMBUF_IOC_ALLOC: Final = 0x4028BC03
SHMBUF_IOC_EXPORT: Final = 0x4018BC04
SHMBUF_IOC_COPY: Final = 0x4028BC05
SHMBUF_IOC_COPY_RESULT: Final = 0xBC06
SHMBUF_IOC_LENT: Final = 0xC010BC07
SHMBUF_IOC_SEGMENT: Final = 0xC018BC08
SHMBUF_IOC_IMPORT: Final = 0x4008BC09
DMA_BUF_SYNC_READ: Final = 0x1
DMA_BUF_SYNC_WRITE: Final = 0x2
DMA_BUF_SYNC_RW: Final = 0x3
DMA_BUF_SYNC_START: Final = 0x0
DMA_BUF_SYNC_END: Final = 0x4
DMA_BUF_SYNC_VALID_FLAGS_MASK: Final = 0x7
DMA_BUF_IOCTL_SYNC: Final = 0x40086200


class shmbuf_info(ctypes.Structure):
    flags: int
    kind: int
    policy: int
    policies: int
    size: int
    phys_addr: int
    dma_addr: int
    owner: int
    cache_line: int
    mappings: int
    reserved: int
    memory_type: bytes
    dma_device: bytes
    mapping: int
    direction: int
    exports: int
    access_width: int
    name: bytes
    engine: bytes
    _fields_ = [
        ("flags", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("policies", ctypes.c_uint32),
        ("size", ctypes.c_uint64),
        ("phys_addr", ctypes.c_uint64),
        ("dma_addr", ctypes.c_uint64),
        ("owner", ctypes.c_uint32),
        ("cache_line", ctypes.c_uint32),
        ("mappings", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("memory_type", ctypes.c_char * 48),
        ("dma_device", ctypes.c_char * 32),
        ("mapping", ctypes.c_uint32),
        ("direction", ctypes.c_uint32),
        ("exports", ctypes.c_uint32),
        ("access_width", ctypes.c_uint32),
        ("name", ctypes.c_char * 32),
        ("engine", ctypes.c_char * 32),
    ]


class shmbuf_set_cache(ctypes.Structure):
    policy: int
    flags: int
    _fields_ = [
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    ]


class shmbuf_sync(ctypes.Structure):
    offset: int
    length: int
    flags: int
    reserved: int
    _fields_ = [
        ("offset", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class shmbuf_alloc(ctypes.Structure):
    size: int
    kind: int
    policy: int
    mapping: int
    direction: int
    align: int
    boundary: int
    flags: int
    reserved: int
    _fields_ = [
        ("size", ctypes.c_uint64),
        ("kind", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("mapping", ctypes.c_uint32),
        ("direction", ctypes.c_uint32),
        ("align", ctypes.c_uint32),
        ("boundary", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class shmbuf_export(ctypes.Structure):
    offset: int
    length: int
    flags: int
    reserved: int
    _fields_ = [
        ("offset", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class shmbuf_copy(ctypes.Structure):
    src_offset: int
    dst_offset: int
    length: int
    src_fd: int
    timeout_ms: int
    flags: int
    eventfd: int
    _fields_ = [
        ("src_offset", ctypes.c_uint64),
        ("dst_offset", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("src_fd", ctypes.c_int32),
        ("timeout_ms", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("eventfd", ctypes.c_int32),
    ]


class shmbuf_lent(ctypes.Structure):
    offset: int
    length: int
    _fields_ = [
        ("offset", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
    ]


class shmbuf_segment(ctypes.Structure):
    offset: int
    length: int
    dma_addr: int
    _fields_ = [
        ("offset", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("dma_addr", ctypes.c_uint64),
    ]


class shmbuf_import(ctypes.Structure):
    fd: int
    flags: int
    _fields_ = [
        ("fd", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
    ]


class dma_buf_sync(ctypes.Structure):
    flags: int
    _fields_ = [
        ("flags", ctypes.c_uint64),
    ]
