# SPDX-License-Identifier: GPL-2.0
"""The module builds as any other, and a tree that cannot take it is named."""

import re
import shutil
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
    release(folder, "7.3.4")
    config(folder, "CONFIG_MODULES=y", "CONFIG_RUST=y", f'CONFIG_RUSTC_VERSION_TEXT="{RUSTC}"')
    rustc = tmp_path / "rustc"
    rustc.write_text(f"#!/bin/sh\necho '{RUSTC}'\n")
    rustc.chmod(0o755)
    return folder


def config(folder: Path, *lines: str):
    (folder / "include/config/auto.conf").write_text("".join(f"{line}\n" for line in lines))


def release(folder: Path, name: str):
    (folder / "include/config/kernel.release").write_text(f"{name}\n")


def complaint(kdir: Path, **env: str) -> str:
    """What the check says: nothing, or one line."""
    result = subprocess.run(
        [TOP / "packaging/kdir/check", kdir],
        env={"RUSTC": str(kdir.parent / "rustc"), "PATH": "/usr/bin:/bin"} | env,
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


@pytest.mark.parametrize("file", ["auto.conf", "kernel.release"])
def test_not_built(kdir, file):
    (kdir / "include/config" / file).unlink()
    assert "not prepared" in complaint(kdir)


@pytest.mark.parametrize("name", ["7.2.12+deb13-amd64", "7.3-amd64", "7.3.0-rc7", "7.10", "8.0.1"])
def test_new_enough(kdir, name):
    release(kdir, name)
    assert complaint(kdir) == ""


@pytest.mark.parametrize("name", ["6.18.15+deb13-amd64", "7.0.0-rc1", "7.1.13"])
def test_too_old(kdir, name):
    release(kdir, name)
    assert complaint(kdir).startswith(f"shmbuf: the kernel {name} is too old")


def test_dkms_skips_what_is_too_old(kdir):
    settings = (TOP / "packaging/debian/shmbuf-dkms.dkms").read_text()
    major, minor = re.search(r'KERNEL_MIN="(\d+)\.(\d+)"', settings).groups()
    release(kdir, f"{major}.{minor}.0")
    assert complaint(kdir) == ""
    release(kdir, f"{major}.{int(minor) - 1}.99")
    assert "too old" in complaint(kdir)


def test_no_rust(kdir):
    config(kdir, "CONFIG_MODULES=y")
    assert "no CONFIG_RUST=y" in complaint(kdir)


def test_headers_only(kdir):
    """What a distribution packages is called so, and the command that helps is named."""
    (kdir / "rust/libkernel.rmeta").unlink()
    release(kdir, "7.3.4+deb13-amd64")
    said = complaint(kdir)
    assert "packaged kernel headers" in said
    assert "make prepare-kdir KERNEL=7.3.4+deb13-amd64" in said


@pytest.mark.parametrize("source", ["rust", "source/rust"])
def test_no_crates_yet(kdir, source):
    """In a tree with source they are quickly made: the whole kernel is not needed."""
    (kdir / "rust/libkernel.rmeta").unlink()
    (kdir / source).mkdir(parents=True, exist_ok=True)
    (kdir / source / "Makefile").touch()
    said = complaint(kdir)
    assert "make modules_prepare" in said
    assert "whole kernel" not in said


def test_moved(kdir):
    """What was moved, or a copy, would take files of the place that its makefile names."""
    (kdir / "Makefile").write_text(f"export KBUILD_OUTPUT = {kdir}\ninclude {kdir}/source.mk\n")
    assert "source.mk, which is not there" in complaint(kdir)
    (kdir / "source.mk").touch()
    assert complaint(kdir) == ""
    link = kdir.with_name("link")
    link.symlink_to(kdir)
    assert complaint(link) == ""
    copy = kdir.with_name("copy")
    shutil.copytree(kdir, copy)
    assert "was moved or copied" in complaint(copy)


def test_cross_built(kdir):
    """The macros cannot be loaded; rustc would say that there are none (E0463)."""
    library = kdir / "rust/libmacros.so"
    library.write_bytes(Path("/proc/self/exe").read_bytes()[:64])
    assert complaint(kdir) == ""
    # MIPS, which nobody builds on.
    library.write_bytes(library.read_bytes()[:18] + bytes([8, 0]))
    assert "for another processor" in complaint(kdir)


def test_another_architecture(kdir):
    """The crates are for another triple, as rustc would say (E0461)."""
    config(kdir, "CONFIG_ARM=y", "CONFIG_MODULES=y", "CONFIG_RUST=y")
    assert "say ARCH=arm" in complaint(kdir, ARCH="x86_64")
    assert complaint(kdir, ARCH="arm") == ""


def test_other_rustc(kdir):
    config(kdir, "CONFIG_MODULES=y", "CONFIG_RUST=y", "CONFIG_RUSTC_VERSION_TEXT=rustc 1.2.4")
    said = complaint(kdir)
    assert RUSTC in said
    assert "rustc 1.2.4" in said


def test_no_rustc(kdir):
    (kdir.parent / "rustc").unlink()
    assert "there is no" in complaint(kdir)


def test_unknown_name_in_a_pattern(tmp_path):
    """An error that the kernel crate lacks is a variable there, and would match all others too."""
    copy = copy_of_checkout(tmp_path / "shmbuf")
    source = copy / "src/buffer/importers.rs"
    known = source.read_text()
    source.write_text(known.replace("Err(EIO) =>", "Err(EUNKNOWN) =>"))
    assert source.read_text() != known
    kernel = shell_names('kernel_build "$1"', BOARD)[0]
    make = ["make", "-C", copy, f"KDIR={kernel}", "ARCH=arm", "LLVM=-19"]
    built = subprocess.run(make, capture_output=True, text=True, check=False)
    assert built.returncode != 0
    assert "error: variable `EUNKNOWN` should have a snake case name" in built.stderr


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
