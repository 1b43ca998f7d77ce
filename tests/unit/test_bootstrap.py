"""The set-up: what it finds, chooses and says, and that it mends what was interrupted."""

from __future__ import annotations

import ast
import ctypes
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv as venv_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "packaging"
NAMES = ("bootstrap", "environment", "gates", "installer", "machine", "pip_run", "progress")


@pytest.fixture(scope="module")
def parts() -> Any:
    """The modules of the set-up, which import each other as scripts do."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        found = {name: __import__(name) for name in NAMES}
    finally:
        sys.path.remove(str(FOLDER))
    yield SimpleNamespace(**found)
    for name in set(NAMES) - before:
        sys.modules.pop(name, None)


@pytest.fixture
def machine(parts: Any) -> ModuleType:
    return parts.machine


# ---------------------------------------------------------------- the Python that runs it


def test_the_file_parses_on_an_old_python() -> None:
    ast.parse((FOLDER / "bootstrap.py").read_text(encoding="utf-8"), feature_version=(3, 8))


def test_it_needs_nothing_but_the_standard_library() -> None:
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name.partition(".")[0] in sys.stdlib_module_names | set(NAMES), file


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts stand in for Pythons")
@pytest.mark.parametrize("version", [(3, 10), (3, 15), (2, 7)])
def test_another_python_is_refused_in_a_sentence(
    parts: Any, version: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    sentence = parts.bootstrap.python_complaint(version, 2**63)
    assert f"This is Python {version[0]}.{version[1]}; Fettle needs 3.11 to 3.14" in sentence
    assert "apt install" in sentence
    for name, code in [("python3.13", 1), ("python3.12", 0)]:
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    assert "python3.12 " in parts.bootstrap.python_complaint(version, 2**63)


def test_a_fitting_python_is_not(parts: Any) -> None:
    assert parts.bootstrap.python_complaint((3, 11), 2**63) == ""
    assert "32-bit" in parts.bootstrap.python_complaint((3, 11), 2**31)


def test_a_python_without_ensurepip_is_told_the_package(parts: Any) -> None:
    sentence = parts.environment._no_venv_sentence("ensurepip")
    major, minor = sys.version_info[:2]
    assert f"sudo apt install python{major}.{minor}-venv" in sentence


# ---------------------------------------------------------------- which torch


def gpus(machine: ModuleType, driver: str, *capabilities: tuple[int, int]) -> Any:
    return machine.Gpus(
        names=tuple("card" for _ in capabilities),
        driver=tuple(map(int, driver.split("."))),
        capabilities=capabilities,
    )


@pytest.mark.parametrize(
    ("driver", "capabilities", "platform", "build"),
    [
        ("580.95.5", [(7, 5)], "linux", "cu130"),  # 2080 Ti
        ("581.29", [(8, 6)], "win32", "cu130"),  # 3060
        ("580.95", [(12, 0)], "linux", "cu130"),  # 5090
        ("570.86", [(8, 9)], "linux", "cu126"),  # 4090, last year's driver
        ("580.95", [(6, 1)], "linux", "cu126"),  # 1080: CUDA 13 has left it behind
        ("528.33", [(8, 6)], "win32", "cu126"),
        ("580.95", [(6, 1), (8, 9)], "linux", "cu126"),  # one build has to serve both
    ],
)
def test_the_build_fits_driver_and_cards(
    machine: ModuleType,
    driver: str,
    capabilities: list[tuple[int, int]],
    platform: str,
    build: str,
) -> None:
    choice = machine.choose_torch(gpus(machine, driver, *capabilities), platform)
    assert (choice.build, choice.advice) == (build, "")
    assert driver in choice.reason


def test_no_driver_means_the_cpu(machine: ModuleType) -> None:
    for found in (None, gpus(machine, "580.95")):
        choice = machine.choose_torch(found, "linux")
        assert (choice.build, choice.reason) == ("cpu", "no NVIDIA driver found")


@pytest.mark.parametrize(
    ("driver", "capability", "platform"),
    [("570.86", (12, 0), "linux"), ("470.10", (8, 6), "linux"), ("527.0", (8, 6), "win32")],
)
def test_a_driver_too_old_is_named_with_the_one_to_get(
    machine: ModuleType, driver: str, capability: tuple[int, int], platform: str
) -> None:
    choice = machine.choose_torch(gpus(machine, driver, capability), platform)
    assert driver in choice.advice
    assert "580 or newer" in choice.advice


class StandInNvml:
    """Answers as NVIDIA's library does: through pointers, with 0 for success."""

    def __init__(self, driver: bytes, cards: list[tuple[bytes, int, int]], status: int = 0) -> None:
        self._driver, self._cards, self._status = driver, cards, status
        self.shut_down = 0

    def nvmlInit_v2(self) -> int:
        return self._status

    def nvmlShutdown(self) -> int:
        self.shut_down += 1
        return 0

    def nvmlSystemGetDriverVersion(self, buffer: Any, size: int) -> int:
        buffer.value = self._driver
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self._cards)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, handle: Any) -> int:
        handle._obj.value = index.value + 1
        return 0

    def nvmlDeviceGetName(self, handle: ctypes.c_void_p, buffer: Any, size: int) -> int:
        buffer.value = self._cards[(handle.value or 0) - 1][0]
        return 0

    def nvmlDeviceGetCudaComputeCapability(
        self, handle: ctypes.c_void_p, major: Any, minor: Any
    ) -> int:
        _, major._obj.value, minor._obj.value = self._cards[(handle.value or 0) - 1]
        return 0


def test_the_driver_is_asked_for_all_cards(machine: ModuleType) -> None:
    nvml = StandInNvml(b"570.86.10", [(b"RTX 4090", 8, 9), (b"RTX 2080 Ti", 7, 5)])
    assert machine.read_gpus(nvml) == machine.Gpus(
        names=("RTX 4090", "RTX 2080 Ti"), driver=(570, 86, 10), capabilities=((8, 9), (7, 5))
    )
    assert nvml.shut_down == 1


def test_a_driver_that_does_not_answer_is_none(machine: ModuleType) -> None:
    assert machine.read_gpus(StandInNvml(b"", [], status=9)) is None


@pytest.mark.parametrize("platform", ["linux", "win32"])
@pytest.mark.parametrize("build", ["cpu", "cu126", "cu130"])
def test_every_build_has_a_place_to_come_from(parts: Any, build: str, platform: str) -> None:
    tries = parts.installer.torch_tries(build, platform, "2.13.0")
    assert all(any(a.startswith("torch==") for a in arguments) for arguments in tries)
    if build != "cpu" and (platform, build) != ("linux", "cu130"):
        assert f"https://download.pytorch.org/whl/{build}" in tries[0]


def test_the_small_cpu_build_is_tried_before_the_large_one(parts: Any) -> None:
    here, there, large = parts.installer.torch_tries("cpu", "linux", "2.13.0")
    assert "torch==2.13.0+cpu" in here
    assert "https://download.pytorch.org/whl/cpu" not in here
    assert "https://download.pytorch.org/whl/cpu" in there
    assert "torch===2.13.0" in large


# ---------------------------------------------------------------- the locks


def pins(name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[\w.-]+==[\w.]+", line), f"{name}: {line}"
            package, version = line.split("==")
            assert _plain(package) not in found, f"{name}: {package} twice"
            found[_plain(package)] = version
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_locks_are_exact_and_do_not_overlap() -> None:
    main, dev, cuda = pins("lock.txt"), pins("lock-dev.txt"), pins("lock-linux-cuda.txt")
    assert not set(main) & set(dev) | set(main) & set(cuda) | set(dev) & set(cuda)
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in cuda)


def test_the_locks_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    locked = pins("lock.txt")
    for wanted, have in [
        (project["dependencies"] + extras["app"] + extras["train"], locked),
        (extras["dev"], locked | pins("lock-dev.txt")),
    ]:
        for requirement in map(Requirement, wanted):
            assert requirement.specifier.contains(have[_plain(requirement.name)]), requirement


def test_the_python_versions_agree(parts: Any) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = ".".join(map(str, parts.bootstrap.OLDEST))
    assert SpecifierSet(project["requires-python"]) == SpecifierSet(f">={oldest}")


# ---------------------------------------------------------------- the stamp


@pytest.fixture
def done(parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A repository whose set-up is complete, and a count of how often it is set up."""
    shutil.copytree(FOLDER, tmp_path / "packaging", ignore=shutil.ignore_patterns("*.py"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ran: list[bool] = []

    def set_up(venv: Any, root: Path, dev: bool) -> None:
        ran.append(dev)
        for script in (venv.python, venv.script("fettle")):
            script.parent.mkdir(parents=True, exist_ok=True)
            script.touch()
        parts.installer._write_stamp(venv, root, dev)

    monkeypatch.setattr(parts.installer, "_set_up", set_up)
    parts.installer.ensure(tmp_path, dev=False)
    return SimpleNamespace(root=tmp_path, ran=ran, ensure=parts.installer.ensure)


def test_nothing_is_done_twice(done: Any) -> None:
    done.ensure(done.root, dev=False)
    assert done.ran == [False]


def test_the_tests_need_more_and_then_nothing_more(done: Any) -> None:
    done.ensure(done.root, dev=True)
    done.ensure(done.root, dev=False)
    done.ensure(done.root, dev=True)
    assert done.ran == [False, True]


@pytest.mark.parametrize("name", ["packaging/lock.txt", "pyproject.toml"])
def test_a_changed_lock_is_noticed_and_the_tools_of_the_tests_kept(done: Any, name: str) -> None:
    done.ensure(done.root, dev=True)
    with (done.root / name).open("a") as file:
        file.write("\n# changed\n")
    done.ensure(done.root, dev=False)
    assert done.ran == [False, True, True]


def test_another_driver_is_noticed(done: Any, parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.machine, "driver_mark", lambda: "libnvidia-ml.so.590")
    done.ensure(done.root, dev=False)
    assert len(done.ran) == 2


@pytest.mark.parametrize("stamp", ["", "{", "[]", json.dumps({"wanted": "other"})])
def test_a_broken_stamp_is_none(done: Any, stamp: str) -> None:
    (done.root / ".venv" / "fettle-stamp.json").write_text(stamp)
    done.ensure(done.root, dev=False)
    assert len(done.ran) == 2


def test_a_lost_interpreter_is_noticed(done: Any) -> None:
    shutil.rmtree(done.root / ".venv" / ("Scripts" if os.name == "nt" else "bin"))
    done.ensure(done.root, dev=False)
    assert len(done.ran) == 2


def test_two_set_ups_do_not_run_at_once(parts: Any, tmp_path: Path) -> None:
    with parts.installer._alone(tmp_path):
        handle = os.open(tmp_path / "build" / "bootstrap.lock", os.O_RDWR)
        assert not parts.installer._try_lock(handle)
    assert parts.installer._try_lock(handle)
    os.close(handle)


# ---------------------------------------------------------------- mending


@pytest.fixture
def bare_venv(parts: Any, tmp_path: Path) -> Any:
    folder = tmp_path / ".venv"
    venv_module.create(folder, with_pip=False, symlinks=os.name != "nt")
    return parts.environment.Venv(folder=folder)


def test_an_environment_without_pip_or_moved_is_not_one(parts: Any, bare_venv: Any) -> None:
    assert bare_venv.python.exists()
    assert bare_venv.site_packages.is_dir()
    assert not parts.environment._works(bare_venv)
    bare_venv.script("pip").write_text("#!/elsewhere/.venv/bin/python")
    assert not parts.environment._works(bare_venv)


def test_half_installed_packages_are_thrown_out(parts: Any, bare_venv: Any) -> None:
    site = bare_venv.site_packages
    for name, size in [("whole", 4), ("cut", 5), ("lost", 4)]:
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (site / f"{name}.py").write_text("pass")
        (info / "RECORD").write_text(f"{name}.py,sha256=x,{size}\n{name}-1.0.dist-info/RECORD,,\n")
    (site / "lost.py").unlink()
    (site / "unrecorded-1.0.dist-info").mkdir()
    (site / "~emp").mkdir()
    parts.environment._drop_half_installed(site)
    assert [path.name for path in site.glob("*.dist-info")] == ["whole-1.0.dist-info"]
    assert not (site / "~emp").exists()


def test_a_full_disk_is_said_before_anything_is_fetched(
    parts: Any, bare_venv: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1.5e9))
    for build, needed in [("cpu", 3), ("cu130", 9)]:
        with pytest.raises(parts.environment.InstallError, match=f"1.5 GB free.* {needed} GB"):
            parts.installer._check_disk(Path("/"), bare_venv, build)
    (bare_venv.site_packages / "torch").mkdir()
    parts.installer._check_disk(Path("/"), bare_venv, "cpu")


# ---------------------------------------------------------------- what is said


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("NewConnectionError: Temporary failure in name resolution", "no answer from the network"),
        ("SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED", "PIP_CERT"),
        ("ERROR: No matching distribution found for trl==9", "trl==9 is not to be had"),
        ("line one\nsomething new", "something new"),
    ],
)
def test_pips_troubles_become_sentences(parts: Any, log: str, said: str) -> None:
    assert said in parts.pip_run.explain(log, Path("x.log"))


def test_a_failing_pip_is_told_with_its_log(parts: Any, tmp_path: Path) -> None:
    """A real pip, asked for something that cannot be there."""
    (tmp_path / "build").mkdir()
    venv = SimpleNamespace(
        folder=tmp_path, python=Path(sys.executable), site_packages=tmp_path / "none"
    )
    phases = parts.progress.Phases(total=1, out=io.StringIO())
    arguments = ["--no-index", "--target", str(tmp_path / "t"), "no-such-package==1.0"]
    arguments += ["--find-links", str(tmp_path)]
    with pytest.raises(parts.pip_run.PipFailed, match=r"no-such-package==1\.0 is not") as caught:
        parts.pip_run.run_pip(venv, tmp_path, arguments, phases)
    assert caught.value.is_missing
    assert "No matching" in (tmp_path / "build" / "bootstrap.log").read_text()


PIP_LOG = """\
Collecting torch==2.13.0
  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (526.6 MB)
"""


def test_what_pip_is_at_is_read_from_its_log(parts: Any) -> None:
    doing = parts.pip_run.doing
    assert doing("", 0) == ""
    assert doing(PIP_LOG, 0) == "package 1: fetching torch, 526.6 MB"
    assert doing(PIP_LOG + "Collecting numpy\n", 0) == "found 2"
    unpacking = PIP_LOG + "Installing collected packages: torch, numpy, six\n  Attempting x\n"
    assert doing(unpacking, 2) == "unpacked 2 of 3"


def test_phases_are_numbered_and_timed(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.progress, "QUIET_SECONDS", 0.0)
    out = io.StringIO()
    phases = parts.progress.Phases(total=2, out=out)
    with phases.phase("one"):
        phases.tick("half of it")
    with pytest.raises(KeyError), phases.phase("two"):
        raise KeyError
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("[1/2] one: half of it, 0 s")
    assert re.fullmatch(r"\[1/2\] one: \d+\.\d s", lines[1])
    assert len(lines) == 2


def test_on_a_terminal_one_line_is_kept_up_to_date(parts: Any) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    phases = parts.progress.Phases(total=1, out=out)
    with phases.phase("one"):
        phases.tick("a")
        phases.tick("b")
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().count("\r") == 4


# ---------------------------------------------------------------- what Qt needs


def test_missing_libraries_come_with_the_command_that_brings_them(
    machine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = ["libEGL.so.1", "libxcb-cursor.so.0", "libodd.so.3"]
    for manager, command in [
        ("apt-get", "sudo apt install libegl1 libodd libxcb-cursor0"),
        ("dnf", "sudo dnf install libglvnd-egl libodd xcb-util-cursor"),
    ]:
        monkeypatch.setattr(shutil, "which", lambda name, here=manager: name == here and name)
        sentence = machine.library_sentence(missing)
        assert sentence.endswith(command)
        assert "libEGL.so.1, libxcb-cursor.so.0" in sentence
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "packages of your system" in machine.library_sentence(missing)


@pytest.mark.skipif(sys.platform != "linux", reason="ldd")
def test_the_loader_is_asked_what_qt_misses(machine: ModuleType, tmp_path: Path) -> None:
    """The real ldd on a real library that needs one which is not there."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    pyside = tmp_path / "PySide6"
    pyside.mkdir()
    for library, linked in [
        (tmp_path / "libgone.so.7", ["-Wl,-soname,libgone.so.7"]),
        (pyside / "QtGui.abi3.so", ["-Wl,--no-as-needed", "-L.", "-l:libgone.so.7"]),
    ]:
        command = [compiler, "-shared", "-o", str(library), "-x", "c", "/dev/null"]
        subprocess.run([*command, "-x", "none", *linked], check=True, cwd=tmp_path)
    (tmp_path / "libgone.so.7").unlink()
    assert machine.missing_qt_libraries(tmp_path, on_screen=False) == ["libgone.so.7"]


def test_the_display_decides_what_is_looked_at(
    machine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("QT_QPA_PLATFORM", "WAYLAND_DISPLAY", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert machine.has_screen() == (sys.platform != "linux")
    assert machine._platform_plugins(on_screen=False) == ["qoffscreen"]
    assert machine._platform_plugins(on_screen=True) == ["qxcb"]
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert machine._platform_plugins(on_screen=True) == ["qwayland"]
    monkeypatch.setenv("QT_QPA_PLATFORM", "vnc:size=800x600")
    assert machine._platform_plugins(on_screen=True) == ["qvnc"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a screen")
def test_without_a_screen_the_demo_goes_on_and_the_app_says_so(
    done: Any, parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(parts.bootstrap, "ROOT", done.root)
    monkeypatch.setattr(parts.bootstrap, "_become", lambda command: became.append(command) or 0)
    for name in ("QT_QPA_PLATFORM", "WAYLAND_DISPLAY", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert parts.bootstrap._do("demo", []) == 0
    assert became[0][1:] == ["demo"]
    with pytest.raises(parts.environment.InstallError, match="no screen here"):
        parts.bootstrap._do("app", [])


# ---------------------------------------------------------------- the whole file, run


def run_bootstrap(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FOLDER / "bootstrap.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_the_verbs() -> None:
    done = run_bootstrap("--help")
    assert done.returncode == 0
    for verb in ("demo", "app", "test", "install"):
        assert f"bootstrap.py {verb}" in done.stdout


def test_an_unknown_verb_is_refused() -> None:
    done = run_bootstrap("instal")
    assert done.returncode == 2
    assert "invalid choice: 'instal'" in done.stderr


# ---------------------------------------------------------------- that it loads


def test_packages_are_loaded_without_a_screen_and_with_bytecode(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    venv = SimpleNamespace(python=Path(sys.executable))
    phases = parts.progress.Phases(total=1, out=io.StringIO())
    code = "import os, sys; print(sys.dont_write_bytecode, os.environ['QT_QPA_PLATFORM'])"
    done = parts.installer._load(venv, code, "it", phases)
    assert (done.returncode, done.stdout.split()) == (0, ["False", "offscreen"])


def test_what_does_not_load_is_told_with_its_last_line(parts: Any) -> None:
    venv = SimpleNamespace(python=Path(sys.executable))
    phases = parts.progress.Phases(total=1, out=io.StringIO())
    done = parts.installer._load(venv, "import no_such_module_at_all", "it", phases)
    sentence = parts.installer._load_sentence(done.stderr)
    assert "No module named 'no_such_module_at_all'" in sentence
    assert "Delete the folder .venv" in sentence
