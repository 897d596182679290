# SPDX-License-Identifier: GPL-2.0
"""Named buffers, of configfs and of a device tree that has some."""

import json

import boardinfo
import pytest
import report

BOARDS = boardinfo.names(lambda it: it.has_named_buffers)
DTB = "buffers"


@pytest.fixture(autouse=True)
def _emulated(request):
    if request.config.getoption("env"):
        pytest.skip("only an emulated board's device tree can be changed")


def test_guest(machine, subtests, quick):
    """What the other tests skip, since their boards' device trees have no such nodes."""
    cases = report.guest(subtests, machine, f"configfs devicetree {quick}")
    assert not [case.name for case in cases if case.result == "skip"]


def advised(machine, device: str) -> dict:
    """What `shmbuf advise` says of a device. Nothing stays of its dry run."""
    said = json.loads("\n".join(machine.check(f"shmbuf advise --json {device}")))
    assert machine.run("ls /dev /sys/kernel/config/shmbuf 2>/dev/null | grep advise").lines == []
    return said


def made(machine, said: dict) -> dict:
    """What `shmbuf info` says of the buffer that the lines of an advice make."""
    lines = " && ".join(said["configfs"]).replace("NAME", "advised")
    machine.check(f"({lines})")
    info = json.loads("\n".join(machine.check("shmbuf info --json advised")))
    machine.check("cd /sys/kernel/config/shmbuf && echo 0 >advised/enable && rmdir advised; cd /")
    return info


def test_advise(machine, subtests):
    """What devices of the board need, and that the lines which are printed make just that."""
    machine.check("mount -t configfs none /sys/kernel/config 2>/dev/null; :")
    machine.check("insmod /lib/modules/importer.ko")
    with subtests.test("without the module"):
        said = advised(machine, "importer-snooping")
        assert "load the module" in said["no_dry_run"]
        assert said["snoops"]["value"] is None
        assert advised(machine, "shmbuf-snooped")["snoops"]["value"] is True
    machine.check(f"insmod {machine.module}")
    with subtests.test("after one that was killed"):
        # With the ID of a process that is another by now.
        folder = "/sys/kernel/config/shmbuf/advise-dry-run-1"
        machine.check(f"mkdir {folder} && echo 1 >{folder}/enable")
        assert advised(machine, "importer-plain")["no_dry_run"] is None
        kill = "shmbuf advise importer-plain >/dev/null 2>&1 & usleep {}; kill -9 $!; wait"
        for milliseconds in range(20, 120, 10):
            machine.run(kill.format(milliseconds * 1000))
        assert advised(machine, "importer-plain")["no_dry_run"] is None
    amba = machine.check("ls -1 /sys/bus/amba/devices")[0]
    snooping = ("importer-snooping", "shmbuf-snooped")
    devices = ("importer-plain", amba, "shmbuf-bus:shmbuf-offset", *snooping)
    for device in devices:
        with subtests.test(device):
            said = advised(machine, device)
            assert said["no_dry_run"] is None
            assert said["iommu"]["value"] is False
            if device in snooping and machine.info.core == "arm926":
                # No device snoops its caches.
                assert said["fits"] == said["configfs"] == []
                assert all("virtual addresses" in it["refused"] for it in said["dry_run"])
                continue
            assert said["snoops"]["value"] is (device in snooping)
            info = made(machine, said)
            assert info["dma_device"] == device
            assert info["snoops"] is (device in snooping)
            fit = said["fits"][0]
            assert (fit["kind"], fit["policy"]) == (info["kind"], info["policy"])
            for it in said["dry_run"]:
                offset = it["dma_addr"] - it["phys_addr"]
                if device == "shmbuf-bus:shmbuf-offset":
                    (bus,) = said["dma_ranges"]["value"]
                    assert offset == bus["dma"] - bus["physical"] != 0
                else:
                    assert offset == 0
    machine.check("rmmod shmbuf importer")
