# SPDX-License-Identifier: GPL-2.0
"""shell.py BOARD: boot the board with its console on this terminal.

The initramfs is that of build-shell.
"""

import os
import re
import sys

from board import environment, replace
from tools import build_folder


def main(name: str) -> None:
    qemu = environment(name).get_target("main").get_driver("QEMUDriver", activate=False)
    # Here the kernel and the shell share the one terminal.
    console = re.search(r"console=(\w+)", qemu.boot_args)[1]
    qemu.boot_args = re.sub(r"\btty=\w+", f"tty={console}", qemu.boot_args)
    # What it prints is what was asked for: dmesg has the rest, and KUnit's suites wait.
    qemu.boot_args += " quiet kunit.filter_glob=none greeting=yes"
    folder = build_folder() / name
    replace(qemu, f"-initrd {folder}/", f"-initrd {folder}/shell/")
    print(f"==> booting {name} (usually 5-10 s); Ctrl-A X leaves", flush=True)
    command = [*qemu.get_qemu_base_args(), "-serial", "mon:stdio"]
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1])
