# SPDX-License-Identifier: GPL-2.0
"""A board to run commands on, emulated or real, by its labgrid environment."""

import bisect
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boardinfo
import klog
from labgrid import Environment
from labgrid.driver import QEMUDriver
from labgrid.util import gen_marker
from labgrid.util.qmp import QMPError
from pexpect import TIMEOUT
from tools import shell_names

MODULE = "/lib/modules/shmbuf.ko"

#: Characters of a line that busybox's shell takes; what is behind them is lost without a word.
LONGEST_LINE = 1023


class BoardError(Exception):
    """The board did not do what a board does: it hangs, died or never came."""


@dataclass
class Output:
    """What a command printed, and how it ended."""

    lines: list[str]
    status: int

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def environment(board: str) -> Environment:
    """The board's environment file, with the folders that it refers to."""
    os.environ["LG_KERNEL"], os.environ["LG_BUILD"] = shell_names(
        'kernel_build "$1"; echo; echo "$build/$1"', board
    )
    return Environment(str(boardinfo.of(board).folder / "labgrid.yaml"))


def replace(qemu: QEMUDriver, part: str, other: str):
    """Put another part into QEMU's arguments, for one that must be there."""
    if part not in qemu.extra_args:
        raise BoardError(f"QEMU has no argument {part!r} to replace: {qemu.extra_args}")
    qemu.extra_args = qemu.extra_args.replace(part, other)


class Board:
    """What the tests do with any board. Use as a context manager."""

    #: where the module is on the board
    module = MODULE
    #: seconds until a command that prints nothing is taken for hung
    patience = 180.0

    def stream(self, command: str, patience: float | None = None) -> Iterator[str]:
        """Run a command and yield its lines as they come. `status` is set after."""
        raise NotImplementedError

    def kernel_log(self) -> str:
        """All that the kernel has printed since boot."""
        raise NotImplementedError

    def run(self, command: str, patience: float | None = None) -> Output:
        lines = list(self.stream(command, patience))
        return Output(lines, self.status)

    def check(self, command: str, patience: float | None = None) -> list[str]:
        """Run a command that has to succeed."""
        out = self.run(command, patience)
        if out.status:
            raise BoardError(f"{command!r} ended with status {out.status}:\n{out.text}")
        return out.lines

    def leaks(self) -> str:
        """What kmemleak reports, "" when it finds nothing or is not there.

        It reports only what is older than five seconds, and a first scan may
        miss what a register still holds.
        """
        node = "/sys/kernel/debug/kmemleak"
        # What is so already; it takes nothing where it is off.
        if self.run(f"test -w {node} && echo stack=on >{node}").status:
            return ""
        self.check(f"sleep 6; echo scan >{node}; sleep 1; echo scan >{node}", patience=300)
        return "\n".join(self.check(f"cat {node}"))

    def reports(self) -> list[klog.Report]:
        """All that the kernel has to complain about."""
        return klog.scan(self.kernel_log())


class QemuBoard(Board):
    """An emulated board: console on one serial port, kernel log on another."""

    def __init__(
        self,
        board: str,
        memory: str | None = None,
        dtb: str | None = None,
        boot_args: str = "",
        qemu_args: str = "",
    ):
        self.name = board
        self.info = boardinfo.of(board)
        self.env = environment(board)
        self.target = self.env.get_target("main")
        self.scratch = Path(tempfile.mkdtemp(prefix=f"shmbuf-{board}-"))
        self.log = self.scratch / "kernel.log"
        self.gdb_socket = self.scratch / "gdb"
        self.qemu = self.target.get_driver("QEMUDriver", activate=False)
        if dtb:
            self.qemu.dtb = dtb
        if memory:
            self.qemu.memory = memory
        # KUnit's suites run where they are asked for, not at each boot and insmod.
        self.qemu.boot_args += f" kunit.filter_glob=none {boot_args}"
        self.qemu.extra_args += f" {qemu_args}"
        self.ready = False
        self.dead = ""

    def __enter__(self):
        # The first serial port in the list is the board's first.
        self.qemu.extra_args += (
            f" -serial file:{self.log}"
            f" -chardev socket,id=gdb,path={self.gdb_socket},server=on,wait=off -gdb chardev:gdb"
        )
        try:
            self.target.activate(self.qemu)
            self.qemu.on()
            self._look_while_reading()
            self.shell = self.target.get_driver("ShellDriver")
            self.ready = True
        except BaseException as error:
            log = self.kernel_log()
            self.close()
            if isinstance(error, Exception):
                tail = "\n".join(log.splitlines()[-40:])
                raise BoardError(f"{self.name} does not boot: {error}\n{tail}") from error
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        # Never a shutdown from inside: the boards' own power-off complains.
        try:
            self.target.cleanup()
        except (OSError, QMPError):
            # QEMU ends by itself, so there is nothing to switch off.
            self.qemu._child.wait(timeout=60)
            self.qemu.status = 0
            self.target.cleanup()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _look_while_reading(self):
        """Let each wait for the console end when nothing more can come there."""
        self.process = self.qemu._child
        read = self.qemu._read

        def piece_by_piece(size: int = 1, timeout: float = 10.0, max_size: int | None = None):
            end = time.monotonic() + timeout
            while True:
                try:
                    data = read(size, max(0.0, min(1.0, end - time.monotonic())), max_size)
                except TIMEOUT:
                    data = b""
                if data:
                    return data
                self._check_alive()
                if time.monotonic() >= end:
                    raise TIMEOUT(f"nothing came for {timeout:.0f} s")

        self.qemu._read = piece_by_piece

    def _check_alive(self):
        """Fail when the emulator has ended, or the kernel has panicked and said all of it."""
        if panic := re.search(r"---\[ end Kernel panic - not syncing: (.*?) *\]---", self._log()):
            self.dead = f"the kernel panicked: {panic[1]}"
        elif self.process.poll() is not None:
            self.dead = "the emulator has ended"
        else:
            return
        raise BoardError(f"{self.name}: {self.dead}")

    def symbols(self) -> Path:
        return Path(self.env.config.get_image_path("symbols"))

    def screen(self, form: str = "ppm") -> bytes:
        """What the display shows, as a file: ppm or png."""
        file = self.scratch / "screen"
        self.qemu.monitor_command("screendump", {"filename": str(file), "format": form})
        return file.read_bytes()

    def kernel_log(self) -> str:
        # The kernel prints in its own time: wait for a line of ours.
        if self.ready and not self.dead:
            line = f"shmbuf-host: {gen_marker()}"
            self.check(f"echo {line} >/dev/kmsg")
            deadline = time.monotonic() + 20
            while line not in self._log() and time.monotonic() < deadline:
                time.sleep(0.02)
        return re.sub(r"^.*shmbuf-host: \w+\n", "", self._log(), flags=re.M)

    def _log(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stream(self, command, patience=None):
        if self.dead:
            raise BoardError(f"{self.name} is not usable any more: {self.dead}")
        patience = patience or self.patience
        console = self.shell.console
        marker = gen_marker()
        # In two halves, or the echo of the command would end it.
        mark = f"echo '{marker[:4]}''{marker[4:]}'"
        typed = f"{mark}; {command}; {mark} $?"
        if any(len(line) > LONGEST_LINE for line in typed.splitlines()):
            raise BoardError(f"{self.name}: its shell takes {LONGEST_LINE} characters a line")
        last = "nothing"
        try:
            console.sendline(typed)
            console.expect(rf"{marker}\r?\n", timeout=patience)
            while True:
                _, line, _, _ = console.expect(r"\r?\n", timeout=patience)
                line = line.decode(errors="replace").replace("\r", "")
                text, found, status = line.partition(marker)
                if not found:
                    last = line
                    yield line
                    continue
                if text:
                    yield text
                self.status = int(status)
                return
        except TIMEOUT:
            self.dead = (
                f"{command!r} printed nothing for {patience:.0f} s; its last line was: {last}"
            )
            tail = "\n".join(self._log().splitlines()[-30:])
            raise BoardError(
                f"{self.dead}\nThe kernel's last words:\n{tail}\nThe CPUs:\n{self._cpus()}"
            ) from None
        except OSError as error:
            self.dead = "the emulator has ended"
            raise BoardError(f"{self.name}: {self.dead}") from error

    def _cpus(self) -> str:
        """Where each CPU is and whence it was called, as far as registers say."""
        symbols = []
        for line in self.symbols().read_text().splitlines():
            address, _, name = line.split()[:3]
            symbols.append((int(address, 16), name))
        symbols.sort()

        def named(address: str) -> str:
            i = bisect.bisect(symbols, (int(address, 16), chr(sys.maxunicode)))
            return f"{address} {symbols[i - 1][1] if i else ''}"

        registers = self.qemu.monitor_command(
            "human-monitor-command", {"command-line": "info registers -a"}
        )
        found = re.findall(r"\b(R15|R14|PC|X30|RIP)=([0-9a-f]+)", registers)
        return "\n".join(f"{register} {named(value)}" for register, value in found)


class SshBoard(Board):
    """A real board, over SSH. What the tests need is copied to it."""

    def __init__(self, env: str):
        self.name = Path(env).resolve().parent.name
        # Programs for ARMv7 unless the file says others.
        os.environ.setdefault("LG_PROGRAMS", shell_names("echo $programs/${PROGRAMS:-armhf}")[0])
        self.env = Environment(env)
        self.target = self.env.get_target("main")

    def __enter__(self):
        self.ssh = self.target.get_driver("SSHDriver")
        self.folder = self.ssh.run_check("mktemp -d")[0]
        self.module = f"{self.folder}/shmbuf.ko"
        # What is in the log before this line is not ours.
        self.mark = f"shmbuf-host: {gen_marker()}"
        self.check(f"echo {self.mark} >/dev/kmsg")
        self.ssh.put(self.env.config.get_image_path("module"), self.module)
        programs = Path(self.env.config.get_path("programs"))
        for program in sorted(programs.iterdir()):
            self.ssh.put(str(program), f"{self.folder}/{program.name}")
        return self

    def __exit__(self, *_):
        self.ssh.run(f"rm -rf {self.folder}")
        self.target.cleanup()

    def kernel_log(self) -> str:
        log = "\n".join(self.check("dmesg"))
        # Where the line has been lost, all of the ring is ours.
        return log.partition(self.mark)[2] or log

    def stream(self, command, patience=None):
        patience = patience or self.patience
        folder = getattr(self, "folder", "/")
        service = self.ssh.networkservice
        argv = [
            *(self.env.config.get_tool("ssh"), "-x", *self.ssh.ssh_prefix, "-p", str(service.port)),
            *("-l", self.ssh.username or service.username, service.address, "--"),
            f"export PATH={folder}:$PATH; {{ {command}; }} 2>&1",
        ]
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
        )
        heard = time.monotonic()
        hung = threading.Event()

        def watch():
            while process.poll() is None:
                if time.monotonic() - heard > patience:
                    hung.set()
                    process.kill()
                time.sleep(0.2)

        threading.Thread(target=watch, daemon=True).start()
        for line in process.stdout:
            heard = time.monotonic()
            yield line.rstrip("\r\n")
        self.status = process.wait()
        if hung.is_set():
            raise BoardError(f"{command!r} printed nothing for {patience:.0f} s")


def strip_timestamps(log: str) -> list[str]:
    """Kernel log lines without their time."""
    return [re.sub(r"^(<\d+>)?\[ *\d+\.\d+\](\[[ TC]*\d+\])? ", "", s) for s in log.splitlines()]
