# SPDX-License-Identifier: GPL-2.0
"""What is said of the rules, and the exploration of their interleavings, finds faults."""

import re
import shutil

import pytest
from tools import TOP, build_folder, must

#: The tests that faults are found by.
TESTS = ["interleavings", "owner_of_each_byte"]
BREAKS = sorted((TOP / "tests/rules/breaks").glob("*.patch"))


@pytest.fixture(scope="module")
def tree():
    """A copy of the rules and their tests, in one place, so that it is built once."""
    copy = build_folder() / "broken-rules"
    shutil.rmtree(copy, ignore_errors=True)
    for part in ("src/rules", "include", "tests/rules"):
        shutil.copytree(TOP / part, copy / part)
    return copy


def explore(tree):
    manifest = tree / "tests/rules/Cargo.toml"
    must(
        ["cargo", "test", "--locked", "--manifest-path", manifest, "--", *TESTS],
        CARGO_TARGET_DIR=str(build_folder() / "broken-rules-target"),
    )


def test_unbroken(tree):
    """What is copied passes."""
    explore(tree)


@pytest.mark.parametrize("patch", BREAKS, ids=lambda it: it.stem)
def test_finds(tree, patch):
    """Each fault, by what it is found by."""
    finds = re.search(r"^Finds: (.*)$", patch.read_text(), re.M)
    assert finds
    apply = ["patch", "--batch", "--fuzz=0", "-p1", "-d", tree, "-i", patch]
    must(apply)
    try:
        with pytest.raises(pytest.fail.Exception, match=finds[1]):
            explore(tree)
    finally:
        must([*apply, "--reverse"])
