# SPDX-License-Identifier: GPL-2.0
"""Drivers of Debian's kernel for ARMv7, as it is, under the coherence checker, with traffic."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import coherence
import pytest
from coherence import Finding
from tools import TOP, build_folder

#: What tests/stock/checked has made.
FILES = build_folder() / "stock-armhf/checked"

#: Devices: their arguments for QEMU, after the files of two disks. The network is QEMU's own.
DEVICES = """
    -m 512M
    -nic user,model=e1000,restrict=on,guestfwd=tcp:10.0.2.100:7-cmd:cat
    -drive file={nvme},if=none,id=nvme,format=raw -device nvme,drive=nvme,serial=1
    -device qemu-xhci -drive file={usb},if=none,id=usb,format=raw -device usb-storage,drive=usb
"""
#: What runs in the machine. The last is wrong on purpose: a program stores to cache lines of which
#: a device writes the rest. The driver of NVMe lets it, as O_DIRECT to any other disk does not.
FAULT = "traffic shared-line /dev/nvme0n1"
TRAFFIC = [
    "traffic disk /dev/nvme0n1",
    "traffic disk /dev/sda",
    "ping -c 3 10.0.2.2",
    "traffic tcp 10.0.2.100 7",
    FAULT,
]
#: What has to be seen of each driver at least: mappings, and allocations of coherent memory.
SEEN = {"nvme": (700, 3), "usbcore": (1000, 0), "e1000": (1000, 2), "xhci_hcd": (0, 2)}


@dataclass(frozen=True)
class Watched:
    """A run of `coherence run`."""

    status: int
    #: what it and the machine said
    text: str
    #: those that are not known
    findings: list[Finding]
    totals: dict


def watched(tree: Path, folder: Path) -> Watched:
    disks = {name: folder / name for name in ("nvme", "usb")}
    for disk in disks.values():
        with disk.open("w") as file:
            file.truncate(16 << 20)
    report = folder / "report"
    files = {
        "kernel": "vmlinuz",
        "initrd": "initramfs.gz",
        "symbols": "symbols",
        "modules": "modules",
        "program": "initramfs/bin/traffic",
    }
    words = ["run", "--machine", "virt,highmem=off", "--core", "cortex-a15"]
    words += [word for name, file in files.items() for word in (f"--{name}", FILES / file)]
    words += ["--dtb", tree, "--report", report]
    words += ["--append", f'console=ttyAMA0 quiet panic=-1 traffic="{";".join(TRAFFIC)}"']
    words += ["--", "-cpu", "cortex-a15", *DEVICES.format(**disks).split()]
    run = subprocess.run(
        [build_folder() / "coherence/coherence", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=900,
        check=False,
    )
    print(run.stdout)
    findings, totals = coherence.read(report)
    return Watched(run.returncode, run.stdout, coherence.divided(findings)[0], totals)


@pytest.fixture(scope="module", autouse=True)
def _made(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board's caches are modelled")
    subprocess.run([TOP / "tests/toolchain/build-command"], check=True)
    assert FILES.exists(), "tests/stock/checked makes what this needs"


def assert_traffic(run: Watched):
    """All of it came back, and the checker saw the drivers move it."""
    said = re.findall(r"^(ok|not ok) - (.*?)\r*$", run.text, re.M)
    assert said == [("ok", line) for line in TRAFFIC]
    assert "# end of the run" in run.text
    assert run.totals["accesses"] > 1e9
    assert (run.totals["forgotten"], run.totals["unlisted"]) == (0, 0)
    seen = run.totals["drivers"]
    for driver, (mappings, coherent) in SEEN.items():
        assert seen[driver]["mappings"] >= mappings, seen
        assert seen[driver]["coherent"] >= coherent, seen
        assert re.search(
            f"^coherence: {driver}: {seen[driver]['mappings']} mappings, ", run.text, re.M
        )


def test_drivers(tmp_path):
    """Nothing is found but what is known, and the fault of the program."""
    run = watched(FILES / "board.dtb", tmp_path)
    assert_traffic(run)
    assert all(it["snooped"] == 0 for it in run.totals["drivers"].values())
    assert run.totals["drivers"]["nvme"]["syncs"] >= 1000
    assert {it.hazard for it in run.findings} == {"shared-line", "dirty-over-device"}
    for finding in run.findings:
        place = finding.told["writer" if finding.hazard == "dirty-over-device" else "victim"]
        assert place["unit"] == "traffic", finding.text
        assert "shared_line at traffic.c:" in finding.text
        assert finding.told["lent"]["given"]["by"]["unit"] == "nvme", finding.text
    assert run.status == 2


def test_drivers_of_devices_that_look_into_the_caches(tmp_path):
    """With QEMU's own device tree nothing has to be maintained, and nothing is found."""
    run = watched(FILES / "snooping.dtb", tmp_path)
    assert_traffic(run)
    assert [it.text for it in run.findings] == []
    assert re.search(r"^coherence: nvme: .* looks into the caches", run.text, re.M)
    assert run.status == 0
