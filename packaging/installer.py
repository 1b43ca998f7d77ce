"""Makes ``.venv`` what the lock files say, and remembers that it is.

The stamp file is written last, so that a set-up that was killed is taken up again by the next call:
packages that are only half there are thrown out, and pip does what is left.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import environment
import machine
from environment import InstallError, Venv
from pip_run import PipFailed, run_pip
from progress import Phases

TORCH_INDEX = "https://download.pytorch.org/whl/"
FREE_GB = {("linux", "cpu"): 3, ("linux", "cuda"): 9, ("win32", "cpu"): 3, ("win32", "cuda"): 8}
"""Disk that a set-up from nothing needs at the most, with what pip unpacks on the way."""

LOAD_APP = "import PySide6.QtWidgets, PySide6.QtNetwork, pyqtgraph, msgspec, psutil"
LOAD_TRAINING = (
    "import torch, transformers, peft, trl, bitsandbytes, datasets, accelerate\n"
    "from transformers import LlamaForCausalLM, Trainer\n"
    "from trl import SFTTrainer\n"
    "print(torch.__version__, torch.cuda.is_available())"
)


# ---------------------------------------------------------------- the stamp


def ensure(root: Path, *, dev: bool) -> Venv:
    """The environment of the repository at ``root``, set up if it is not. With ``dev`` also what
    the tests need. Raises :class:`InstallError`."""
    venv = Venv(folder=root / ".venv")
    if _is_ready(venv, root, dev):
        return venv
    with _alone(root):
        # Whoever was at work here before may have done it all.
        if not _is_ready(venv, root, dev):
            dev = dev or bool(_read_stamp(venv).get("dev"))
            _set_up(venv, root, dev)
    return venv


def _is_ready(venv: Venv, root: Path, dev: bool) -> bool:
    stamp = _read_stamp(venv)
    return (
        stamp.get("wanted") == _wanted(root)
        and (bool(stamp.get("dev")) or not dev)
        and venv.python.exists()
        and venv.script("fettle").exists()
    )


def _wanted(root: Path) -> str:
    """Fingerprint of all that decides what has to be installed."""
    digest = hashlib.sha256(f"{root}\n{machine.driver_mark()}\n".encode())
    for path in [*sorted((root / "packaging").glob("lock*.txt")), root / "pyproject.toml"]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _stamp_file(venv: Venv) -> Path:
    return venv.folder / "fettle-stamp.json"


def _read_stamp(venv: Venv) -> dict[str, object]:
    try:
        stamp = json.loads(_stamp_file(venv).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _write_stamp(venv: Venv, root: Path, dev: bool) -> None:
    fresh = venv.folder / "fettle-stamp.json.new"
    stamp = {"wanted": _wanted(root), "root": str(root), "dev": dev}
    fresh.write_text(json.dumps(stamp), encoding="utf-8")
    fresh.replace(_stamp_file(venv))


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One set-up at a time. The lock goes with the process, and with a pip it leaves behind."""
    folder = root / "build"
    folder.mkdir(exist_ok=True)
    with (folder / "bootstrap.lock").open("w") as handle:
        if not _try_lock(handle.fileno()):
            print("Another set-up is at work here; waiting for it.", flush=True)
            while not _try_lock(handle.fileno()):
                time.sleep(0.5)
        if sys.platform != "win32":
            os.set_inheritable(handle.fileno(), True)
        yield


def _try_lock(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# ---------------------------------------------------------------- the phases


def _set_up(venv: Venv, root: Path, dev: bool) -> None:
    started = time.monotonic()
    choice = machine.choose_torch(machine.find_gpus(), sys.platform)
    print(f"Setting up Fettle in {venv.folder}", flush=True)
    _check_disk(root, venv, choice.build)
    _stamp_file(venv).unlink(missing_ok=True)
    phases = Phases(total=5)
    with phases.phase("Python environment"):
        environment.make(venv)
    with phases.phase(f"torch for {_build_name(choice.build)} ({choice.reason})"):
        _install_torch(venv, root, choice.build, phases)
    locks = ["lock.txt", "lock-dev.txt"] if dev else ["lock.txt"]
    with phases.phase("the other packages"):
        _install_locked(venv, root, locks, phases)
    with phases.phase("Fettle itself"):
        run_pip(venv, root, ["--no-build-isolation", "--no-deps", "-e", str(root)], phases)
    with phases.phase("checking that everything loads"):
        torch_version, has_cuda = _check_loads(venv, root, phases)
    _write_stamp(venv, root, dev)
    _report(venv, torch_version, has_cuda, choice, time.monotonic() - started)


def _build_name(build: str) -> str:
    return "the CPU" if build == "cpu" else f"CUDA {build[2:4]}.{build[4:]}"


def _report(
    venv: Venv, torch_version: str, has_cuda: bool, choice: machine.TorchChoice, seconds: float
) -> None:
    where = "the GPU" if has_cuda else "the CPU"
    print(f"Ready after {seconds:.0f} s. Training runs on {where} (torch {torch_version}).")
    if choice.advice:
        print(choice.advice)
    elif choice.build != "cpu" and not has_cuda:
        print(
            "The NVIDIA card was found, but torch cannot use it. Install the newest driver from "
            "https://www.nvidia.com/drivers, restart the computer, and start this again."
        )
    print(f"Fettle is {venv.script('fettle')}", flush=True)


def _check_disk(root: Path, venv: Venv, build: str) -> None:
    if venv.site_packages.joinpath("torch").exists():
        return  # The bulk is there already.
    platform = "win32" if sys.platform == "win32" else "linux"
    needed = FREE_GB[platform, "cpu" if build == "cpu" else "cuda"]
    free = shutil.disk_usage(root).free / 1e9
    if free < needed:
        raise InstallError(
            f"The disk of {root} has {free:.1f} GB free; the set-up needs {needed} GB. "
            "Make room, or move the folder to another disk, and start again."
        )


def _install_torch(venv: Venv, root: Path, build: str, phases: Phases) -> None:
    tries = torch_tries(build, sys.platform, _torch_version(root))
    for arguments in tries[:-1]:
        try:
            return run_pip(venv, root, arguments, phases)
        except PipFailed as error:
            # Only torch's own index may be out of reach: without the others nothing will do.
            if not error.is_missing or (error.is_offline and arguments is tries[0]):
                raise
    if len(tries) > 1:
        print(
            "The small CPU build is not to be had here: taking the large one, 2.5 GB.", flush=True
        )
        _check_disk(root, venv, "cu130")
    return run_pip(venv, root, tries[-1], phases)


def torch_tries(build: str, platform: str, version: str) -> list[list[str]]:
    """Arguments of pip, to be tried in order until torch is there.

    PyPI has the CUDA 13 build for Linux and the CPU build for Windows; torch's own index has all.
    The CPU build is first looked for where pip is set up to look: a mirror may have it.
    """
    index = ["--extra-index-url", TORCH_INDEX + build]
    if build == "cpu" and platform == "win32":
        return [["--no-deps", f"torch=={version}"]]
    # Three equals signs: exactly this text, so that no +cpu build found locally is taken.
    whole = ["--no-deps", f"torch==={version}", "-r", "packaging/lock-linux-cuda.txt"]
    if build == "cpu":
        local = ["--no-deps", f"torch=={version}+cpu"]
        return [local, [*local, "--retries", "1", "--timeout", "10", *index], whole]
    if build == "cu130" and platform == "linux":
        return [whole]
    # CUDA libraries of this build come as dependencies, pinned by torch itself, on Linux.
    return [[f"torch=={version}+{build}", "-c", "packaging/lock.txt", *index]]


def _torch_version(root: Path) -> str:
    lock = (root / "packaging" / "lock.txt").read_text(encoding="utf-8")
    return next(line for line in lock.splitlines() if line.startswith("torch==")).split("==")[1]


def _install_locked(venv: Venv, root: Path, locks: list[str], phases: Phases) -> None:
    arguments = ["--no-deps"]
    for lock in locks:
        arguments += ["-r", f"packaging/{lock}"]
    run_pip(venv, root, arguments, phases)


# ---------------------------------------------------------------- what was installed


def _check_loads(venv: Venv, root: Path, phases: Phases) -> tuple[str, bool]:
    """Load the heavy packages once: proves that they work, and leaves their bytecode behind, which
    makes the first real start three times quicker. Returns torch's version, and if it has CUDA."""
    compiled = subprocess.Popen(
        [venv.python, "-m", "compileall", "-q", root / "app", root / "engine"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    done = _load(venv, LOAD_TRAINING, "torch, transformers and what else trains", phases)
    if done.returncode != 0:
        raise InstallError(_load_sentence(done.stderr))
    if not machine.missing_qt_libraries(venv.site_packages, on_screen=False):
        shown = _load(venv, LOAD_APP, "what the window needs", phases)
        if shown.returncode != 0:
            raise InstallError(_load_sentence(shown.stderr))
    compiled.wait()
    version, has_cuda = done.stdout.split()[-2:]
    return version, has_cuda == "True"


def _load(venv: Venv, code: str, what: str, phases: Phases) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "HF_HUB_OFFLINE": "1"}
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME"):
        variables.pop(name, None)
    child = subprocess.Popen(
        [venv.python, "-c", code],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    while True:
        try:
            out, err = child.communicate(timeout=0.25)
        except subprocess.TimeoutExpired:
            phases.tick(f"loading {what}")
            continue
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def _load_sentence(stderr: str) -> str:
    last = stderr.strip().splitlines()[-1:] or ["no message"]
    remedy = "Delete the folder .venv and start again."
    if sys.platform == "win32" and ("DLL" in stderr or "WinError 126" in stderr):
        remedy = (
            "Install Microsoft's Visual C++ runtime from "
            "https://aka.ms/vs/17/release/vc_redist.x64.exe, and start again."
        )
    return f"The packages are installed, but do not load: {last[0]}\n{remedy}"


def require_qt(venv: Venv, *, on_screen: bool) -> None:
    """Raise :class:`InstallError` with the packages to install if the window cannot be shown."""
    if on_screen and not machine.has_screen():
        raise InstallError(
            "There is no screen here to show a window on. `demo` and the command line do without: "
            f"{venv.script('fettle')} --help"
        )
    missing = machine.missing_qt_libraries(venv.site_packages, on_screen=on_screen)
    if missing:
        raise InstallError(machine.library_sentence(missing))
