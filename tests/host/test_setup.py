# SPDX-License-Identifier: GPL-2.0
"""The set-up: what fails stops and says why in one sentence; what was killed begins again."""

import fcntl
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tools import TOP, must, shell_names

TOOLCHAIN = TOP / "tests/toolchain"


def step(tmp_path, body: str, top: Path = TOP) -> tuple[int, str]:
    """Run a step that does `body` in a checkout; its status and what the user sees."""
    script = f"""
        set -euo pipefail
        . {top}/tests/toolchain/lib.sh
        work() {{ {body}
        }}
        [ -e /nowhere ] || step "the work" "1 s" work
        echo finished
    """
    result = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


def test_good(tmp_path):
    status, said = step(tmp_path, "echo hidden")
    assert status == 0
    assert "the work (usually 1 s" in said
    assert "hidden" not in said
    assert said.endswith("finished\n")


def test_failure_stops_the_step(tmp_path):
    status, said = step(tmp_path, f"echo reason; false; touch {tmp_path}/went-on")
    assert status == 1
    assert "reason" in said
    assert "finished" not in said
    assert not (tmp_path / "went-on").exists()


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        ("Temporary failure resolving 'host'", "check the network"),
        ("E: Failed to fetch http://host/name.deb  404  Not Found", "does not have a package"),
        ("NewConnectionError: refused", "check the network"),
        ("write error: No space left on device", "ran out of disk space"),
        ("sudo: a password is required", "in a terminal, or as root"),
    ],
)
def test_causes_are_one_sentence(tmp_path, cause, sentence):
    status, said = step(tmp_path, f'echo "{cause}"; return 1')
    assert status == 1
    assert len(said.splitlines()) == 2
    assert sentence in said.splitlines()[1]


def until(condition, what: str):
    """Wait for something that is about to be."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def running(*command: str) -> bool:
    """Whether a process runs that was started as this command."""
    wanted = "".join(f"{word}\0" for word in command).encode()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if process.read_bytes() == wanted:
                return True
        except OSError:
            pass  # it has just ended
    return False


def interrupted(tmp_path, number: signal.Signals, body: str, last: list[str]) -> str:
    """What is said by a script with lib.sh whose whole group gets a signal while `last` runs."""
    script = f"set -euo pipefail; . {TOOLCHAIN}/lib.sh; {body}"
    with subprocess.Popen(
        ["env", "--default-signal=INT", "bash", "-c", script],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        until(lambda: running(*last), "it did not begin")
        os.killpg(process.pid, number)
        said, _ = process.communicate(timeout=20)
    assert process.returncode != 0
    until(lambda: not running(*last), "it goes on")
    return said


def test_ctrl_c_is_one_sentence(tmp_path):
    last = ["sleep", f"1000.{os.getpid()}"]
    said = interrupted(tmp_path, signal.SIGINT, f'step "the work" "1 s" {" ".join(last)}', last)
    assert len(said.splitlines()) == 2, said
    assert '"the work" was interrupted: run the same command again' in said


@pytest.mark.skipif(os.getuid() != 0, reason="it is for root")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_goes_on(tmp_path, number):
    """What has a session of its own, as dpkg below apt-get, ends with the set-up too."""
    last = ["sleep", f"2000.{os.getpid()}"]
    body = f"contained --dev-bind / / --proc /proc -- sh -c 'setsid {' '.join(last)} & wait'"
    interrupted(tmp_path, number, f'step "the work" "1 s" {body}', last)


def test_checkouts_have_logs_of_their_own(tmp_path):
    logs = []
    for name in ("one", "other"):
        shutil.copytree(TOOLCHAIN, tmp_path / name / "tests/toolchain")
        status, said = step(tmp_path, f"echo from {name}", tmp_path / name)
        assert status == 0
        logs.append(Path(re.search(r"log: (.*)\)", said)[1]))
    assert [log.read_text() for log in logs] == ["from one\n", "from other\n"]


def test_makes_do_not_meet(tmp_path):
    """The pipe of a make's jobs is on the tree's own root, which no other command in it sees."""
    makefile = tmp_path / "Makefile"
    makefile.write_text("all:\n\t+@echo '$(MAKEFLAGS)'\n")
    flags = must([TOOLCHAIN / "in-tree", "make", "-j2", "-f", makefile])
    pipe = Path(re.search(r"--jobserver-auth=fifo:(\S+)", flags)[1])
    assert pipe.parent.stat().st_dev == Path("/").stat().st_dev


def test_unknown_board():
    result = subprocess.run(
        [TOOLCHAIN / "setup", "toaster"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith('shmbuf: there is no board "toaster"; there are: ')
    assert result.stderr.count("\n") == 1


def distclean(cache, toolchain: Path = TOOLCHAIN) -> tuple[int, str]:
    """What `make distclean` answers with a cache folder."""
    result = subprocess.run(
        [toolchain / "distclean"],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "SHMBUF_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


def filled(cache, *names: str) -> list[str]:
    """Makes folders with a file in each; locks are files. Returns what there is then."""
    for name in names:
        if name.endswith(".lock"):
            (cache / name).touch()
        else:
            (cache / name).mkdir(parents=True)
            (cache / name / "file").touch()
    return sorted(path.name for path in cache.iterdir())


#: What the set-up makes in a cache folder.
MADE = [
    "setup.lock",
    "kernel.lock",
    "debian-stock-0123456789ab.lock",
    "tree-0123456789ab",
    "tree-0123456789ab.partial",
    "tree-0123456789ab-64bit",
    "tree-0123456789ab-64bit.partial",
    "linux-0123456789ab",
    "linux-0123456789ab.partial",
    "kernel-q35-x86_64-0123456789ab",
    "build-01234567",
    "build-01234567-bench",
    "build-01234567-demo",
    "build-01234567-fuzz",
    "build-01234567-fuzz-kdir-01234567",
    "build-01234567-kdir-01234567",
    "venv-0123456789ab",
    "browser-0123456789ab",
    "browser-0123456789ab.partial",
    "python-armhf-0123456789ab",
    "python-arm64-0123456789ab.partial",
    "readme-trixie",
    "debian-stock-0123456789ab",
    "debian-stock-7.2-0123456789ab",
    "kdir-7.3.4+deb13-amd64",
    "kdir-7.3.4+deb13-amd64.log",
    "log",
    "home",
    "cargo",
    "pycache",
]


def test_distclean_removes_what_the_set_up_made(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    filled(cache, *MADE)
    assert distclean(cache) == (0, "")
    assert not cache.exists()
    assert distclean(cache) == (0, "")


def test_distclean_that_was_killed(host):
    """What it leaves is not taken for a whole tree, and goes with the next one."""
    filled(host.cache, *MADE)
    host.fake("rm", "kill -KILL 0")
    with host.begin(TOOLCHAIN / "distclean") as process:
        process.communicate(timeout=60)
    left = {path.name for path in host.cache.iterdir()}
    assert left == {name if name.endswith(".lock") else f"{name}.removed" for name in MADE}

    (host.fakes / "rm").unlink()
    filled(host.cache, "home", "tree-0123456789ab")
    assert host.run(TOOLCHAIN / "distclean") == (0, "")
    assert not host.cache.exists()


def test_distclean_follows_a_link(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    filled(cache, *MADE)
    (tmp_path / "link").symlink_to(cache)
    assert distclean(tmp_path / "link") == (0, "")
    assert not cache.exists()


def test_distclean_leaves_what_others_made(tmp_path):
    others = ["build-tools", "kernel", "tree", ".config"]
    filled(tmp_path, *MADE, *others)
    status, said = distclean(tmp_path)
    assert status == 0
    assert ".config build-tools kernel tree" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    assert all((tmp_path / name / "file").exists() for name in others)


def test_distclean_leaves_a_folder_that_no_set_up_made(tmp_path):
    before = filled(tmp_path, *[name for name in MADE if name != "setup.lock"])
    status, said = distclean(tmp_path)
    assert status == 1
    assert "nothing is removed" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_checkout_may_be_named_as_a_script_is(tmp_path):
    shutil.copytree(TOOLCHAIN, tmp_path / "setup-mine/tests/toolchain")
    status, said = distclean(tmp_path, tmp_path / "setup-mine/tests/toolchain")
    assert (status, "nothing is removed" in said) == (1, True), said


@pytest.mark.parametrize("lock", ["setup.lock", "kernel.lock", "debian-stock-0123456789ab.lock"])
def test_distclean_waits_for_no_set_up(tmp_path, lock):
    """A set-up that is running keeps its files."""
    before = filled(tmp_path, *MADE)
    with (tmp_path / lock).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        status, said = distclean(tmp_path)
    assert status == 1
    assert "a set-up is running" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("script", ["setup", "setup-tree", "setup-kernel"])
def test_set_up_takes_no_folder_of_others(tmp_path, script):
    before = filled(tmp_path, "photos", "home")
    result = subprocess.run(
        [TOOLCHAIN / script, "vexpress-a9"],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "SHMBUF_CACHE": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "set SHMBUF_CACHE to an empty folder" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == before


#: Programs of a host for setup-tree, which do nothing but what a test needs to see: ROOT is the
#: folder that bwrap makes the root of a command, and DOWNLOADS is apt's folder there.
FAKES = {
    "bwrap": """
        while [ $# -gt 0 ]; do
            case "$1 $3" in
            "--bind /") export ROOT="$2" ;;
            "--bind /var/cache/apt/archives") export DOWNLOADS="$2" ;;
            esac
            case $1 in apt-get | dpkg | mmdebstrap | sh) break ;; esac
            shift
        done
        exec "$@"
    """,
    "mmdebstrap": """
        while [ "$1" != trixie ]; do shift; done
        mkdir -p "$2/etc/apt/sources.list.d"
        echo "deb http://host trixie main" >"$2/etc/apt/sources.list"
    """,
    "apt-get": """
        echo "$*" >>"$FAKES/asked"
        case $* in
        *update*)
            [ -e "$FAKES/no-network" ] || exit 0
            echo "Failed to fetch http://host  Temporary failure resolving 'host'"
            case $* in *APT::Update::Error-Mode=any*) exit 100 ;; esac
            ;;
        *install*mmdebstrap*)
            if [ -e "$FAKES/dpkg-was-interrupted" ]; then
                echo "E: dpkg was interrupted, you must manually run 'dpkg --configure -a'"
                exit 100
            fi
            ;;
        *install*)
            if [ -e "$FAKES/slow" ]; then
                echo half >"$ROOT/half-unpacked"
                touch "$DOWNLOADS/name.deb"
                mv "$FAKES/slow" "$FAKES/begun"
                exec sleep "$(cat "$FAKES/begun")"
            fi
            [ ! -e "$DOWNLOADS/name.deb" ] || touch "$FAKES/had-downloads"
            ;;
        esac
    """,
    "dpkg": 'if [ "$1" = --configure ]; then rm -f "$FAKES/dpkg-was-interrupted"; fi',
    # Packages that are only unpacked.
    "sh": 'case $* in *download*) ;; *) exec /bin/sh "$@" ;; esac',
    "df": "echo Avail; echo 20000M",
    "unshare": "exit 0",
    "sudo": """
        while :; do case $1 in -*) shift ;; *) break ;; esac; done
        exec "$@"
    """,
}


class Host:
    """A host whose set-up downloads nothing."""

    def __init__(self, folder: Path):
        self.fakes = folder / "fakes"
        self.cache = folder / "cache"
        self.fakes.mkdir()
        self.cache.mkdir()
        for name, script in FAKES.items():
            self.fake(name, script)

    def fake(self, name: str, script: str):
        (self.fakes / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.fakes / name).chmod(0o755)

    def be_a_user(self, sudo: str | None):
        """Run the set-up as somebody who is not root, with a sudo that does this, or with none."""
        self.fake("id", 'case $* in -u) echo 1000 ;; *) echo "somebody" ;; esac')
        if sudo is None:
            (self.fakes / "sudo").unlink()
        else:
            self.fake("sudo", sudo)

    def begin(self, *command: str | Path, **more) -> subprocess.Popen:
        """Begin a command in a session of its own, which has no terminal."""
        env = {
            "PATH": f"{self.fakes}:/usr/bin:/bin",
            "HOME": "/nonexistent",
            "SHMBUF_CACHE": str(self.cache),
            "FAKES": str(self.fakes),
        }
        return subprocess.Popen(
            command,
            stdin=more.get("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={name: value for name, value in env.items() if name not in more.get("without", ())},
            cwd=TOP,
            start_new_session=True,
        )

    def run(self, *command: str | Path, **more) -> tuple[int, str]:
        with self.begin(*command, **more) as process:
            said, _ = process.communicate(timeout=60)
        return process.returncode, said

    def set_up(self, *words: str) -> tuple[int, str]:
        return self.run(TOOLCHAIN / "setup-tree", *words)

    def asked(self) -> str:
        """What apt-get was asked for."""
        path = self.fakes / "asked"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def host(tmp_path) -> Host:
    return Host(tmp_path)


def complaint(result: tuple[int, str]) -> str:
    """The one sentence of a set-up that did not begin."""
    status, said = result
    assert status == 1, said
    assert said.startswith("shmbuf: "), said
    assert said.count("\n") == 1, said
    return said


@pytest.mark.parametrize("words", [[], ["64bit"]], ids=["32bit", "64bit"])
def test_killed_while_it_unpacks(host, words):
    """The same command then makes a whole tree, from the packages that it had downloaded."""
    if words:
        assert host.set_up()[0] == 0
    (host.fakes / "slow").write_text(f"3000.{os.getpid()}")
    with host.begin(TOOLCHAIN / "setup-tree", *words) as process:
        until((host.fakes / "begun").exists, "nothing was installed")
        os.killpg(process.pid, signal.SIGKILL)
    assert list(host.cache.glob("**/half-unpacked"))

    status, said = host.set_up(*words)
    assert status == 0, said
    assert not list(host.cache.glob("**/half-unpacked"))
    assert (host.fakes / "had-downloads").exists()
    assert not list(host.cache.glob("**/*.deb"))
    assert host.set_up(*words) == (0, "")


def test_killed_at_the_end(host):
    """What a complete tree leaves goes with the next set-up."""
    assert host.set_up()[0] == 0
    (tree,) = host.cache.glob("tree-*")
    (host.cache / f"{tree.name}.partial/downloads").mkdir(parents=True)
    assert host.set_up() == (0, "")
    assert list(host.cache.glob("tree-*")) == [tree]


def tree_name(top: Path) -> str:
    command = f". {top}/tests/toolchain/lib.sh; echo $tree"
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    return must(["env", "-i", *(f"{k}={v}" for k, v in env.items()), "bash", "-c", command])


def test_a_tree_is_named_by_what_it_holds(tmp_path):
    shutil.copytree(TOOLCHAIN, tmp_path / "tests/toolchain")
    before = tree_name(tmp_path)
    packages = tmp_path / "tests/toolchain/packages"
    for path in (packages, tmp_path / "tests/toolchain/setup-tree"):
        path.write_text(f"{path.read_text()}# The same, with a comment.\n")
    assert tree_name(tmp_path) == before
    packages.write_text(f"{packages.read_text()}more|1|hello|\n")
    assert tree_name(tmp_path) != before


def test_no_network(host):
    """Lists of packages that cannot be had are not taken for lists."""
    (host.fakes / "no-network").touch()
    status, said = host.set_up()
    assert status == 1
    last = said.splitlines()[-1]
    assert '"toolchain tree: package lists" could not reach its package server' in last
    assert " install " not in host.asked()


def test_no_network_on_the_host(host):
    (host.fakes / "mmdebstrap").unlink()
    (host.fakes / "no-network").touch()
    status, said = host.set_up()
    assert status == 1
    assert '"host package lists" could not reach its package server' in said.splitlines()[-1]
    assert " install " not in host.asked()


def test_killed_while_the_host_installs(host):
    """What dpkg had begun is ended first, as apt-get wants it."""
    (host.fakes / "mmdebstrap").unlink()
    (host.fakes / "dpkg-was-interrupted").touch()
    status, said = host.set_up()
    assert "dpkg was interrupted" not in said
    # The fake apt-get has installed nothing, so the next step fails.
    assert (status, "Debian trixie base" in said) == (1, True), said


@pytest.mark.parametrize(
    ("free", "there", "sentence"),
    [
        (3000, 0, "needs 4000 MB more"),
        (2400, 1500, "needs 2500 MB more"),
        (4000, 0, None),
        (2500, 1500, None),
    ],
)
def test_room_is_wanted_for_what_is_missing(host, free, there, sentence):
    tree = shell_names('echo "${tree_32bit##*/}"')[0]
    (host.cache / f"{tree}.partial").mkdir(parents=True)
    (host.cache / "setup.lock").touch()
    host.fake("df", f"echo Avail; echo {free}M")
    host.fake("du", f'echo "{there}\t$2"')
    status, said = host.set_up()
    if sentence:
        assert status == 1
        assert sentence in said
        assert f"where {free} MB are free" in said
        assert said.count("\n") == 1, said
    else:
        assert status == 0, said


def test_room_for_a_board_is_known_at_once(host):
    """The kernel's too, before the first download."""
    host.fake("df", "echo Avail; echo 5000M")
    said = complaint(host.run(TOOLCHAIN / "setup", "vexpress-a9"))
    assert re.search(r"needs 6\d\d\d MB more", said)
    assert host.asked() == ""


NO_HOME = "shmbuf: neither HOME nor SHMBUF_CACHE is set"


@pytest.mark.parametrize("script", ["setup", "setup-tree", "setup-python", "distclean", "in-tree"])
def test_no_home(host, script):
    said = complaint(host.run(TOOLCHAIN / script, "true", without=["HOME", "SHMBUF_CACHE"]))
    assert said.startswith(NO_HOME)


@pytest.mark.parametrize("target", ["setup", "test", "clean", "distclean"])
def test_make_without_a_home(host, target):
    status, said = host.run("make", target, without=["HOME", "SHMBUF_CACHE"])
    assert status != 0
    assert [line.startswith(NO_HOME) for line in said.splitlines()] == [True, False], said


def test_no_home_is_needed_beside_a_cache(host):
    assert host.set_up()[0] == 0
    assert host.run(TOOLCHAIN / "in-tree", "true", without=["HOME"]) == (0, "")


def test_cache_is_not_looked_for_below_the_current_folder(host):
    result = host.run("env", "SHMBUF_CACHE=cache", TOOLCHAIN / "distclean")
    assert "absolute" in complaint(result)


def test_root_that_may_not_mount(host):
    """It is said before anything is downloaded."""
    (host.fakes / "unshare").unlink()
    without = ["setpriv", "--bounding-set=-sys_admin"] if os.getuid() == 0 else []
    assert "CAP_SYS_ADMIN" in complaint(host.run(*without, TOOLCHAIN / "setup-tree"))
    assert host.asked() == ""


ASKS = 'case $1 in -n) echo "sudo: a password is required" >&2; exit 1 ;; esac'


@pytest.mark.parametrize(
    ("sudo", "sentence"),
    [(None, "run the same command as root, or install sudo"), (ASKS, "in a terminal, or as root")],
    ids=["no sudo", "no terminal"],
)
def test_a_user_who_cannot_become_root(host, sudo, sentence):
    host.be_a_user(sudo)
    assert sentence in complaint(host.set_up())
    assert host.asked() == ""
    filled(host.cache, "setup.lock", "home")
    assert sentence in complaint(host.run(TOOLCHAIN / "distclean"))
    assert (host.cache / "home/file").exists()


@pytest.mark.parametrize("gives", [True, False])
def test_sudo_asks_at_a_terminal(host, gives):
    """It is said why, before sudo asks."""
    host.be_a_user(f"{ASKS}; case $1 in -v) exit {int(not gives)} ;; *) {FAKES['sudo']} ;; esac")
    terminal, end = pty.openpty()
    try:
        status, said = host.run("setsid", "--ctty", "--wait", TOOLCHAIN / "setup-tree", stdin=end)
    finally:
        os.close(terminal)
        os.close(end)
    assert said.startswith("==> this needs root: sudo asks for your password\n")
    assert (status, "sudo refuses it to somebody" in said) == ((0, False) if gives else (1, True))
