# SPDX-License-Identifier: GPL-2.0
"""`make install` and `make uninstall`: what is put somewhere is removed, and nothing else."""

import os
import shutil
import subprocess
from pathlib import Path

import boardinfo
import pytest
from tools import TOP, build_folder, copy_of_checkout, must, shell_names

#: The board whose kernel the module is for: any for ARCH=arm.
BOARD = boardinfo.names(lambda it: not it.is_64bit)[0]

#: What is installed besides the module.
FILES = [
    "{prefix}/bin/shmbuf",
    "{prefix}/include/shmbuf-helpers.h",
    "{prefix}/include/shmbuf.h",
    "{prefix}/share/bash-completion/completions/shmbuf",
    "{prefix}/share/fish/vendor_completions.d/shmbuf.fish",
    "{prefix}/share/man/man1/shmbuf.1",
    "{prefix}/share/shmbuf/manifest",
    "{prefix}/share/zsh/site-functions/_shmbuf",
    "{rules}/60-shmbuf.rules",
]
RULES = "etc/udev/rules.d"


@pytest.fixture
def stage(tmp_path) -> Path:
    """What kbuild leaves of a module that it has installed, and a tool."""
    module = tmp_path / "stage/lib/modules/7.3.0/updates/shmbuf.ko"
    module.parent.mkdir(parents=True)
    module.write_text("module")
    tool = tmp_path / "shmbuf"
    tool.write_text('#!/bin/sh\necho "$@"\n')
    tool.chmod(0o755)
    return tmp_path / "stage"


def run(script: str, *args: Path, **places: str) -> tuple[int, str]:
    """What `install` or `uninstall` answers."""
    result = subprocess.run(
        [TOP / "packaging" / script, *args],
        env={"PATH": os.environ["PATH"], **places},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


def install(stage: Path, root: Path, **places: str):
    tool = stage.parent / "shmbuf"
    status, said = run("install", stage, tool, tool, DESTDIR=str(root), **places)
    assert status == 0, said
    assert said.count("\n") == 1
    assert f"installed below {root}" in said


def uninstall(root: Path, **places: str) -> str:
    status, said = run("uninstall", DESTDIR=str(root), **places)
    assert status == 0, said
    assert said.count("\n") == 1
    return said


def tree(root: Path) -> dict[str, bytes | None]:
    """All files, with what is in them, and all folders."""
    paths = sorted(root.rglob("*"))
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in paths}


def strangers(root: Path, *names: str):
    """Files and, where a name ends with a slash, empty folders of others."""
    for name in names:
        if name.endswith("/"):
            (root / name).mkdir(parents=True)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)


def installed(root: Path) -> list[str]:
    return sorted(name for name, text in tree(root).items() if text is not None)


def test_all_is_removed(stage, tmp_path):
    root = tmp_path / "root"
    install(stage, root)
    files = [name.format(prefix="usr/local", rules=RULES) for name in FILES]
    assert installed(root) == sorted([*files, "lib/modules/7.3.0/updates/shmbuf.ko"])
    assert (root / "usr/local/bin/shmbuf").stat().st_mode & 0o777 == 0o755
    page = root / "usr/local/share/man/man1/shmbuf.1"
    assert (page.read_text(), page.stat().st_mode & 0o777) == ("man\n", 0o644)
    uninstall(root)
    assert tree(root) == {}


def test_the_places_can_be_chosen(stage, tmp_path):
    root = tmp_path / "root"
    places = {
        "PREFIX": "/opt/x",
        "UDEV_RULES_DIR": "/usr/lib/udev/rules.d",
        "INSTALL_MOD_PATH": "/usr",
    }
    install(stage, root, **places)
    files = [name.format(prefix="opt/x", rules="usr/lib/udev/rules.d") for name in FILES]
    assert installed(root) == sorted([*files, "usr/lib/modules/7.3.0/updates/shmbuf.ko"])
    # The manifest knows the rest.
    uninstall(root, PREFIX="/opt/x")
    assert tree(root) == {}


def fails(folder: Path, program: str, word: str):
    """Make a program that fails if one of its words has another in it."""
    folder.mkdir()
    real = shutil.which(program)
    (folder / program).write_text(f'#!/bin/sh\ncase $* in *{word}*) exit 1 ;; esac\n{real} "$@"\n')
    (folder / program).chmod(0o755)


def test_files_of_others_are_not_replaced(stage, tmp_path):
    root = tmp_path / "root"
    strangers(root, f"{RULES}/60-shmbuf.rules")
    before = tree(root)
    tool = stage.parent / "shmbuf"
    status, said = run("install", stage, tool, tool, DESTDIR=str(root))
    assert status == 1
    assert said.startswith(f"shmbuf: {root}/{RULES}/60-shmbuf.rules is there already")
    assert tree(root) == before


def test_installing_again_replaces_what_is_ours(stage, tmp_path):
    root = tmp_path / "root"
    install(stage, root)
    (stage / "lib/modules/7.3.0/updates/shmbuf.ko").write_text("newer")
    install(stage, root)
    assert (root / "lib/modules/7.3.0/updates/shmbuf.ko").read_text() == "newer"
    uninstall(root)
    assert tree(root) == {}


def test_uninstalling_goes_on_where_it_failed(stage, tmp_path):
    root = tmp_path / "root"
    install(stage, root)
    fails(tmp_path / "fake", "rm", "include")
    status, _ = run("uninstall", DESTDIR=str(root), PATH=f"{tmp_path}/fake:{os.environ['PATH']}")
    assert status == 1
    uninstall(root)
    assert tree(root) == {}


def test_what_others_have_stays(stage, tmp_path):
    """Files in the same folders, and folders that were there and empty."""
    root = tmp_path / "root"
    strangers(
        root,
        "lib/modules/7.3.0/updates/other.ko",
        "usr/local/bin/shmbuf-of-mine",
        "usr/local/include/",
        "usr/local/share/man/man1/other.1",
        f"{RULES}/60-other.rules",
    )
    before = tree(root)
    install(stage, root)
    assert tree(root) != before
    uninstall(root)
    assert tree(root) == before


def test_installed_twice_is_removed_once(stage, tmp_path):
    """Also what only the first installation has put there: a module of another kernel."""
    root = tmp_path / "root"
    install(stage, root)
    (stage / "lib/modules/7.3.0").rename(stage / "lib/modules/7.3.1")
    install(stage, root)
    assert len(list(root.glob("lib/modules/*/updates/shmbuf.ko"))) == 2
    uninstall(root)
    assert tree(root) == {}


def test_what_came_later_stays(stage, tmp_path):
    root = tmp_path / "root"
    install(stage, root)
    strangers(root, "usr/local/share/shmbuf/notes")
    said = uninstall(root)
    assert installed(root) == ["usr/local/share/shmbuf/notes"]
    assert f"except folders that hold other files: {root}/usr/local/share/shmbuf " in said


def test_an_installation_that_failed_can_be_removed(stage, tmp_path):
    root = tmp_path / "root"
    fails(tmp_path / "fake", "install", "man1")
    tool = stage.parent / "shmbuf"
    path = f"{tmp_path}/fake:{os.environ['PATH']}"
    status, _ = run("install", stage, tool, tool, DESTDIR=str(root), PATH=path)
    assert status != 0
    assert (root / "usr/local/bin/shmbuf").exists()
    uninstall(root)
    assert tree(root) == {}


def test_nothing_is_left_of_a_tool_that_does_not_run(stage, tmp_path):
    root = tmp_path / "root"
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\n[ $1 = man ]\n")
    broken.chmod(0o755)
    status, _ = run("install", stage, broken, broken, DESTDIR=str(root))
    assert status != 0
    assert tree(root) == {}


def test_nothing_is_installed(tmp_path):
    status, said = run("uninstall", DESTDIR=str(tmp_path))
    assert status == 1
    assert said.startswith(f"shmbuf: nothing is installed: there is no {tmp_path}/usr/local/share")
    assert said.count("\n") == 1


def test_a_board_s_module_is_not_for_this_machine():
    result = subprocess.run(
        ["make", "-C", TOP, "install"], capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "say where with DESTDIR=" in result.stderr


def test_make(tmp_path, request):
    """With a kernel of one's own: all of it is built, installed and removed."""
    if not request.config.getoption("all_boards"):
        pytest.skip("it builds all once more: make test-all")
    root = tmp_path / "root"
    release = "lib/modules/7.3.4-of-another"
    strangers(root, f"{release}/kernel/other.ko", "usr/local/bin/other")
    before = tree(root)
    copy = copy_of_checkout(tmp_path / "shmbuf")
    kernel = shell_names('kernel_build "$1"', BOARD)[0]
    make = ["make", "-C", copy, f"KDIR={kernel}", "ARCH=arm", "LLVM=-19", f"DESTDIR={root}"]
    cargo = {"CARGO_TARGET_DIR": str(build_folder() / "cargo")}
    said = must([*make, "install"], **cargo)
    assert f"installed below {root}" in said.splitlines()[-2]
    (module,) = root.glob("lib/modules/*/updates/shmbuf.ko")
    assert module.read_bytes()[:4] == b"\x7fELF"
    assert ".TH shmbuf 1" in (root / "usr/local/share/man/man1/shmbuf.1").read_text()
    must([root / "usr/local/bin/shmbuf", "--version"])
    must([*make[:3], f"DESTDIR={root}", "uninstall"])
    assert tree(root) == before


def test_programs_are_named():
    """`make programs` says where they are."""
    said = must(["make", "-C", TOP, "programs", f"BOARD={BOARD}"])
    folder = Path(said.splitlines()[-2].removeprefix("programs: "))
    for name in ("shmbuf", "shmbuf-pattern", "shmbuf-ring"):
        assert (folder / name).exists()
