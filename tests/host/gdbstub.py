# SPDX-License-Identifier: GPL-2.0
"""Stops an emulated board and reads its registers and physical memory.

A client of QEMU's gdb stub, in the few packets that this takes. Connecting
stops the machine, leaving lets it run again.
"""

import re
import socket
from pathlib import Path

_PACKET = 0x800


class StubError(Exception):
    """The stub answered something else than expected."""


class Stub:
    """A stopped machine. Use as a context manager."""

    def __init__(self, path: Path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(path))
        self._buffer = b""
        self._numbers: dict[str, int] | None = None

    def __enter__(self):
        self.ask("qSupported:xmlRegisters=arm")
        self.ask("?")
        if self.ask("Qqemu.PhyMemMode:1") != "OK":
            raise StubError("this QEMU's stub cannot read physical memory")
        self.cpus = self._cpus()
        return self

    def __exit__(self, *_):
        self._send("D")
        self._receive()
        self._socket.close()

    def _send(self, text: str):
        data = text.encode()
        self._socket.sendall(b"$%s#%02x" % (data, sum(data) & 0xFF))

    def _more(self):
        data = self._socket.recv(65536)
        if not data:
            raise StubError("QEMU went away")
        self._buffer += data

    def _receive(self) -> str:
        # Acknowledgements ("+") and what is left of others are skipped.
        while not (match := re.search(rb"\$([^#]*)#[0-9a-f]{2}", self._buffer)):
            self._more()
        self._buffer = self._buffer[match.end() :]
        self._socket.sendall(b"+")
        # "}" escapes, "*" repeats.
        body = re.sub(rb"}(.)", lambda m: bytes([m[1][0] ^ 0x20]), match[1], flags=re.S)
        return re.sub(rb"(.)\*(.)", lambda m: m[1] * (m[2][0] - 28), body, flags=re.S).decode(
            "latin-1"
        )

    def ask(self, text: str) -> str:
        self._send(text)
        return self._receive()

    def _cpus(self) -> list[str]:
        cpus = []
        answer = self.ask("qfThreadInfo")
        while answer.startswith("m"):
            cpus += answer[1:].split(",")
            answer = self.ask("qsThreadInfo")
        return cpus

    def _xml(self, name: str) -> str:
        text = ""
        while True:
            part = self.ask(f"qXfer:features:read:{name}:{len(text):x},{_PACKET:x}")
            text += part[1:]
            if part[:1] == "l":
                return text
            if part[:1] != "m":
                raise StubError(f"no description {name}: {part!r}")

    def register_numbers(self) -> dict[str, int]:
        """Every register that the stub has, by name."""
        if self._numbers is None:
            self._numbers = {}
            number = 0
            for include in re.findall(r'href="([^"]+)"', self._xml("target.xml")):
                text = re.sub(r"<!--.*?-->", "", self._xml(include), flags=re.S)
                for reg in re.findall(r"<reg\b[^>]*>", text):
                    given = re.search(r'regnum="(\d+)"', reg)
                    number = int(given[1]) if given else number
                    self._numbers[re.search(r'name="([^"]+)"', reg)[1]] = number
                    number += 1
        return self._numbers

    def register(self, cpu: str, *names: str) -> int:
        """The first of `names` that exists. Secure worlds have copies of their own."""
        numbers = self.register_numbers()
        for name in names:
            if name in numbers:
                self.ask(f"Hg{cpu}")
                answer = self.ask(f"p{numbers[name]:x}")
                if answer.startswith("E"):
                    raise StubError(f"cannot read {name}: {answer}")
                return int.from_bytes(bytes.fromhex(answer), "little")
        raise StubError(f"this machine has none of the registers {', '.join(names)}")

    def read(self, address: int, length: int) -> bytes:
        """Physical memory."""
        data = b""
        while len(data) < length:
            size = min(_PACKET // 2, length - len(data))
            answer = self.ask(f"m{address + len(data):x},{size:x}")
            if not answer or answer.startswith("E"):
                raise StubError(f"cannot read memory at {address + len(data):#x}: {answer!r}")
            data += bytes.fromhex(answer)
        return data
