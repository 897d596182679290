# SPDX-License-Identifier: GPL-2.0
"""The module builds as any other, and a tree that cannot take it is named."""

import subprocess
from pathlib import Path

import boardinfo
import pytest
from tools import TOP, copy_of_checkout, must, shell_names

#: The board whose kernel it is built for: any for ARCH=arm.
BOARD = boardinfo.names(lambda it: not it.is_64bit)[0]

RUSTC = "rustc 1.2.3 (of the test)"


@pytest.fixture
def kdir(tmp_path) -> Path:
    """What looks like a built kernel with Rust, to be broken by a test."""
    folder = tmp_path / "kernel"
    (folder / "include/config").mkdir(parents=True)
    (folder / "rust").mkdir()
    (folder / "Makefile").touch()
    (folder / "rust/libkernel.rmeta").touch()
    config(folder, "CONFIG_MODULES=y", "CONFIG_RUST=y", f'CONFIG_RUSTC_VERSION_TEXT="{RUSTC}"')
    rustc = tmp_path / "rustc"
    rustc.write_text(f"#!/bin/sh\necho '{RUSTC}'\n")
    rustc.chmod(0o755)
    return folder


def config(folder: Path, *lines: str):
    (folder / "include/config/auto.conf").write_text("".join(f"{line}\n" for line in lines))


def complaint(kdir: Path) -> str:
    """What check-kdir says: nothing, or one line."""
    result = subprocess.run(
        [TOP / "packaging/kdir/check", kdir],
        env={"RUSTC": str(kdir.parent / "rustc"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == ""
    assert (result.returncode == 0) == (result.stderr == "")
    assert result.stderr.count("\n") <= 1
    return result.stderr


def test_good(kdir):
    assert complaint(kdir) == ""
    config(kdir, "CONFIG_MODULES=y", "CONFIG_RUST=y", f"CONFIG_RUSTC_VERSION_TEXT={RUSTC}")
    assert complaint(kdir) == ""


def test_no_folder(kdir):
    assert "is not a folder" in complaint(kdir / "nowhere")


def test_not_built(kdir):
    (kdir / "include/config/auto.conf").unlink()
    assert "not built" in complaint(kdir)


def test_no_rust(kdir):
    config(kdir, "CONFIG_MODULES=y")
    assert "no CONFIG_RUST=y" in complaint(kdir)


def test_headers_only(kdir):
    (kdir / "rust/libkernel.rmeta").unlink()
    assert "packaged kernel headers" in complaint(kdir)


def test_other_rustc(kdir):
    config(kdir, "CONFIG_MODULES=y", "CONFIG_RUST=y", "CONFIG_RUSTC_VERSION_TEXT=rustc 1.2.4")
    said = complaint(kdir)
    assert RUSTC in said
    assert "rustc 1.2.4" in said


def test_no_rustc(kdir):
    (kdir.parent / "rustc").unlink()
    assert "there is no" in complaint(kdir)


def test_module_targets(tmp_path):
    """With KDIR: build, install and clean in a copy, which ends as it began."""
    copy = copy_of_checkout(tmp_path / "shmbuf")
    before = sorted(copy.rglob("*"))

    kernel = shell_names('kernel_build "$1"', BOARD)[0]
    make = ["make", "-C", copy, f"KDIR={kernel}", "ARCH=arm", "LLVM=-19"]
    must(make)
    assert (copy / "shmbuf.ko").exists()
    must([*make, "modules_install", f"INSTALL_MOD_PATH={tmp_path / 'root'}"])
    assert len(list(tmp_path.glob("root/lib/modules/*/updates/shmbuf.ko"))) == 1
    must([*make, "rust-analyzer"])
    (copy / "rust-project.json").unlink()
    must([*make, "clean"])
    assert sorted(copy.rglob("*")) == before
