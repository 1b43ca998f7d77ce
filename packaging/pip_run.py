"""Runs pip: its output goes to a log file, what it is doing to one line on the screen."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from environment import InstallError, Venv
from progress import Phases

OPTIONS = (
    "--disable-pip-version-check",
    "--no-input",
    # Bytecode is made when a module is first loaded: most modules here never are.
    "--no-compile",
    "--no-warn-script-location",
    "--progress-bar=off",
    "--timeout=20",
    "--retries=2",
)
NETWORK = re.compile(
    r"NewConnectionError|name resolution|getaddrinfo failed|Network is unreachable|"
    r"ConnectTimeout|Read timed out|ReadTimeoutError|ProxyError|Max retries exceeded|"
    r"Connection refused|ConnectionResetError"
)
CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLError")
DISK = re.compile(r"No space left on device|Errno 28\b|WinError 112\b")
MISSING = re.compile(r"No matching distribution found for (\S+)")


class PipFailed(InstallError):
    """pip ended with an error; the text says what happened and what to do."""

    def __init__(self, log: str, log_file: Path) -> None:
        super().__init__(explain(log, log_file))
        self.is_missing = bool(MISSING.search(log))
        """No place that was asked has the package; another may."""
        self.is_offline = bool(NETWORK.search(log))


def run_pip(venv: Venv, root: Path, arguments: list[str], phases: Phases) -> None:
    """Install what ``arguments`` name. Raises :class:`PipFailed`."""
    log_file = root / "build" / "bootstrap.log"
    scratch = venv.folder / ".scratch"
    scratch.mkdir(exist_ok=True)
    with log_file.open("ab") as log:
        start = log.tell()
        child = subprocess.Popen(
            [venv.python, "-m", "pip", "install", *OPTIONS, *arguments],
            cwd=root,
            env=_environment(scratch),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # The lock on this folder is held for as long as pip is at work.
            close_fds=False,
        )
        try:
            _watch(child, log_file, start, venv.site_packages, phases)
        except BaseException:
            child.terminate()
            child.wait()
            raise
    shutil.rmtree(scratch, ignore_errors=True)
    if child.returncode != 0:
        raise PipFailed(_read_from(log_file, start), log_file)


def _environment(scratch: Path) -> dict[str, str]:
    """pip unpacks on the disk that was found large enough; /tmp may be a small one."""
    environment = {**os.environ, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    for name in ("TMPDIR", "TEMP", "TMP"):
        environment[name] = str(scratch)
    for name in ("PYTHONPATH", "PYTHONHOME"):
        environment.pop(name, None)
    return environment


def _watch(
    child: subprocess.Popen[bytes], log_file: Path, start: int, site_packages: Path, phases: Phases
) -> None:
    before = _installed(site_packages)
    while True:
        try:
            child.wait(timeout=0.25)
        except subprocess.TimeoutExpired:
            phases.tick(doing(_read_from(log_file, start), _installed(site_packages) - before))
            continue
        return


def doing(log: str, installed: int) -> str:
    """What pip is at, from its output so far."""
    collected = len(re.findall(r"^Collecting ", log, re.MULTILINE))
    unpacking = re.search(r"^Installing collected packages: .*$", log, re.MULTILINE)
    if unpacking:
        return f"unpacked {max(installed, 0)} of {unpacking[0].count(',') + 1}"
    last_line = log.rstrip().rpartition("\n")[2]
    fetching = re.findall(r"^  Downloading (\S+) \((.+)\)$", log, re.MULTILINE)
    if fetching and last_line.startswith("  Downloading"):
        name, size = fetching[-1]
        return f"package {collected}: fetching {name.partition('-')[0]}, {size}"
    return f"found {collected}" if collected else ""


def _installed(site_packages: Path) -> int:
    return sum(1 for _ in site_packages.glob("*.dist-info/RECORD"))


def _read_from(log_file: Path, start: int) -> str:
    with log_file.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


def explain(log: str, log_file: Path) -> str:
    """What went wrong, in a sentence, from pip's output."""
    if DISK.search(log):
        return "The disk is full. Make room and start again: the set-up goes on where it was."
    if CERTIFICATE.search(log):
        return (
            "The network was reached, but its certificate is not trusted: often a company's proxy. "
            "Set PIP_CERT to its certificate file and start again."
        )
    if NETWORK.search(log):
        return (
            "The packages could not be fetched: no answer from the network. Check the connection "
            "(behind a proxy, set HTTPS_PROXY) and start again: the set-up goes on where it was. "
            f"Log: {log_file}"
        )
    missing = MISSING.search(log)
    if missing:
        return (
            f"{missing[1]} is not to be had for this Python and system from the places pip asks. "
            f"Log: {log_file}"
        )
    tail = "\n".join("  " + line for line in log.strip().splitlines()[-15:])
    return f"pip could not install the packages. The end of its log, {log_file}:\n{tail}"
