# SPDX-License-Identifier: GPL-2.0
"""shell.py BOARD: boot the board with its console on this terminal."""

import os
import re
import sys

from board import MODULE, environment


def main(name: str) -> None:
    qemu = environment(name).get_target("main").get_driver("QEMUDriver", activate=False)
    # Here the kernel and the shell share the one terminal.
    console = re.search(r"console=(\w+)", qemu.boot_args)[1]
    qemu.boot_args = re.sub(r"\btty=\w+", f"tty={console}", qemu.boot_args)
    print(
        f"==> {name}: insmod {MODULE}, then shmbuf-pattern or shmbuf-test; Ctrl-A X leaves",
        flush=True,
    )
    command = [*qemu.get_qemu_base_args(), "-serial", "mon:stdio"]
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1])
