"""A home, Qt without a screen and no network for every test; and nothing may be left behind.

``--no-torch`` makes torch and its companions unimportable, here and in every Python that a test
starts: the light side and the window have to work without them.
"""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest

HERE = Path(__file__).parent
GRACE_SECONDS = 10.0
"""What a process may need to notice that it is no longer wanted."""


# ---------------------------------------------------------------- the session


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-torch", action="store_true", help="make torch and its companions unimportable"
    )


def pytest_configure(config: pytest.Config) -> None:
    # Another platform may be asked for, such as xcb on a screen of Xvfb.
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # A host of a test does not take this computer's sleep lock: that is a process of its own.
    os.environ["FETTLE_KEEP_AWAKE"] = "off"
    # Tiny models gain nothing from threads, and the tests share few cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # How long an example takes says little on a machine that does other things as well.
    hypothesis.settings.register_profile("fettle", deadline=None)
    hypothesis.settings.load_profile("fettle")
    if config.getoption("--no-torch"):
        _block_torch()


def _block_torch() -> None:
    folder = str(HERE / "no_torch")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    # Under xdist this interpreter may have started with the blocker already.
    blocker = sys.modules.get("sitecustomize")
    if blocker is None or not hasattr(blocker, "HEAVY"):
        sys.path.insert(0, folder)
        sys.modules.pop("sitecustomize", None)
        importlib.import_module("sitecustomize")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    wanted = [item for item in items if item.get_closest_marker("gpu")]
    if wanted and not _has_cuda():
        for item in wanted:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


# ---------------------------------------------------------------- each test


@pytest.fixture(scope="session", autouse=True)
def _private_cache() -> Iterator[None]:
    """Nothing is read from or written to the Hugging Face cache of whoever runs the tests."""
    folder = tempfile.mkdtemp(prefix="fh-hub-")
    os.environ["HF_HOME"] = folder
    yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def fettle_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The test's own FETTLE_HOME. Short, since a socket's path has to fit in 100 bytes.

    Fails the test if it leaves a process behind. A host that waits for its next client is by
    design, and is told to go.
    """
    home = Path(tempfile.mkdtemp(prefix="fh-")).resolve()
    monkeypatch.setenv("FETTLE_HOME", str(home))
    before = {process.pid for process in _children()}
    yield home
    _end_hosts(home)
    left = _still_there(home, before)
    shutil.rmtree(home, ignore_errors=True)
    if left:
        pytest.fail("The test left processes behind:\n" + "\n".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def _no_threads_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test if it leaves a thread or, in a window test, a running QThread behind."""
    before = set(threading.enumerate())
    yield
    left = [t.name for t in threading.enumerate() if t not in before and not t.daemon]
    if "qapp" in request.fixturenames:
        left += _running_qthreads()
    if left:
        pytest.fail(f"The test left threads behind: {', '.join(left)}", pytrace=False)


def _running_qthreads() -> list[str]:
    from PySide6.QtCore import QThread
    from shiboken6 import isValid

    # The type is compared before anything of the object is touched: some objects in the garbage
    # collector's list do not like to be looked at.
    return [
        repr(thing)
        for thing in gc.get_objects()
        if issubclass(type(thing), QThread) and isValid(thing) and thing.isRunning()
    ]


# ---------------------------------------------------------------- processes


def _children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if not _is_helper(p)]


def _is_helper(process: psutil.Process) -> bool:
    """Python's own resource tracker lives as long as the interpreter; the dead only wait."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return "resource_tracker" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return True


def _at_home(home: Path) -> list[psutil.Process]:
    """Processes, related or not, whose FETTLE_HOME is this one."""
    if not any(home.iterdir()):
        return []
    found = []
    for process in psutil.process_iter():
        try:
            theirs = process.environ().get("FETTLE_HOME")
        except psutil.Error:
            continue
        if theirs == str(home) and process.pid != os.getpid() and not _is_helper(process):
            found.append(process)
    return found


def _end_hosts(home: Path) -> None:
    hosts = [p for p in _at_home(home) if _is_host(p)]
    for host in hosts:
        host.terminate()
    for host in psutil.wait_procs(hosts, timeout=GRACE_SECONDS)[1]:
        host.kill()


def _is_host(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[-2:] == ["engine", "host"]
    except psutil.NoSuchProcess:
        return False


def _still_there(home: Path, before: set[int]) -> list[str]:
    """Kills what is left of the test, and says what it was."""
    suspects = {p for p in [*_children(), *_at_home(home)] if p.pid not in before}
    left = []
    for process in psutil.wait_procs(suspects, timeout=GRACE_SECONDS if suspects else 0)[1]:
        if not _is_helper(process):
            left.append(f"  {process.pid}: {' '.join(process.cmdline())}")
            process.kill()
    return left
