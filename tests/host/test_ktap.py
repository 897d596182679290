# SPDX-License-Identifier: GPL-2.0
"""The KTAP reader."""

import ktap
import pytest


def results(text: str) -> list[tuple[str, str]]:
    return [(case.name, case.result) for case in ktap.parse(text.splitlines())]


def test_flat():
    text = "KTAP version 1\n1..3\nok 1 open\nnot ok 2 - mmap\nok 3 big # SKIP no memory\n"
    assert results(text) == [("open", "ok"), ("mmap", "not ok"), ("big", "skip")]


def test_output_belongs_to_the_next_result():
    text = "KTAP version 1\n1..2\n# first\nok 1 a\nhello\n# second\nnot ok 2 b\n"
    cases = list(ktap.parse(text.splitlines()))
    assert cases[0].output == ["# first"]
    assert cases[1].output == ["hello", "# second"]


def test_nested():
    text = """\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: range
    1..2
    ok 1 whole
    not ok 2 wraps
not ok 1 range
    KTAP version 1
    # Subtest: cache
    # module: shmbuf
    1..1
    ok 1 table
ok 2 cache
"""
    assert results(text) == [
        ("range.whole", "ok"),
        ("range.wraps", "not ok"),
        ("cache.table", "ok"),
    ]


def test_parent_that_fails_alone_counts():
    text = "KTAP version 1\n1..1\n    # Subtest: s\n    1..1\n    ok 1 a\nnot ok 1 s\n"
    assert results(text) == [("s.a", "ok"), ("s", "not ok")]


def test_two_documents():
    text = "KTAP version 1\n1..1\nok 1 a\nnoise\nKTAP version 1\n1..1\nok 1 b\n"
    assert results(text) == [("a", "ok"), ("b", "ok")]


def test_expected_failure_is_not_one():
    assert results("KTAP version 1\n1..1\nnot ok 1 a # TODO later\n") == [("a", "skip")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello\n",
        "KTAP version 1\n1..2\nok 1 a\n",
        "KTAP version 1\n1..1\nok 1 a\nok 2 b\n",
        "KTAP version 1\n1..2\nok 1 a\nok 3 c\n",
        "KTAP version 1\n1..1\nBail out! no device\n",
        "KTAP version 1\n1..1\n    # Subtest: s\n    1..2\n    ok 1 a\nok 1 s\n",
    ],
    ids=["empty", "no KTAP", "missing", "too many", "gap", "bail out", "missing in a subtest"],
)
def test_incomplete(text):
    with pytest.raises(ktap.Broken):
        results(text)


def test_comes_as_it_is_printed():
    def lines():
        yield "KTAP version 1"
        yield "1..2"
        yield "ok 1 a"
        pytest.fail("the first result should have come by now")

    assert next(ktap.parse(lines())).name == "a"
