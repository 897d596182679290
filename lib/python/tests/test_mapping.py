# SPDX-License-Identifier: MIT OR Apache-2.0
"""Mappings, as buffers of Python and as arrays."""

import errno
import faulthandler
import os
import signal
import struct
import sys
from pathlib import Path

import shmbuf

from .machine import PAGE, SIZE, Case


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


class Mapping(Case):
    def test_the_kernel_sees_the_same(self) -> None:
        for kind in ("pages", "coherent", "streaming", "scatter"):
            with self.subTest(kind):
                buffer = self.alloc(kind)
                with buffer.map() as mapping:
                    self.assertEqual(len(mapping), SIZE)
                    mapping[3:8] = b"hello"
                    self.assertEqual(buffer.read_at(7, 2), b"\0hello\0")
                    buffer.write_at(b"there", PAGE)
                    self.assertEqual(mapping[PAGE : PAGE + 5], b"there")

    def test_it_is_a_buffer(self) -> None:
        buffer = self.alloc()
        with buffer.map() as mapping:
            with memoryview(mapping) as view, view.cast("I") as words:
                self.assertFalse(view.readonly)
                words[1] = 0x01020304
                self.assertEqual(buffer.read_at(4, 4), struct.pack("=I", 0x01020304))
                with self.assertRaises(BufferError):
                    mapping.close()
            struct.pack_into("=Q", mapping, PAGE, 7)
            self.assertEqual(struct.unpack_from("=Q", mapping, PAGE), (7,))
            read, write = os.pipe()
            os.write(write, b"words")
            self.assertEqual(os.readv(read, [memoryview(mapping)[16:21]]), 5)
            os.close(read)
            os.close(write)
            self.assertEqual(buffer.read_at(5, 16), b"words")
        with self.assertRaises(ValueError):
            mapping[0]

    def test_a_part(self) -> None:
        buffer = self.alloc()
        buffer.write_at(b"the second page", PAGE)
        with buffer.map(range(PAGE, 3 * PAGE)) as mapping:
            self.assertEqual((len(mapping), mapping[:15]), (2 * PAGE, b"the second page"))

    def test_outlives_the_handle(self) -> None:
        buffer = self.alloc()
        before = descriptors()
        mapping = self.enterContext(buffer.map())
        if sys.version_info >= (3, 13):
            self.assertEqual(descriptors(), before)
        buffer.write_at(b"still there")
        buffer.close()
        self.assertEqual(mapping[:11], b"still there")

    def test_read_only(self) -> None:
        buffer = self.alloc()
        with buffer.map(writable=False) as mapping:
            with self.assertRaises(TypeError):
                mapping[0] = 1
            buffer.write_at(b"x")
            self.assertEqual(mapping[:1], b"x")

    def test_refusals(self) -> None:
        buffer = self.alloc()
        for where in (
            range(SIZE, SIZE + PAGE),
            range(0, SIZE + 1),
            range(1, PAGE),
            range(PAGE, PAGE),
            range(PAGE, 0),
            range(0, (1 << 64) - 1),
            range((1 << 64) - PAGE, (1 << 64) - 1),
        ):
            with self.subTest(where), self.refused("mmap", errno.EINVAL, "inside the buffer"):
                buffer.map(where)
        with self.refused("mmap", errno.EOPNOTSUPP):
            self.alloc("pool").map()

    def test_ranges_are_looked_at(self) -> None:
        buffer = self.alloc()
        for where in (range(0, SIZE, 2), range(-PAGE, PAGE), range(0, 1 << 64)):
            with self.subTest(where), self.assertRaisesRegex(ValueError, "not a range of bytes"):
                buffer.map(where)

    def test_strict_is_sigbus_while_a_device_has_it(self) -> None:
        buffer = self.alloc("streaming", mapping="strict")
        with buffer.map() as mapping:
            mapping[0] = 1
            buffer.sync(range(PAGE), "write", "end")
            self.assertEqual(mapping[PAGE], 0)
            child = os.fork()
            if child == 0:
                faulthandler.disable()
                _ = mapping[0]
                os._exit(0)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), -signal.SIGBUS)
            buffer.sync(range(PAGE), "read", "begin")
            self.assertEqual(mapping[0], 1)


class Numpy(Case):
    def test_an_array_is_the_buffer(self) -> None:
        buffer = self.alloc()
        with buffer.map() as mapping:
            array = mapping.numpy()
            self.assertEqual((array.dtype, array.shape), ("uint8", (SIZE,)))
            array[:4] = [1, 2, 3, 4]
            words = mapping.numpy("<u4").reshape(-1, PAGE // 4)
            self.assertEqual(words[0, 0], 0x04030201)
            words[1] = range(PAGE // 4)
            self.assertEqual(buffer.read_at(8, PAGE), struct.pack("<2I", 0, 1))
            self.assertEqual(int(words[1].sum()), sum(range(PAGE // 4)))
            with self.assertRaises(BufferError):
                mapping.close()
            del array, words
        with self.assertRaises(ValueError):
            mapping[0]

    def test_read_only(self) -> None:
        with self.alloc().map(writable=False) as mapping:
            array = mapping.numpy()
            with self.assertRaisesRegex(ValueError, "read-only"):
                array[0] = 1
            del array

    def test_arithmetic_in_each_memory_type(self) -> None:
        for policy in self.alloc().info().policies - {shmbuf.Policy.NONCACHED}:
            with self.subTest(policy), self.alloc("pages", policy).map() as mapping:
                array = mapping.numpy("uint16")
                array[:] = 3
                array += 4
                self.assertEqual(int(array.sum(dtype="uint64")), 7 * SIZE // 2)
                del array
