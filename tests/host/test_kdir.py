# SPDX-License-Identifier: GPL-2.0
"""Packaged headers become a KDIR, or one sentence says what is missing."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tools import TOP

KERNEL = "7.3.4+deb13-amd64"
VERSION = "7.3.4-1~bpo13+1"
HEADERS = f"linux-headers-{KERNEL}"
SOURCE = "linux-source-7.3"
RUSTC = "rustc 1.2.3 (of the test)"

#: Programs that are as usual.
REAL = ["basename", "bash", "cat", "cp", "dirname", "grep", "mkdir", "mv", "od", "rm", "sed", "sh"]
REAL += ["tail", "tar", "touch", "tr", "uname", "xz"]

#: Programs that the scripts ask for, and what each does here.
FAKES = {
    "rustc": f'[ "$1" = --print ] && echo "$ROOT" || echo "{RUSTC}"',
    "x86_64-linux-gnu-gcc-14": ":",
    "bindgen": ":",
    "bc": ":",
    "flex": ":",
    "bison": ":",
    "pahole": ":",
    "df": "echo Avail; echo 9000M",
    "nproc": "echo 2",
    # Of the package in the last argument, as the file of that name says; -L lists its files.
    "dpkg-query": """
        for package; do :; done
        [ -e "$ROOT/$package" ] || exit 1
        case $* in
        *db:Status*) sed -n 1p "$ROOT/$package" ;;
        *) sed 1d "$ROOT/$package" ;;
        esac""",
    # What the headers set for kbuild, and a preparation that "makes" the crates.
    "make": """
        case $* in
        *modules_prepare*)
            for word; do case $word in O=*) out=${word#O=} ;; esac; done
            [ -s "$out/.config" ] && [ -s "$out/include/config/auto.conf" ] || exit 1
            [ -e "$2/rust/helpers/net/netlink.c" ] && [ ! -e "$2/net/core/dev.c" ] || exit 1
            eval "$BROKEN"
            mkdir -p "$out/rust/kernel" "$out/scripts/mod"
            echo ours >"$out/scripts/mod/modpost"
            touch "$out/rust/libkernel.rmeta" "$out/rust/libmacros.so" "$out/scripts/target.json"
            touch "$out/rust/kernel/generated_arch_warn_asm.rs" ;;
        *) exec /usr/bin/make "$@" ;;
        esac""",
}


class System:
    """A system with headers and source of a kernel, to be broken by a test."""

    def __init__(self, root: Path):
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir()
        for name in REAL:
            (self.bin / name).symlink_to(shutil.which(name))
        for name, script in FAKES.items():
            self.fake(name, script)
        self.headers = root / "usr/src" / HEADERS
        (self.headers / "include/config").mkdir(parents=True)
        (self.headers / "include/generated").mkdir()
        (self.headers / "scripts/mod").mkdir(parents=True)
        (self.headers / "scripts/mod/modpost").touch()
        (self.headers / ".config").write_text("CONFIG_RUST=y\n")
        for name in ("autoconf.h", "rustc_cfg"):
            (self.headers / "include/generated" / name).touch()
        (self.headers / "include/config/kernel.release").write_text(f"{KERNEL}\n")
        (self.headers / ".kernelvariables").write_text(
            "override ARCH = x86\noverride CROSS_COMPILE = x86_64-linux-gnu-\n"
            "CC = $(if $(CCACHE),ccache) $(CROSS_COMPILE)gcc-14\n"
        )
        (self.headers / "Makefile").write_text(
            f"KBUILD_OUTPUT={self.headers}\ninclude {root}/common/Makefile\n"
        )
        (root / "common").mkdir()
        (root / "common/Makefile").touch()
        self.config("MODULES=y", "RUST=y", f'RUSTC_VERSION_TEXT="{RUSTC}"')
        library = root / "lib/rustlib/src/rust/library/core/src/lib.rs"
        library.parent.mkdir(parents=True)
        library.touch()
        for name in ("rust/helpers/net/netlink.c", "net/core/dev.c"):
            (root / "linux-source-7.3" / name).parent.mkdir(parents=True)
            (root / "linux-source-7.3" / name).touch()
        tarball = root / "usr/src/linux-source-7.3.tar.xz"
        subprocess.run(["tar", "-C", root, "-cJf", tarball, "linux-source-7.3"], check=True)
        self.package(HEADERS, files=[self.headers, self.headers / ".kernelvariables"])
        shutil.rmtree(root / "linux-source-7.3")
        self.package(SOURCE, files=[tarball])

    def fake(self, name: str, script: str):
        """A program that the script finds in PATH."""
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def package(self, name: str, version=VERSION, state="installed", files=()):
        """What dpkg knows of a package."""
        lines = [f"{state} {version}", *files]
        (self.root / name).write_text("".join(f"{line}\n" for line in lines))

    def config(self, *settings: str):
        """The kernel's configuration."""
        text = "".join(f"CONFIG_{setting}\n" for setting in settings)
        (self.headers / "include/config/auto.conf").write_text(text)

    def run(self, script: str, *arguments: str | Path, broken: str = "") -> tuple[int, str, str]:
        """The status of a script, and what it printed: for programs, and for people."""
        result = subprocess.run(
            [TOP / "packaging/kdir" / script, *arguments],
            env={"PATH": str(self.bin), "ROOT": str(self.root), "BROKEN": broken},
            capture_output=True,
            text=True,
            check=False,
        )
        return result.returncode, result.stdout, result.stderr

    def prepare(self, broken: str = "") -> tuple[int, str, str]:
        return self.run("prepare", KERNEL, self.root / "kdir", broken=broken)

    def complaint(self, broken: str = "") -> str:
        """The sentence of a preparation that is refused."""
        status, out, said = self.prepare(broken)
        assert (status, out) == (1, "")
        sentence = said.splitlines()[-1]
        assert broken or said.count("\n") == 1
        assert sentence.startswith("shmbuf: ")
        assert not (self.root / "kdir").exists()
        assert not (self.root / "kdir.work").exists()
        return sentence


@pytest.fixture
def system(tmp_path) -> System:
    return System(tmp_path)


def test_headers_become_a_kdir(system):
    """The headers are refused with the command that helps; what it makes is accepted."""
    status, _, said = system.run("check", system.headers)
    assert status == 1
    assert f"make prepare-kdir KERNEL={KERNEL}" in said
    assert system.prepare()[:2] == (0, f"KDIR={system.root}/kdir\n")
    made = system.root / "kdir"
    (made / "rust/libmacros.so").unlink()
    assert system.run("check", made) == (0, "", "")
    assert (made / ".config").read_text() == (system.headers / ".config").read_text()
    assert (made / "scripts/target.json").exists()
    assert (made / "scripts/mod/modpost").read_text() == "ours\n"
    assert not (system.root / "kdir.work").exists()
    assert not (system.headers / "rust").exists()


def test_again_over_an_old_one(system):
    assert system.prepare()[0] == 0
    (system.root / "kdir/old").touch()
    assert system.prepare()[0] == 0
    assert not (system.root / "kdir/old").exists()


def test_a_folder_of_others_stays(system):
    (system.root / "kdir").mkdir()
    (system.root / "kdir/of-mine").touch()
    status, out, said = system.prepare()
    assert (status, out) == (1, "")
    assert said.startswith(f"shmbuf: {system.root}/kdir is there already")
    assert (system.root / "kdir/of-mine").exists()


def test_while_packages_are_upgraded(system):
    files = [system.headers / ".kernelvariables"]
    system.package(HEADERS, state="half-configured", files=files)
    assert system.prepare()[0] == 0


def test_too_old(system):
    status, out, said = system.run("prepare", "7.1.13+deb13-amd64", system.root / "kdir")
    assert (status, out) == (1, "")
    assert said.startswith("shmbuf: the kernel 7.1.13+deb13-amd64 is too old")


def test_no_dpkg(system):
    (system.bin / "dpkg-query").unlink()
    assert "no dpkg" in system.complaint()


def test_headers_are_not_installed(system):
    system.package(HEADERS, state="config-files")
    assert f"apt install {HEADERS}" in system.complaint()
    (system.root / HEADERS).unlink()
    assert f"apt install {HEADERS}" in system.complaint()


def test_source_is_not_installed(system):
    (system.root / SOURCE).unlink()
    assert f"apt install {SOURCE}={VERSION}" in system.complaint()


def test_source_of_another_version(system):
    system.package(SOURCE, version="7.3.5-1", files=["/usr/src/linux-source-7.3.tar.xz"])
    said = system.complaint()
    assert "7.3.5-1" in said
    assert VERSION in said


def test_headers_of_another_architecture(system):
    """They want its compiler, and tools that run here."""
    variables = system.headers / ".kernelvariables"
    variables.write_text(variables.read_text().replace("x86_64", "aarch64"))
    assert "there is no aarch64-linux-gnu-gcc-14" in system.complaint()
    system.fake("aarch64-linux-gnu-gcc-14", ":")
    fixdep = system.headers / "scripts/basic/fixdep"
    fixdep.parent.mkdir()
    fixdep.write_bytes(bytes(18) + b"\xb7\0")
    assert "are for another processor" in system.complaint()
    fixdep.unlink()
    assert system.prepare()[0] == 0


def test_kernel_without_rust(system):
    system.config("MODULES=y")
    assert "no CONFIG_RUST=y" in system.complaint()


@pytest.mark.parametrize("tool", ["x86_64-linux-gnu-gcc-14", "bindgen", "pahole"])
def test_no_tool(system, tool):
    (system.bin / tool).unlink()
    assert f"there is no {tool} in PATH: apt install" in system.complaint()


def test_no_rustc(system):
    system.fake("rustc", "exit 127")
    assert "does not work" in system.complaint()


def test_another_rustc(system):
    system.fake("rustc", "echo rustc 1.2.4")
    assert RUSTC in system.complaint()


def test_no_rust_src(system):
    (system.root / "lib/rustlib/src/rust/library/core/src/lib.rs").unlink()
    assert "apt install rust-src" in system.complaint()


def test_no_room(system):
    system.fake("df", "echo Avail; echo 12M")
    assert "12 MB are free" in system.complaint()


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ("echo 'write: No space left on device'; exit 1", "ran out of disk space"),
        ("echo 'process did not exit: (signal: 9, SIGKILL: kill)'; exit 1", "ran out of memory"),
        ("echo reason; exit 1", "all that was printed is in"),
    ],
)
def test_failed_preparation(system, broken, sentence):
    assert sentence in system.complaint(broken)


def test_what_failed_is_shown(system):
    assert "reason\n" in system.prepare("echo reason; exit 1")[2]
