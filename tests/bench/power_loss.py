"""A power cut after every operation of a save, on a disk that keeps only what was forced to it.

    python tests/bench/power_loss.py [--saver naive]

What a save does to the disk is recorded: files and folders made, bytes written, names changed,
fsyncs. Then every beginning of that list is played to a model of a disk and the power goes: bytes
that were not fsynced are gone (or zeros of the right length, as ext4 leaves them), and of the
changes of names that no fsync of their folder has made lasting none, all, or some have come
through. Afterwards a sound save must be found, and once the save was said to be done, it must be
that one. The naive saver must fail.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.store.checkpoints import newest_verified
from engine.store.manifest import verify
from tests.bench import saver_under_test
from tests.bench.saver_under_test import STEP

SOME = 4
"""How often a random part of what is not yet lasting comes through."""
Node = Any
"""A folder, as dict of names, or a :class:`Content`."""


class Content:
    """What a file holds, in memory and on the disk."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.lasting = data


class Operation(NamedTuple):
    """One thing done to the disk, in paths relative to the root."""

    kind: str
    """``make``, ``mkdir``, ``rename``, ``remove``, ``write``, ``sync``, ``sync_folder``."""
    path: str
    other: str = ""
    data: bytes = b""


# ---------------------------------------------------------------- recording


_recording: tuple[Path, list[Operation]] | None = None


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _recording is None:
        return
    root, found = _recording
    match event:
        case "open":
            path, _, flags = arguments
            # Python's own open has no flags of its own for "x" in some versions; the file tells.
            is_new = isinstance(path, str | bytes | os.PathLike) and not os.path.lexists(path)
            if is_new and flags & os.O_CREAT and (name := _inside(root, path)):
                found.append(Operation("make", name))
        case "os.mkdir" if name := _inside(root, arguments[0]):
            found.append(Operation("mkdir", name))
        case "os.rename" if name := _inside(root, arguments[0]):
            found.append(Operation("rename", name, _inside(root, arguments[1])))
        case "os.remove" | "os.rmdir" if name := _inside(root, arguments[0], arguments[1]):
            found.append(Operation("remove", name))


def _inside(root: Path, path: Any, folder: int = -1) -> str:
    """The path below the root; empty if it lies elsewhere."""
    base = _behind(folder) if folder >= 0 else Path.cwd()
    whole = base / os.fsdecode(path)
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else ""


def _behind(descriptor: int) -> Path:
    """The path of an open file or folder."""
    return Path(f"/proc/self/fd/{descriptor}").readlink()


sys.addaudithook(_on_audit)


@contextmanager
def recording(root: Path) -> Iterator[list[Operation]]:
    """The operations below ``root`` that are done inside."""
    global _recording
    found: list[Operation] = []
    real_write, real_fsync = os.write, os.fsync

    def write(descriptor: int, data: Any) -> int:
        if name := _inside(root, _behind(descriptor)):
            found.append(Operation("write", name, data=bytes(data)))
        return real_write(descriptor, data)

    def fsync(descriptor: int) -> None:
        path = _behind(descriptor)
        if name := _inside(root, path):
            found.append(Operation("sync_folder" if path.is_dir() else "sync", name))
        real_fsync(descriptor)

    os.write, os.fsync = write, fsync
    _recording = (root, found)
    try:
        yield found
    finally:
        _recording = None
        os.write, os.fsync = real_write, real_fsync


# ---------------------------------------------------------------- the disk


def load(folder: Path) -> dict[str, Node]:
    """A folder with all that is in it, safe on the disk."""
    return {
        path.name: load(path) if path.is_dir() else Content(path.read_bytes())
        for path in folder.iterdir()
    }


def store(tree: dict[str, Node], folder: Path, *, zeros: bool) -> None:
    """The disk as it is found after the power cut."""
    folder.mkdir(parents=True)
    for name, node in tree.items():
        if isinstance(node, dict):
            store(node, folder / name, zeros=zeros)
        else:
            fill = bytes(len(node.data) - len(node.lasting)) if zeros else b""
            (folder / name).write_bytes(node.lasting + fill)


def _place(tree: dict[str, Node], path: str) -> tuple[dict[str, Node] | None, str]:
    *folders, name = path.split("/")
    here: Node = tree
    for each in folders:
        here = here.get(each) if isinstance(here, dict) else None
    return (here if isinstance(here, dict) else None), name


def change(tree: dict[str, Node], operation: Operation, made: Node) -> None:
    """Change names in a tree; what cannot be, since an earlier change is lost, is lost too."""
    here, name = _place(tree, operation.path)
    if here is None:
        return
    if operation.kind in ("make", "mkdir"):
        # What is there already is asked for again, and refused.
        here.setdefault(name, made)
    elif name in here:
        node = here.pop(name)
        if operation.kind == "rename":
            there, other = _place(tree, operation.other)
            if there is not None:
                there[other] = node


class Disk:
    """Plays operations, and tells what is left when the power goes."""

    def __init__(self, start: Path) -> None:
        self._start = start
        self._now = load(start)
        self._changes: list[tuple[Operation, Node, bool]] = []
        """Changes of names, what they made, and whether they are lasting."""

    def play(self, operation: Operation) -> None:
        """Do one more."""
        match operation.kind:
            case "write" | "sync":
                here, name = _place(self._now, operation.path)
                assert here is not None
                content = here[name]
                if operation.kind == "write":
                    content.data += operation.data
                else:
                    content.lasting = content.data
            case "sync_folder":
                self._changes = [
                    (each, made, lasting or _folder_of(each) == operation.path)
                    for each, made, lasting in self._changes
                ]
            case kind:
                made: Node = Content() if kind == "make" else {}
                self._changes.append((operation, made, False))
                change(self._now, operation, made)

    def left(self, comes_through: Callable[[], bool]) -> dict[str, Node]:
        """The tree after a power cut; asked for each change that is not lasting."""
        tree = load(self._start)
        for operation, made, lasting in self._changes:
            if lasting or comes_through():
                # A folder is filled by the changes inside it.
                change(tree, operation, {} if isinstance(made, dict) else made)
        return tree


def _folder_of(operation: Operation) -> str:
    return operation.path.rpartition("/")[0]


# ---------------------------------------------------------------- every power cut


def cuts(base: Path, saver: str) -> Iterator[tuple[int, str, str]]:
    """(Operations done, what came through, what is wrong) for every power cut."""
    start = shutil.copytree(base, base.with_name("start"))
    work = shutil.copytree(base, base.with_name("work"))
    with recording(work) as operations:
        saver_under_test.SAVERS[saver](work, STEP)
    disk, dice = Disk(start), random.Random(0)
    policies: dict[str, Callable[[], bool]] = {"none": lambda: False, "all": lambda: True}
    policies |= {f"some {n}": lambda: dice.random() < 0.5 for n in range(SOME)}
    for done in range(len(operations) + 1):
        for name, policy in policies.items():
            is_done = done == len(operations)
            yield done, name, _problem(disk.left(policy), base.with_name("left"), is_done)
        if done < len(operations):
            disk.play(operations[done])


def _problem(tree: dict[str, Node], folder: Path, is_done: bool) -> str:
    for zeros in (False, True):
        shutil.rmtree(folder, ignore_errors=True)
        store(tree, folder, zeros=zeros)
        choice = newest_verified(folder)
        if choice.folder is None or verify(choice.folder):
            return "no sound save is left"
        if choice.notes:
            return choice.notes[0]
        if is_done and choice.step != STEP:
            return f"the save was said to be done, and step {choice.step} is the newest"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--saver", choices=sorted(saver_under_test.SAVERS), default="fettle")
    parser.add_argument("--out", type=Path, help="write the result here, as JSON")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        base = Path(name) / "base"
        for step in (100, 200):
            saver_under_test.save(base, step)
        found = list(cuts(base, options.saver))
    bad = [each for each in found if each[2]]
    result = {
        "saver": options.saver, "power_cuts": len(found), "bad": len(bad),
        "operations": max(each[0] for each in found), "bad_cuts": bad[:20],
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")
    sys.exit(bool(bad) != (options.saver == "naive"))


if __name__ == "__main__":
    main()
