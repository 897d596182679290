# SPDX-License-Identifier: GPL-2.0
"""coherence_run.py BOARD SOURCES: watch somebody's driver, which build-coherence-run has built.

Sources are at their own paths below the folder SOURCES.

The exit status is 0 if nothing was found and the command succeeded, 2 if something was found,
3 if the command failed, 1 if the run ended before the command did, and 130 after Ctrl-C.
"""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import coherence
import klog
from board import BoardError
from coherence import CheckedBoard, Finding
from tools import build_folder

#: What is there of a run that has left no report.
NOTHING = {"accesses": 0, "unlisted": 0, "more": [], "forgotten": 0}

#: What the kernel also says of a module that is not free software, which is no fault of its code.
NO_FAULT = ["taint"]


@dataclass
class Run:
    """A run, as far as it got."""

    board: str
    command: str
    #: the command's exit status, None if it did not end
    status: int | None = None
    #: why the run ended before the command did, a sentence
    ended: str = ""
    interrupted: bool = False

    def sentence(self) -> str:
        """How it ended."""
        if self.interrupted:
            return "The run was interrupted; this was seen until then."
        if self.ended:
            return f"The run ended early: {self.ended}"
        if not self.command:
            return "The board has booted; there was no command."
        return f"The command ended with exit status {self.status}."


def watch(run: Run, results: Path):
    """Boot the board, and run the command there."""
    try:
        with CheckedBoard(run.board, "coherence-run", results=results) as board:
            for line in board.stream("sh /command"):
                print(line, flush=True)
            run.status = board.status
            # What it prints late is of the run too.
            board.kernel_log()
    except BoardError as error:
        run.ended = str(error)
    except KeyboardInterrupt:
        run.interrupted = True


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def told(
    run: Run, findings: Sequence[Finding], totals: dict, reports: Sequence[klog.Report]
) -> tuple[str, int]:
    """What a run has found, for people, and the exit status."""
    new, old = coherence.divided(findings)
    lines = [finding.text for finding in new] + totals["more"]
    for report in reports:
        lines.append(f"kernel ({report.kind}): {report.said}\n    line {report.line} of kernel.log")
    for reason in dict.fromkeys(reason for _, reason in old):
        first, *more = (finding for finding, it in old if it == reason)
        lines.append(f"known, counted apart: {first.text}\n    {reason}")
        if more:
            lines.append(f"    {len(more)} more for this reason")
    by_checker = len(new) + totals["unlisted"]
    found = by_checker + len(reports)
    lines.append(
        f"{counted(found, 'finding')} ({by_checker} of the checker, {len(reports)} of the kernel), "
        f"{len(old)} known, in {counted(totals['accesses'], 'load')} and stores. {run.sentence()}"
    )
    if run.interrupted:
        status = 130
    elif found:
        status = 2
    elif run.ended or not totals["accesses"] or totals["forgotten"]:
        status = 1
    else:
        status = 3 if run.status else 0
    return "\n".join(lines), status


def read(results: Path) -> tuple[list[Finding], dict, list[klog.Report]]:
    """What the checker and the kernel have left, each as far as it got."""
    log = results / "kernel.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    reports = klog.scan(text, without=NO_FAULT)
    try:
        findings, totals = coherence.read(results / "report.json")
    except BoardError as error:
        print(f"{error}: what is found here is of the kernel's log alone", flush=True)
        return [], NOTHING, reports
    return findings, totals, reports


def write(results: Path, run: Run, reports: Sequence[klog.Report]):
    """Add to the checker's report what is known of the run."""
    file = results / "report.json"
    lines = file.read_text().splitlines() if file.exists() else []
    more = [{"kernel": asdict(report)} for report in reports] + [{"run": asdict(run)}]
    # The totals are the last.
    lines[-1:-1] = map(json.dumps, more)
    file.write_text("".join(f"{line}\n" for line in lines))


def make_pages(results: Path, *sources: Path):
    """Write the report as a page, and as SARIF."""
    words = [build_folder() / "coherence/coherence", "report", results / "report.json"]
    words += ["--html", results / "report.html", "--sarif", results / "report.sarif"]
    for folder in sources:
        words += ["--sources", folder]
    if subprocess.run(words, check=False).returncode:
        print("There is no page of this run, and no SARIF.", flush=True)


def main(name: str, sources: str) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = build_folder() / name
    command = (folder / "coherence-run/root/command").read_text().strip()
    results = folder / "coherence-report"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir()
    run = Run(name, command)
    print(f"==> booting {name} under the coherence checker (usually 1 min)", flush=True)
    watch(run, results)
    findings, totals, reports = read(results)
    write(results, run, reports)
    make_pages(results, folder / "coherence-run/source", Path(sources))
    text, status = told(run, findings, totals, reports)
    print(f"{text}\n==> all of it: {results}/report.html", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
