# SPDX-License-Identifier: MIT OR Apache-2.0
"""Who owns what, dma-bufs, and copies by an engine."""

import errno
import os
import select
import signal
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path

import shmbuf
from shmbuf import Owner

from .machine import PAGE, SIZE, Case

#: How long a transfer of the tests' slow engine takes.
DELAY = Path("/sys/module/engine/parameters/delay_ms")


class Sync(Case):
    def test_end_lends_and_begin_takes_back(self) -> None:
        buffer = self.alloc("streaming")
        self.assertEqual((buffer.info().owner, buffer.lent()), (Owner.CPU, []))
        buffer.sync(range(PAGE, 2 * PAGE), "write", "end")
        buffer.sync(range(3 * PAGE, SIZE), "write", "end")
        self.assertEqual(buffer.info().owner, Owner.DEVICE)
        self.assertEqual(buffer.lent(), [range(PAGE, 2 * PAGE), range(3 * PAGE, SIZE)])
        with self.refused("read", errno.EBUSY, "take it back first"):
            buffer.read_at(1, PAGE)
        with self.refused("SET_CACHE", errno.EBUSY):
            buffer.set_policy("writeback")
        self.assertEqual(buffer.read_at(1, 2 * PAGE), b"\0")
        buffer.sync(None, "read", "begin")
        self.assertEqual((buffer.info().owner, buffer.lent()), (Owner.CPU, []))

    def test_a_block_is_an_access(self) -> None:
        buffer = self.alloc("streaming")
        buffer.sync(None, "read-write", "end")
        with buffer.map() as mapping:
            with buffer.cpu_access(range(PAGE), "write"):
                self.assertEqual(buffer.lent(), [range(PAGE, SIZE)])
                mapping[:5] = b"hello"
            self.assertEqual(buffer.lent(), [range(SIZE)])
            with buffer.cpu_access(access="read"):
                self.assertEqual(buffer.read_at(5), b"hello")

    def test_a_block_that_fails_ends_it_too(self) -> None:
        buffer = self.alloc("streaming")
        with self.assertRaises(ZeroDivisionError), buffer.cpu_access():
            self.assertEqual(buffer.lent(), [])
            _ = 1 // 0
        self.assertEqual(buffer.lent(), [range(SIZE)])

    def test_nothing_runs_without_a_begin(self) -> None:
        buffer = self.alloc("streaming")
        ran = False
        with (
            self.refused("SYNC", errno.EINVAL, "multiples of the cache line"),
            buffer.cpu_access(range(1, PAGE)),
        ):
            ran = True
        self.assertFalse(ran)

    def test_refusals(self) -> None:
        buffer = self.alloc("streaming")
        with self.refused("SYNC", errno.ERANGE, "past the end"):
            buffer.sync(range(SIZE + PAGE), "read", "begin")
        with self.refused("SYNC", errno.EINVAL, "the length not zero"):
            buffer.sync(range(0), "read", "begin")
        with self.assertRaisesRegex(ValueError, "no such access: 'look' is none of read, "):
            buffer.sync(None, "look", "begin")
        with self.assertRaisesRegex(ValueError, "no such phase: 'start' is none of begin, end"):
            buffer.sync(None, "read", "start")

    def test_a_reader_cannot_take_back(self) -> None:
        path = self.named("streaming")
        with shmbuf.open(path) as buffer, shmbuf.open(path, read_only=True) as reader:
            reader.sync(None, "read", "begin")
            buffer.sync(None, "write", "end")
            with self.refused("SYNC", errno.EBUSY, "only a handle open for writing"):
                reader.sync(None, "read", "begin")


class DmaBuf(Case):
    def test_it_is_the_range(self) -> None:
        buffer = self.alloc("streaming")
        with buffer.export(range(PAGE, 3 * PAGE)) as dma_buf:
            self.assertEqual(dma_buf.size, 2 * PAGE)
            self.assertFalse(os.get_inheritable(dma_buf.fileno()))
            with dma_buf.map() as mapping, dma_buf.cpu_access("write"):
                mapping[:5] = b"hello"
            self.assertEqual(buffer.lent(), [range(PAGE, 3 * PAGE)])
            dma_buf.sync("read", "begin")
            self.assertEqual(buffer.read_at(5, PAGE), b"hello")

    def test_keeps_the_memory(self) -> None:
        buffer = self.alloc("streaming")
        buffer.write_at(b"kept")
        with buffer.export() as dma_buf:
            buffer.close()
            with dma_buf.map(range(PAGE)) as mapping:
                self.assertEqual(mapping[:4], b"kept")

    def test_read_only(self) -> None:
        with self.alloc("streaming").export(read_only=True) as dma_buf:
            with self.refused("mmap", errno.EACCES, "export it for writing"):
                dma_buf.map()
            dma_buf.map(writable=False).close()

    def test_refusals(self) -> None:
        buffer = self.alloc("streaming")
        with self.refused("EXPORT", errno.EINVAL, "multiples of the page size"):
            buffer.export(range(1, PAGE))
        with self.refused("EXPORT", errno.ERANGE, "past the end"):
            buffer.export(range(SIZE, SIZE + PAGE))
        with self.refused("EXPORT", errno.EOPNOTSUPP, "no pages of its own"):
            self.alloc("pool").export()

    def test_what_is_none(self) -> None:
        with (
            shmbuf.DmaBuf(os.memfd_create("no dma-buf")) as dma_buf,
            self.refused("DMA_BUF_IOCTL_SYNC", errno.ENOTTY, "not a dma-buf"),
        ):
            dma_buf.sync("read", "begin")


class Copy(Case):
    def setUp(self) -> None:
        super().setUp()
        if not DELAY.exists():
            self.skipTest("the tests' engine is not loaded")
        DELAY.write_text("0")
        self.source, self.target = self.alloc("streaming"), self.alloc("streaming")
        self.source.write_at(b"to be copied", PAGE)

    def test_it_copies(self) -> None:
        self.target.copy_from(self.source, range(PAGE, PAGE + 12), 2 * PAGE + 64)
        self.assertEqual(self.target.read_at(14, 2 * PAGE + 63), b"\0to be copied\0")
        self.target.copy_from(self.source)
        self.assertEqual(self.target.read_at(12, PAGE), b"to be copied")
        self.assertTrue(self.target.info().engine)

    def test_within_a_buffer(self) -> None:
        self.source.copy_from(self.source, range(PAGE, 2 * PAGE), 2 * PAGE)
        self.assertEqual(self.source.read_at(12, 2 * PAGE), b"to be copied")
        with self.refused("COPY", errno.EINVAL, "overlap"):
            self.source.copy_from(self.source, range(PAGE), 64)

    def test_in_the_background(self) -> None:
        DELAY.write_text("200")
        with self.refused("COPY_RESULT", errno.ENODATA, "began no copy"):
            self.target.copy_result()
        eventfd = os.eventfd(0)
        self.target.begin_copy_from(self.source, eventfd=eventfd)
        with self.refused("COPY_RESULT", errno.EAGAIN, "wait for its end with poll"):
            self.target.copy_result()
        with self.refused("COPY", errno.EINPROGRESS, "another copy of this handle"):
            self.target.begin_copy_from(self.source)
        self.assertEqual(select.select([self.target], [], [], 60)[0], [self.target])
        self.assertEqual(os.eventfd_read(eventfd), 1)
        os.close(eventfd)
        self.target.copy_result()
        self.assertEqual(self.target.read_at(12, PAGE), b"to be copied")

    def test_with_a_fence(self) -> None:
        fence = self.target.begin_copy_with_fence(self.source)
        poll = select.poll()
        poll.register(fence, select.POLLIN)
        self.assertEqual(poll.poll(60000), [(fence, select.POLLIN)])
        os.close(fence)
        self.target.copy_result()

    def test_refusals(self) -> None:
        with self.refused("COPY", errno.ERANGE, "past the end"):
            self.target.copy_from(self.source, None, PAGE)
        self.source.sync(range(PAGE), "write", "end")
        with self.refused("COPY", errno.EBUSY, "take it back first"):
            self.target.copy_from(self.source)
        only_read = self.alloc("streaming", direction="to-device")
        with self.refused("COPY", errno.EACCES, "to-device"):
            only_read.copy_from(self.target)
        with self.assertRaisesRegex(ValueError, "offset=-1 is not"):
            self.target.copy_from(self.source, None, -1)

    def during(self, handler: Callable[[int, types.FrameType | None], None]) -> None:
        """Wait in a call for a copy that takes half a second; a signal comes in between."""
        DELAY.write_text("500")
        before = signal.signal(signal.SIGALRM, handler)
        self.target.begin_copy_from(self.source)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            self.target.sync(None, "read", "begin")
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_a_signal_does_not_end_a_wait(self) -> None:
        came: list[int] = []
        self.during(lambda number, _: came.append(number))
        self.assertEqual(came, [signal.SIGALRM])
        self.target.copy_result()

    def test_a_handler_that_raises_does(self) -> None:
        def interrupt(number: int, _: types.FrameType | None) -> None:
            raise KeyboardInterrupt(number)

        with self.assertRaises(KeyboardInterrupt):
            self.during(interrupt)
        with self.refused("COPY_RESULT", errno.EAGAIN):
            self.target.copy_result()
        self.target.sync(None, "read", "begin")
        self.target.copy_result()

    def test_others_run_during_a_wait(self) -> None:
        DELAY.write_text("500")
        rounds = 0
        done = threading.Event()

        def count() -> None:
            nonlocal rounds
            while not done.is_set():
                rounds += 1
                time.sleep(0.01)

        thread = threading.Thread(target=count)
        self.target.begin_copy_from(self.source)
        thread.start()
        self.target.sync(None, "read", "begin")
        done.set()
        thread.join()
        self.assertGreater(rounds, 3)
        self.target.copy_result()
