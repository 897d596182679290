# SPDX-License-Identifier: GPL-2.0
"""A browser without a window, which looks at pages."""

import html
import json
import os
import re
import subprocess
from pathlib import Path

from tools import shell_names

#: Appended to a copy of a page: what a function returns, and whatever the page's scripts threw.
ASK = """
<script>window.thrown = []; addEventListener("error", (it) => thrown.push(it.message));</script>
{page}
<script>
const said = document.createElement("pre");
said.id = "said";
said.textContent = JSON.stringify({{ thrown, answer: ({function})() }});
document.body.append(said);
</script>
"""


def _run(folder: Path, *words: str) -> str:
    """Debian's Chromium, with the libraries and the font beside it: setup-browser."""
    root = Path(shell_names("browser")[0])
    assert (root / ".complete").exists(), "no browser: run tests/toolchain/setup-browser"
    libraries = root / "usr/lib/x86_64-linux-gnu"
    fonts = folder / "fonts.conf"
    fonts.write_text(
        f"<fontconfig><dir>{root}/usr/share/fonts</dir><cachedir>{folder}/fonts</cachedir>"
        "<alias><family>monospace</family>"
        "<prefer><family>DejaVu Sans Mono</family></prefer></alias></fontconfig>"
    )
    # The tree is a container already, and the user in it may be root, who gets no sandbox.
    usual = ["--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
    return subprocess.run(
        [root / "usr/lib/chromium/chromium-headless-shell", *usual, *words],
        env=os.environ
        | {"LD_LIBRARY_PATH": f"{libraries}:{libraries}/pulseaudio", "FONTCONFIG_FILE": str(fonts)},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout


def ask(page: Path, function: str, folder: Path, width: int = 1100):
    """What a function of JavaScript returns in the page, in a window that is so wide; pixels."""
    copy = folder / "page.html"
    copy.write_text(ASK.format(page=page.read_text(), function=function))
    seen = _run(folder, f"--window-size={width},1400", "--dump-dom", copy.as_uri())
    said = json.loads(html.unescape(re.search('<pre id="said">(.*?)</pre>', seen, re.S)[1]))
    assert said["thrown"] == []
    return said["answer"]


def draw(page: Path, picture: Path, folder: Path, width: int = 1100, height: int = 1400):
    """Write what the browser shows of the page, as a PNG file."""
    _run(folder, f"--window-size={width},{height}", f"--screenshot={picture}", page.as_uri())
