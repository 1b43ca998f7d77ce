"""The rules of the house that no linter knows, for every file of ``app`` and ``engine``."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(file for part in ("app", "engine") for file in (ROOT / part).rglob("*.py"))
LIGHT = ("contract", "planning", "diagnosis", "formats", "store")
LIGHT_NEEDS = {"msgspec", "platformdirs", "engine"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def all_nodes() -> list[tuple[str, ast.AST]]:
    """Every node, with a place that an editor can open."""
    return [
        (f"{name}:{getattr(node, 'lineno', 1)}", node)
        for name, file in ((str(file.relative_to(ROOT)), file) for file in FILES)
        for node in ast.walk(tree(file))
    ]


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Those of these kinds."""
    return (found for found in all_nodes() if isinstance(found[1], kinds))


def called(node: ast.AST) -> str:
    """The last part of the name that a call calls."""
    function = node.func if isinstance(node, ast.Call) else None
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


# ---------------------------------------------------------------- size


def test_functions_are_short() -> None:
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for _, node in nodes(*FUNCTIONS)
        if isinstance(node, FUNCTIONS) and node.end_lineno
    )
    assert statistics.median(lengths) <= 12
    assert lengths[int(len(lengths) * 0.9)] <= 30


def test_modules_are_read_in_one_go() -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines())
        for file in FILES
    }
    # The protocol document is one file on purpose, and a list more than code.
    del lengths["engine/contract/messages.py"]
    assert sorted(lengths.values())[int(len(lengths) * 0.9)] <= 300
    assert not {name: count for name, count in lengths.items() if count > 400}


def test_classes_have_one_job() -> None:
    large = {
        node.name: count
        for _, node in nodes(ast.ClassDef)
        if isinstance(node, ast.ClassDef)
        and (count := sum(isinstance(part, FUNCTIONS) for part in node.body)) > 20
    }
    assert large == {}


# ---------------------------------------------------------------- safety


def test_nothing_is_pickled() -> None:
    banned = {"pickle", "cPickle", "dill", "shelve", "marshal", "joblib", "cloudpickle"}
    found = []
    for place, node in nodes(ast.Import, ast.ImportFrom, ast.Attribute):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            assert isinstance(node, ast.Attribute)
            held = node.value.id if isinstance(node.value, ast.Name) else ""
            names = ["pickle"] if held == "torch" and node.attr in ("save", "load") else []
        found += [place for name in names if name.partition(".")[0] in banned]
    assert found == []


def test_no_code_of_a_model_runs_unasked() -> None:
    """``trust_remote_code`` is always passed, never left to a default."""
    found = []
    for place, node in nodes(ast.Call):
        if called(node) != "from_pretrained" or not isinstance(node, ast.Call):
            continue
        receiver = ast.unparse(node.func).rpartition(".")[0]
        keywords = {keyword.arg for keyword in node.keywords}
        if "Auto" in receiver and not keywords & {"trust_remote_code", None}:
            found.append(place)
    assert found == []


def test_nothing_listens_on_the_network() -> None:
    banned = {"AF_INET", "AF_INET6", "start_server", "QTcpServer", "QUdpSocket", "socketserver"}
    found = []
    for place, node in nodes(ast.Attribute, ast.Name, ast.alias):
        names = {getattr(node, key, "") for key in ("attr", "id", "name")}
        found += [place] if names & banned else []
    assert found == []


# ---------------------------------------------------------------- Qt


def test_no_lambda_is_connected() -> None:
    """A connected lambda keeps what it captures alive, and runs after its widget is gone."""
    assert [
        place
        for place, node in nodes(ast.Call)
        if isinstance(node, ast.Call)
        and called(node) == "connect"
        and any(isinstance(argument, ast.Lambda) for argument in node.args)
    ] == []


# ---------------------------------------------------------------- imports, seen in a live Python


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_the_light_side_starts_where_nothing_is_installed() -> None:
    """Only the standard library, msgspec and platformdirs: it has to report what is broken."""
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for part in LIGHT
        for file in (ROOT / "engine" / part).rglob("*.py")
        if file.name != "__init__.py"
    ]
    assert modules
    code = f"""
import importlib, sys
allowed = {LIGHT_NEEDS!r} | set(sys.stdlib_module_names)
class Refuser:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(name + " is not for the light side")
sys.meta_path.insert(0, Refuser)
for module in {modules!r}:
    importlib.import_module(module)
"""
    assert run(code) == ""


@pytest.mark.parametrize("module", ["app.main", "engine.cli", "engine.client"])
def test_a_front_end_does_not_load_torch(module: str) -> None:
    heavy = "{'torch', 'transformers', 'numpy'}" if module != "app.main" else "{'torch'}"
    assert run(f"import {module}, sys; print(sorted({heavy} & set(sys.modules)))") == "[]\n"
