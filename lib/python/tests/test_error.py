# SPDX-License-Identifier: MIT OR Apache-2.0
"""Errors and words, without a buffer."""

import errno
import os
import pickle
import subprocess
import sys
import unittest
from pathlib import Path

import shmbuf
from shmbuf import _abi as abi

from .machine import Case


class Errors(Case):
    def test_text_says_call_errno_and_what_to_do(self) -> None:
        with self.refused("open", errno.ENOENT, "load the module"):
            shmbuf.open("/dev/shmbuf-nonexistent")

    def test_it_is_an_os_error(self) -> None:
        with self.assertRaises(OSError) as caught:
            self.alloc("region")
        self.assertEqual(caught.exception.errno, errno.EOPNOTSUPP)

    def test_an_errno_without_a_reason_has_that_of_the_system(self) -> None:
        error = shmbuf.Error("SYNC", errno.EINTR)
        self.assertEqual(str(error), f"SYNC: EINTR: {os.strerror(errno.EINTR)}")

    def test_pickle_keeps_all(self) -> None:
        error = shmbuf.Error("COPY", errno.EBUSY)
        again = pickle.loads(pickle.dumps(error))  # noqa: S301
        self.assertEqual(
            (type(again), str(again), again.errno), (shmbuf.Error, str(error), errno.EBUSY)
        )

    def test_what_is_no_buffer_is_not_opened(self) -> None:
        for path in ("/dev/null", "/", "/proc/version"):
            with self.subTest(path), self.refused("open", errno.ENOTTY, "not a shmbuf buffer"):
                shmbuf.open(path)

    def test_a_descriptor_that_is_no_buffer_is_closed(self) -> None:
        for make, error, operation in (
            (shmbuf.Buffer, errno.ENOTTY, "INFO"),
            (shmbuf.DmaBuf, errno.ESPIPE, "lseek"),
        ):
            with self.subTest(make):
                end, other = os.pipe()
                with self.refused(operation, error):
                    make(end)
                with self.assertRaises(OSError):
                    os.fstat(end)
                os.close(other)

    def test_no_descriptor_is_left(self) -> None:
        import resource  # noqa: PLC0415

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(list(Path("/proc/self/fd").iterdir()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used - 1, hard))
        try:
            with self.refused("ALLOC", errno.EMFILE, "ulimit -n"):
                self.alloc()
            with self.refused("fcntl", errno.EMFILE, "ulimit -n"):
                self.node.dup()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Words(unittest.TestCase):
    WORDS = (
        ("SHMBUF_KIND_", shmbuf.Kind),
        ("SHMBUF_POLICY_", shmbuf.Policy),
        ("SHMBUF_MAPPING_", shmbuf.MappingKind),
        ("SHMBUF_DIRECTION_", shmbuf.Direction),
        ("SHMBUF_OWNER_", shmbuf.Owner),
    )

    def test_all_of_the_header_are_there(self) -> None:
        for prefix, words in self.WORDS:
            in_header = {
                name.removeprefix(prefix).lower().replace("_", "-"): value
                for name, value in vars(abi).items()
                if name.startswith(prefix) and name != "SHMBUF_POLICY_DEFAULT"
            }
            self.assertEqual({str(word): word.raw for word in words}, in_header)

    def test_another_word_is_refused_with_those_there_are(self) -> None:
        with self.assertRaisesRegex(ValueError, "no such policy: 'cached' is none of writeback, "):
            shmbuf.Policy("cached")

    def test_a_number_of_a_newer_driver_says_so(self) -> None:
        with self.assertRaises(shmbuf.NewerDriverError) as caught:
            shmbuf.Kind.from_raw(99)
        self.assertIn("the driver reports kind 99, which", str(caught.exception))


class Numpy(unittest.TestCase):
    def test_the_package_does_without(self) -> None:
        program = (
            "import sys; sys.modules['numpy'] = None\n"
            "import shmbuf\n"
            "with shmbuf.open() as node, node.map() as mapping:\n"
            "    try: mapping.numpy()\n"
            "    except ImportError as error: print(error.name)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True
        )
        self.assertEqual(done.stdout, "numpy\n")
