# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the tests share: buffers that go when a test ends, and what is expected of errors."""

import contextlib
import errno
import mmap
import unittest
from collections.abc import Iterator
from pathlib import Path

import shmbuf

PAGE = mmap.PAGESIZE
SIZE = 4 * PAGE


class Case(unittest.TestCase):
    """A test with the node open."""

    def setUp(self) -> None:
        self.node = self.enterContext(shmbuf.open())

    def alloc(self, kind: str = "pages", policy: str | None = None, **more: str) -> shmbuf.Buffer:
        """A private buffer of a size that suits the kind."""
        size = 512 if kind == "pool" else SIZE
        mapping = more.get("mapping", "pfnmap")
        direction = more.get("direction", "bidirectional")
        made = self.node.alloc(size, kind, policy, mapping=mapping, direction=direction)
        return self.enterContext(made)

    def named(self, kind: str) -> str:
        """The node of a buffer that others can open too."""
        folder = Path("/sys/kernel/config/shmbuf/python")
        folder.mkdir()
        self.addCleanup(folder.rmdir)
        (folder / "kind").write_text(kind)
        (folder / "size").write_text(str(SIZE))
        (folder / "enable").write_text("1")
        self.addCleanup((folder / "enable").write_text, "0")
        return "/dev/shmbuf-python"

    @contextlib.contextmanager
    def refused(self, operation: str, number: int, words: str = "") -> Iterator[None]:
        """What a block does is refused by this call with this errno and reason."""
        with self.assertRaises(shmbuf.Error) as caught:
            yield
        error = caught.exception
        name = errno.errorcode[number]
        self.assertEqual((error.operation, error.errno), (operation, number), str(error))
        self.assertTrue(str(error).startswith(f"{operation}: {name}: "), str(error))
        self.assertIn(words, error.strerror or "")
