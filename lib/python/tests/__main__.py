# SPDX-License-Identifier: MIT OR Apache-2.0
"""Run all tests, or those that are named, and print KTAP, the kernel's format."""

import sys
import traceback
import unittest
from pathlib import Path
from types import TracebackType
from typing import Any

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class Ktap(unittest.TestResult):
    """Prints each result as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = False

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self.verdict, self.directive = "ok", ""

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().stopTest(test)
        name = test.id().removeprefix("tests.")
        print(f"{self.verdict} {self.testsRun} {name}{self.directive}", flush=True)

    def fail(self, err: ExcInfo) -> None:
        for line in "".join(traceback.format_exception(*err)).splitlines():
            print(f"# {line}")
        self.verdict, self.failed = "not ok", True

    def addError(self, test: Any, err: ExcInfo) -> None:  # noqa: ARG002, N802
        self.fail(err)

    def addFailure(self, test: Any, err: ExcInfo) -> None:  # noqa: ARG002, N802
        self.fail(err)

    def addSubTest(self, test: Any, subtest: Any, err: ExcInfo | None) -> None:  # noqa: ARG002, N802
        if err:
            print(f"# {subtest}")
            self.fail(err)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: ARG002, N802
        self.directive = f" # SKIP {reason}"


def main() -> int:
    loader = unittest.defaultTestLoader
    if sys.argv[1:]:
        suite = loader.loadTestsFromNames([f"tests.{name}" for name in sys.argv[1:]])
    else:
        folder = Path(__file__).parent
        suite = loader.discover(str(folder), top_level_dir=str(folder.parent))
    print(f"KTAP version 1\n1..{suite.countTestCases()}")
    result = Ktap()
    suite.run(result)
    return int(result.failed)


if __name__ == "__main__":
    sys.exit(main())
