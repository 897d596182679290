# SPDX-License-Identifier: GPL-2.0
"""Boards that are there for a device, with the core and kernel of another board.

The rest is tested there with --all-boards, or if they are asked for.
"""

import boardinfo
import report

BOARDS = boardinfo.names(lambda it: it.there_for)


def test_guest(machine, subtests):
    report.guest(subtests, machine, machine.info.there_for)
