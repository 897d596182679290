# SPDX-License-Identifier: GPL-2.0
"""Buildroot's and Yocto's recipes agree with the tree, as far as it shows without these two."""

import hashlib
import re
import subprocess
import tomllib
from pathlib import Path

import boardinfo
import pytest
from tools import TOP, must, shell_names

BUILDROOT = TOP / "packaging/buildroot"
MK = BUILDROOT / "package/shmbuf/shmbuf.mk"
LINUX = BUILDROOT / "linux/linux-ext-shmbuf.mk"
DEFCONFIGS = sorted((BUILDROOT / "configs").iterdir())

YOCTO = TOP / "packaging/yocto"
RECIPES = sorted(YOCTO.rglob("*.bb"))
COMMON = YOCTO / "recipes-shmbuf/shmbuf/shmbuf.inc"

VERSION = tomllib.loads((TOP / "lib/Cargo.toml").read_text())["workspace"]["package"]["version"]

#: Any board whose kernel the set-up builds: with it comes a Kconfig.
BOARD = boardinfo.names(lambda it: not it.is_64bit)[0]

#: What the package's Config.in takes from Buildroot.
KCONFIG = """
config BR2_arm
	def_bool y
config BR2_aarch64
	bool
config BR2_x86_64
	bool
config BR2_PACKAGE_HOST_RUSTC_TARGET_ARCH_SUPPORTS
	def_bool y
config BR2_HOST_GCC_AT_LEAST_7
	def_bool y
config BR2_HOST_CMAKE_AT_LEAST_3_20
	bool
config BR2_PACKAGE_HOST_RUSTC
	bool "rustc"
"""

#: What Buildroot's makefiles define, and a question.
BR2 = """
BR2_EXTERNAL_SHMBUF_PATH = {external}
BR2_PACKAGE_SHMBUF = y
BR2_PACKAGE_HAS_UDEV = y
HOSTCC_NOCCACHE = gcc
HOST_CFLAGS = -O2 -I/host/include
HOST_LDFLAGS = -L/host/lib
LINUX_MAKE_FLAGS = HOSTCC="gcc -O2"
include {external}/external.mk
include $(wildcard {external}/linux/linux-ext-*.mk)
all: ; @: $(info $({variable}))
"""


def value(variable: str) -> str:
    """What make makes of a variable of the packages."""
    text = BR2.format(external=BUILDROOT, variable=variable)
    return must(["make", "--silent", "--file=/dev/null", f"--eval={text}"]).strip()


def assigned(defconfig: Path) -> dict[str, str]:
    """Options of a configuration, by name."""
    lines = [line for line in defconfig.read_text().splitlines() if line.startswith("BR2_")]
    return dict(line.split("=", 1) for line in lines)


def test_version():
    assert value("SHMBUF_VERSION") == VERSION
    assert len(RECIPES) == 2
    for recipe in RECIPES:
        assert recipe.stem.endswith(f"_{VERSION}"), recipe


def test_buildroot_finds_the_tree():
    assert "\nname: SHMBUF\n" in (BUILDROOT / "external.desc").read_text()
    assert Path(value("SHMBUF_SITE")).resolve() == TOP
    assert (TOP / value("SHMBUF_SUBDIR") / "Cargo.toml").exists()
    excluded = value("SHMBUF_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS").removeprefix("--exclude-from=")
    assert Path(excluded).resolve() == TOP / ".gitignore"


def test_buildroot_names_files_that_exist():
    used = re.findall(r"\$\(@D\)/([\w./-]+)", MK.read_text())
    assert len(used) > 3
    for path in used:
        assert (TOP / path).exists(), path
    for file in BUILDROOT.rglob("*"):
        text = file.read_text() if file.is_file() else ""
        for path in re.findall(r"\$\(?BR2_EXTERNAL_SHMBUF_PATH\)?/([\w./-]+)", text):
            assert (BUILDROOT / path).exists(), f"{file}: {path}"


def test_buildroot_hashes():
    lines = [
        line.split()
        for line in MK.with_suffix(".hash").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert [name for _, _, name in lines] == value("SHMBUF_LICENSE_FILES").split()
    for kind, digest, name in lines:
        assert hashlib.new(kind, (TOP / name).read_bytes()).hexdigest() == digest, name


def test_buildroot_linker_is_one_word():
    """The kernel gives HOSTCC to rustc as -Clinker=, and the last one on a line of make holds."""
    last = re.findall(r'HOSTCC="([^"]*)"', value("LINUX_MAKE_FLAGS"))[-1]
    assert last == "gcc"


def choose(folder: Path, kernel: str) -> set[str]:
    """What a kernel's Kconfig leaves of a configuration with the package."""
    conf = Path(shell_names('kernel_build "$1"', BOARD)[0]) / "scripts/kconfig/conf"
    (folder / "Kconfig").write_text(
        f"{KCONFIG}config BR2_LINUX_KERNEL\n\tdef_bool {kernel}\n"
        f'source "{MK.with_name("Config.in")}"\n'
    )
    (folder / ".config").write_text("BR2_PACKAGE_SHMBUF=y\n")
    must([conf, "-s", "--olddefconfig", "Kconfig"], cwd=folder, CONFIG_="")
    return set((folder / ".config").read_text().splitlines())


def test_buildroot_option(tmp_path):
    """The package can be chosen, and brings the compiler; without a kernel it cannot."""
    assert {"BR2_PACKAGE_SHMBUF=y", "BR2_PACKAGE_HOST_RUSTC=y"} <= choose(tmp_path, "y")
    assert "BR2_PACKAGE_SHMBUF=y" not in choose(tmp_path, "n")


def test_buildroot_boards():
    """Both boards have one kernel, whose device trees it has, and differ in nothing else."""
    vexpress, zynq = map(assigned, DEFCONFIGS)
    differing = {name for name in vexpress | zynq if vexpress.get(name) != zynq.get(name)}
    tree, console = "BR2_LINUX_KERNEL_INTREE_DTS_NAME", "BR2_TARGET_GENERIC_GETTY_PORT"
    assert differing == {tree, console}
    source = Path(shell_names("kernel_source")[0])
    for board in vexpress, zynq:
        name = board[tree].strip('"')
        assert (source / f"arch/arm/boot/dts/{name}.dts").exists(), name
        version = board["BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE"].strip('"')
        assert f"tested with {version}," in (TOP / "README.md").read_text()


def test_yocto_names_files_that_exist():
    for recipe in [COMMON, *RECIPES]:
        named = re.findall(r"(?<=file://)[\w./-]+", recipe.read_text())
        assert named, recipe
        for path in named:
            assert (TOP / path).exists(), f"{recipe}: {path}"
    installed = re.findall(r"\$\{S\}/([\w./-]+)", RECIPES[1].read_text())
    assert len(installed) > 2
    for path in installed:
        assert (TOP / path).exists(), path


def test_yocto_licence():
    digest = hashlib.md5((TOP / "LICENSE").read_bytes(), usedforsecurity=False).hexdigest()
    assert f'"file://LICENSE;md5={digest}"' in COMMON.read_text()


def test_yocto_has_the_workspace():
    """The recipe has all members of the command's workspace."""
    workspace = tomllib.loads((TOP / "lib/Cargo.toml").read_text())["workspace"]
    named = re.findall(r"(?<=file://)[\w./-]+", RECIPES[1].read_text())
    for member in workspace["members"]:
        path = (TOP / "lib" / member).resolve().relative_to(TOP)
        assert any(path.is_relative_to(it) for it in named), member


def test_yocto_crates():
    """All are crates.io's, which is where the recipe has bitbake get them, with a checksum."""
    packages = tomllib.loads((TOP / "lib/Cargo.lock").read_text())["package"]
    crates = [it for it in packages if "source" in it]
    assert len(crates) > 10
    for crate in crates:
        assert "crates.io-index" in crate["source"], crate["name"]
        assert len(crate["checksum"]) == 64, crate["name"]


@pytest.mark.parametrize("target", ["buildroot", "yocto"])
def test_a_checkout_is_asked_for(target):
    """In one sentence, which says how to name it."""
    result = subprocess.run(
        ["make", "--silent", "-C", TOP, target], capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert result.stderr.startswith(f"shmbuf: make {target} "), result.stderr
