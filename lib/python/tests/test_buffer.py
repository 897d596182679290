# SPDX-License-Identifier: MIT OR Apache-2.0
"""Handles, private buffers, INFO and policies."""

import errno
import os
import socket
from pathlib import Path

import shmbuf
from shmbuf import Kind, Policy
from shmbuf import _abi as abi

from .machine import PAGE, SIZE, Case


class Handle(Case):
    def test_close(self) -> None:
        with shmbuf.open() as buffer:
            self.assertEqual(os.fstat(buffer.fileno()).st_rdev, Path("/dev/shmbuf").stat().st_rdev)
            self.assertFalse(os.get_inheritable(buffer.fileno()))
        with self.assertRaises(ValueError):
            buffer.info()
        buffer.close()

    def test_dup_outlives_the_handle(self) -> None:
        buffer = self.alloc()
        buffer.write_at(b"before")
        with buffer.dup() as other:
            buffer.close()
            self.assertEqual((other.size, other.read_at(6)), (SIZE, b"before"))

    def test_goes_through_a_socket(self) -> None:
        buffer = self.alloc("streaming")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            socket.send_fds(ours, [b"it"], [buffer.fileno()])
            _, (fd,), _, _ = socket.recv_fds(theirs, 2, 1)
        buffer.write_at(b"sent")
        with shmbuf.Buffer(fd) as received:
            self.assertEqual((received.size, received.read_at(4)), (SIZE, b"sent"))

    def test_read_only(self) -> None:
        with shmbuf.open(read_only=True) as buffer:
            with buffer.map(range(PAGE), writable=False) as mapping:
                self.assertTrue(memoryview(mapping).readonly)
            with self.refused("mmap", errno.EACCES, "open or export it for writing"):
                buffer.map()
            with self.refused("write", errno.EBADF, "was not opened for that"):
                buffer.write_at(b"x")
            with self.refused("SET_CACHE", errno.EBADF, "open it for writing"):
                buffer.set_policy("writeback")
            with self.refused("SYNC", errno.EBADF, "open it for writing"):
                buffer.sync(None, "write", "begin")
            with self.refused("ALLOC", errno.EBADF, "open it for writing"):
                buffer.alloc(SIZE, "pages")
            buffer.sync(None, "read", "begin")


class Alloc(Case):
    def test_each_kind(self) -> None:
        for kind in set(Kind) - {Kind.REGION, Kind.IMPORTED}:
            with self.subTest(kind):
                buffer = self.alloc(kind)
                info = buffer.info()
                self.assertEqual((info.kind, info.size), (kind, buffer.size))
                self.assertIn(info.policy, info.policies)
                self.assertEqual(buffer.read_at(16), bytes(16))
                buffer.write_at(b"contents", 8)
                self.assertEqual(buffer.read_at(16), bytes(8) + b"contents")

    def test_all_that_can_be_asked(self) -> None:
        buffer = self.alloc("scatter", "writeback", mapping="strict", direction="from-device")
        info = buffer.info()
        asked = (info.policy, info.mapping, info.direction)
        self.assertEqual(asked, ("writeback", "strict", "from-device"))
        self.assertIs(info.direction, shmbuf.Direction.FROM_DEVICE)
        with self.node.alloc(24, "pool", align=64, boundary=128) as pool:
            address = pool.info().dma_addr
            assert address
            self.assertEqual(address.address % 64, 0)

    def test_segments_are_all_of_it(self) -> None:
        buffer = self.alloc("scatter")
        address = buffer.info().dma_addr
        assert address
        segments = buffer.segments()
        self.assertEqual(segments[0].dma_addr, address.address)
        self.assertEqual([at for it in segments for at in it.where], list(range(SIZE)))
        with self.refused("SEGMENT", errno.EOPNOTSUPP, "no device has a view"):
            self.alloc("pages").segments()

    def test_only_dma_bufs_of_others_are_imported(self) -> None:
        memfd = os.memfd_create("test")
        self.addCleanup(os.close, memfd)
        with self.refused("IMPORT", errno.EINVAL, "/dev/udmabuf makes one"):
            self.node.import_dma_buf(memfd)
        with (
            self.alloc().export() as ours,
            self.refused("IMPORT", errno.EOPNOTSUPP, "is of this driver"),
        ):
            self.node.import_dma_buf(ours)

    def test_words_are_looked_at(self) -> None:
        with self.assertRaisesRegex(ValueError, "no such kind: 'page' is none of pages, coh"):
            self.alloc("page")

    def test_numbers_are_not_cut_off(self) -> None:
        for size in (-1, 1 << 64):
            with self.assertRaisesRegex(ValueError, f"size={size} is not a number of 64 bits"):
                self.node.alloc(size, "pages")
        with self.assertRaisesRegex(ValueError, "align"):
            self.node.alloc(64, "pool", align=1 << 32)

    def test_refusals_have_a_reason(self) -> None:
        with self.refused("ALLOC", errno.EINVAL, "the kernel log has the reason"):
            self.node.alloc(SIZE + 1, "pages")
        with self.refused("ALLOC", errno.EOPNOTSUPP, "what would help"):
            self.alloc("coherent", "writethrough")
        with self.refused("ALLOC", errno.EFBIG, "ask for fewer"):
            self.node.alloc(1 << 63, "scatter")


class Info(Case):
    def test_the_policy_of_what_is_imported_is_its_exporters(self) -> None:
        raw = abi.shmbuf_info()
        for kind, policy in ((Kind.PAGES, "writeback"), (Kind.IMPORTED, None)):
            raw.kind = kind.raw
            self.assertEqual(shmbuf.Info.of(raw).known_policy, policy)

    def test_default_buffer(self) -> None:
        info = self.node.info()
        self.assertEqual((info.size, info.name, info.access_width), (self.node.size, None, 1))
        self.assertEqual((info.owner, info.mappings, info.exports), ("cpu", 0, 0))
        self.assertGreaterEqual(info.cache_line, 16)
        self.assertTrue(info.memory_type)

    def test_counts(self) -> None:
        buffer = self.alloc("streaming")
        with buffer.map(range(PAGE)), buffer.map(), buffer.export():
            info = buffer.info()
            self.assertEqual((info.mappings, info.exports), (2, 1))
        self.assertEqual((buffer.info().mappings, buffer.info().exports), (0, 0))

    def test_addresses(self) -> None:
        """Root sees them; those who may not do raw I/O do not."""
        buffer = self.alloc("streaming")
        info = buffer.info()
        assert info.phys_addr and info.dma_addr
        self.assertEqual(info.phys_addr % PAGE, 0)
        self.assertTrue(info.dma_addr.device)
        child = os.fork()
        if child == 0:
            os.setuid(12345)
            seen = buffer.info()
            os._exit(int((seen.phys_addr, seen.dma_addr) != (None, None)))
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertIsNone(self.alloc("pages").info().dma_addr)

    def test_named_buffer(self) -> None:
        with shmbuf.open(self.named("pages")) as buffer:
            self.assertEqual((buffer.info().name, buffer.size), ("python", SIZE))


class SetPolicy(Case):
    def test_those_that_info_lists_and_no_others(self) -> None:
        buffer = self.alloc("pages")
        buffer.write_at(b"contents")
        policies = buffer.info().policies
        self.assertIn(Policy.WRITECOMBINE, policies)
        for policy in Policy:
            with self.subTest(policy):
                if policy in policies:
                    buffer.set_policy(policy)
                    self.assertEqual(buffer.info().policy, policy)
                else:
                    with self.refused("SET_CACHE", errno.EOPNOTSUPP, "the policies that INFO"):
                        buffer.set_policy(policy)
                self.assertEqual(buffer.read_at(8), b"contents")

    def test_not_while_it_is_mapped(self) -> None:
        buffer = self.alloc("pages")
        with buffer.map(), self.refused("SET_CACHE", errno.EBUSY, "unmap it everywhere first"):
            buffer.set_policy("writecombine")
        buffer.set_policy("writecombine")

    def test_a_coherent_buffer_has_no_choice(self) -> None:
        with self.refused("SET_CACHE", errno.EOPNOTSUPP):
            self.alloc("coherent").set_policy("writethrough")


class Transfer(Case):
    def test_ends_at_the_end(self) -> None:
        buffer = self.alloc()
        self.assertEqual(buffer.write_at(memoryview(b"1234567"), SIZE - 4), 4)
        self.assertEqual(buffer.read_at(7, SIZE - 5), b"\x001234")
        self.assertEqual(buffer.read_at(7, SIZE), b"")
        with self.refused("write", errno.ENOSPC, "at or past the end"):
            buffer.write_at(b"x", SIZE)
