# SPDX-License-Identifier: GPL-2.0
"""The pages agree with the tree and the driver: links lead somewhere, commands do what they say."""

import re
import subprocess

import board as boards
import boardinfo
import pages
import pytest
from pages import Block
from tools import TOP

#: Its kernel has all that the pages use on a board: configfs, a PCI device, a DMA engine.
BOARDS = boardinfo.names(lambda it: it.core == "arm926")

#: What a line that is typed begins with; others are printed, or are pieces of files.
TYPED = (
    "make|dpkg|insmod|rmmod|modprobe|depmod|rm|mount|cd|patch|mkdir|echo|for|shmbuf|shmbuf-edu|shmbuf-test"
    "|first|apt|scp|ssh|cargo|objcopy|qemu-system-arm|bitbake-layers|tests/toolchain/in-tree"
    "|arm-linux-gnueabihf-gcc|#"
)
#: What is printed and looks typed.
PRINTED = "shmbuf shmbuf-refused: |shmbuf: |first: |#include |insmod shmbuf.ko \\["

#: Where a block is typed, by its page and what it begins with. Those of `make` alone need none.
WHERE = {
    ("README.md", "make deb"): "tests/stock/run",
    ("README.md", "make KDIR=/"): "tests/host/test_build.py::test_module_targets",
    ("boards.md", "make KDIR=/path/to/build ARCH=arm LLVM=1\n"): "a board with a network",
    ("boards.md", "rm "): "a board with a network",
    ("armv5-rust-patch.md", "cd linux-7.3"): "tests/toolchain/setup-kernel",
    ("first-program.md", "arm-linux"): "tests/host/test_shell.py::test_first_program",
    ("first-program.md", "tests/toolchain"): "tests/host/test_shell.py::test_first_program",
    ("first-program.md", "insmod"): "tests/host/test_shell.py::test_first_program",
    ("recipes.md", "mkdir"): "tests/host/test_recipes.py::test_page_compiles_the_programs",
    ("recipes.md", "#"): "tests/host/test_recipes.py::test_recipes",
    ("recipes.md", "# python3"): "tests/host/test_python.py::test_on_board",
    ("kernels.md", "make deb"): "tests/stock/run",
    (
        "kernels.md",
        "apt install linux-headers",
    ): "tests/host/test_kdir.py::test_headers_become_a_kdir",
    ("kernels.md", "dpkg --add"): "tests/stock/cross",
    ("buildroot-yocto.md", "cd buildroot"): "tests/toolchain/build-buildroot",
    ("buildroot-yocto.md", "qemu-system-arm"): "whoever has built an image",
    ("buildroot-yocto.md", "bitbake-layers"): "tests/toolchain/check-yocto",
    ("pci-device.md", "make shell"): "tests/host/test_pages.py::test_pci_device",
    ("pci-device.md", "shmbuf-edu"): "tests/host/test_swiotlb.py::test_sample",
    ("named-buffers.md", "mount"): "tests/host/test_pages.py::test_named_buffer",
    ("user-guide.md", "shmbuf alloc"): "tests/host/test_pages.py::test_named_buffer",
    ("testing.md", "shmbuf-test list"): "tests/host/test_pages.py::test_guest_by_hand",
    ("tools/coherence/README.md", "cargo"): "tests/host/test_lint.py::test_cargo",
    ("tools/coherence/README.md", "objcopy"): "tests/host/coherence.py::layout",
}


def every_block() -> list[Block]:
    return [block for page in pages.pages() for block in pages.blocks(page)]


def is_typed(line: str) -> bool:
    return bool(re.match(rf"({TYPED})(\s|$)", line)) and not re.match(PRINTED, line)


def is_make(line: str) -> bool:
    return bool(re.match(r"([A-Z_]+=\S* )?make( |$)", line))


def block(page: str, begins: str) -> Block:
    """The one block of a page that begins so."""
    (found,) = [
        it for it in every_block() if it.page.endswith(page) and it.lines[0].startswith(begins)
    ]
    return found


def test_links():
    """Each leads to a file, and to a heading where it names one."""
    wrong = []
    for page in pages.pages():
        for link in pages.links(page):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if ":" in path:
                continue
            if not target.exists():
                wrong.append(f"{pages.name(page)}: nothing at {link}")
            elif anchor and target.suffix == ".md" and anchor not in pages.anchors(target):
                wrong.append(f"{pages.name(page)}: no heading for {link}")
    assert wrong == []


def test_security_names_its_tests():
    """Each line of the tables names what shows it, and all of that exists."""
    page = (TOP / "Documentation/security.md").read_text()
    rows = re.findall(r"^\| (\w.*) \| (.*) \|$", page, re.M)
    assert len(rows) > 20
    guest = "".join(it.read_text() for it in (TOP / "tests/guest/src/tests").rglob("*.rs"))
    wrong = []
    for sentence, tests in rows:
        names = re.findall("`([^`]*)`", tests)
        wrong += [] if names else [f"nothing shows: {sentence}"]
        for name in names:
            file, _, function = name.rpartition("::")
            there = f"def {function}(" in (TOP / file).read_text() if file else f'"{name}"' in guest
            wrong += [] if there else [f"no test {name}: {sentence}"]
    assert wrong == []


def make_commands() -> list[tuple[str, str]]:
    """Each `make` of a block, with its page."""
    lines = [(it.page, line) for it in every_block() for line in it.lines if is_make(line)]
    return [(page, re.sub(r"\s+#.*", "", line)) for page, line in lines]


def test_make_targets():
    """Targets and files that the pages name exist, and so do variables, here or elsewhere."""
    makefile = (TOP / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z_-]+):", makefile, re.M))
    targets |= {it.name for it in (TOP / "packaging/buildroot/configs").iterdir()}
    of_others = {"ARCH", "LLVM", "INSTALL_MOD_PATH", "BR2_EXTERNAL"}
    assert len(make_commands()) > 10
    for page, command in make_commands():
        for path in re.findall(r"tests/[\w/.]+", command):
            assert (TOP / path).exists(), f"{page}: {command}"
        words = re.sub(r'"[^"]*"', "", command.partition("make")[2]).split()
        variables = {word.split("=")[0] for word in words if "=" in word}
        unknown = {word for word in words if "=" not in word} - targets
        unknown |= {
            it for it in variables - of_others if not re.search(rf"\((value )?{it}\)", makefile)
        }
        assert not unknown, f"{page}: {command}"


def test_make_runs_each_test():
    """No file of tests is forgotten by `make test-all`."""
    makefile = (TOP / "Makefile").read_text()
    lists = " ".join(re.findall(r"tests/host/test_,([^)]*)\)", makefile)).split()
    assert {f"test_{name}" for name in lists} == {
        path.name for path in (TOP / "tests/host").glob("test_*.py")
    }


def c_blocks() -> list[tuple[str, str]]:
    """Each piece of C of the pages that says what it includes, and so is whole, with its page."""
    return [
        (pages.name(page), text)
        for page in pages.pages()
        for text in re.findall(r"^```c\n(.*?)^```$", page.read_text(), re.M | re.S)
        if "#include <" in text and "#include <linux/" not in text
    ]


def test_c_compiles(subtests):
    assert len({page for page, _ in c_blocks()}) >= 3
    options = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-fsyntax-only"]
    folders = [f"-I{TOP}/include/uapi", f"-I{TOP}/lib/c"]
    for page, text in c_blocks():
        with subtests.test(msg=page, text=text):
            result = subprocess.run(
                ["arm-linux-gnueabihf-gcc", "-std=gnu11", *options, *folders, "-xc", "-"],
                input=text,
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, result.stderr


def test_each_block_is_typed_somewhere():
    """Whoever adds commands to a page says what types them; nothing is said that is not there."""
    used = set()
    for it in every_block():
        if all(is_make(line) or not is_typed(line) for line in it.lines):
            continue
        text = "\n".join(it.lines) + "\n"
        found = [key for key in WHERE if it.page.endswith(key[0]) and text.startswith(key[1])]
        assert found, f"{it.page}: no test types this:\n{text}"
        used.add(max(found, key=lambda key: len(key[1])))
    assert used == set(WHERE)
    for where in WHERE.values():
        path, _, test = where.partition("::")
        if "/" in path:
            assert f"def {test}(" in (TOP / path).read_text() if test else (TOP / path).exists(), (
                where
            )


# On a board.


@pytest.fixture
def loaded(machine):
    machine.check(f"insmod {machine.module}")
    yield machine
    machine.check("rmmod edu 2>/dev/null; rmmod shmbuf")


def typed(it: Block) -> list[str]:
    """What is typed on a board, without comments."""
    return [re.sub(r"\s+# .*", "", line) for line in it.lines if not is_make(line)]


def without_addresses(line: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x...", line)


def test_pci_device(loaded):
    """The page's commands print what the page says, at other addresses."""
    it = block("pci-device.md", "make shell")
    after = pages.blocks(TOP / it.page)
    printed = after[after.index(it) + 1].lines
    for command in typed(it)[1:]:
        out = loaded.check(command)
    assert [without_addresses(line) for line in out] == [without_addresses(it) for it in printed]


def test_named_buffer(loaded):
    """Made by the page's commands, and seen by the tool's."""
    mount, *rest = typed(block("named-buffers.md", "mount"))
    loaded.run(mount)
    loaded.check(f"({' && '.join(rest)})")
    try:
        verify, info = typed(block("user-guide.md", "shmbuf alloc"))
        assert loaded.check(verify)[-1].startswith("verdict: ok: 4194304 bytes, kind scatter")
        said = "\n".join(loaded.check(info))
        assert re.search(r"^kind: +streaming$", said, re.M), said
        assert re.search(r"^size: +4M", said, re.M), said
    finally:
        loaded.check("cd /sys/kernel/config/shmbuf && echo 0 >camera/enable && rmdir camera")


def test_guest_by_hand(machine):
    """The claims that the page names run by it."""
    listed, run = typed(block("testing.md", "shmbuf-test list"))
    words = run.split()[-2:]
    names = machine.check(listed)
    for word in words:
        assert any(word in name for name in names), word
    said = machine.check(run.replace("/lib/modules/shmbuf.ko", machine.module))
    assert sum(line.startswith("ok ") for line in said) >= len(words)


def keys(lines) -> list[str]:
    return [line.split(":")[0] for line in lines]


def test_looking_at_it(loaded):
    """fdinfo, debugfs and the log have the lines that the user guide shows."""
    fdinfo, debugfs = block("user-guide.md", "kind:\t"), block("user-guide.md", "kind: ")
    said = loaded.check("exec 3</dev/shmbuf; cat /proc/self/fdinfo/3; exec 3<&-")
    assert keys(said)[-len(fdinfo.lines) :] == keys(fdinfo.lines)
    said = loaded.check("cat /sys/kernel/debug/shmbuf/default/buffer")
    assert keys(said) == keys(debugfs.lines)
    (line,) = block("user-guide.md", "shmbuf: /dev/shmbuf").lines
    assert line in boards.strip_timestamps(loaded.kernel_log())


def test_parameters(loaded):
    """Those of the page are the module's."""
    (line,) = block("user-guide.md", "insmod shmbuf.ko").lines
    shown = set(re.findall(r"\[(\w+)=", line))
    text = (TOP / "Documentation/user-guide.md").read_text()
    former = set(re.findall(r"`(\w+)=` is the former name of this parameter", text))
    assert shown | former == set(loaded.check("ls -1 /sys/module/shmbuf/parameters"))
