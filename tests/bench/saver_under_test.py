"""One save of step 300 into a run folder that has two, as a process of its own.

    python tests/bench/saver_under_test.py RUN fettle|naive

Fettle's is the store's own code with rotation; the naive one writes in place and looks at nothing,
as most trainers do. Exit code 0: saved; 3: it was said that it could not be. Two opens of a file
that is not there mark where the save begins and ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine import failpoints
from engine.store.checkpoints import FOLDER, name_of
from engine.store.manifest import MANIFEST, FileEntry, Manifest, digest_of
from engine.store.rotation import rotate
from engine.store.staging import CheckpointError, publish, stage, write_file

BEGIN, END = "/fettle-save-begins", "/fettle-save-ends"
STEP = 300
SIZES = {"adapter_model.safetensors": 20_000, "optimizer.safetensors": 9_000, "state.json": 700}
PIECE = 4096


def contents(step: int) -> dict[str, bytes]:
    """What the save of a step holds."""
    dice = random.Random(step)
    return {name: dice.randbytes(size) for name, size in SIZES.items()}


def pieces(data: bytes) -> list[bytes]:
    """As a large file is written: not at once."""
    return [data[at : at + PIECE] for at in range(0, len(data), PIECE)]


def save(run: Path, step: int) -> None:
    """Fettle's. Raises CheckpointError."""
    staging = stage(run, step, needs_bytes=1 << 16)
    hashes = {
        name: write_file(staging / name, pieces(data)) for name, data in contents(step).items()
    }
    publish(staging, step=step, fields={"cursor": step}, hashes=hashes)
    rotate(run, 2, verified={step})


def save_naively(run: Path, step: int) -> None:
    """In place, unsynced, with no look at what a write returns."""
    folder = run / FOLDER / name_of(step)
    folder.mkdir()
    files = {}
    for name, data in contents(step).items():
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT)
        for piece in pieces(data):
            os.write(descriptor, piece)
        os.close(descriptor)
        files[name] = FileEntry(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        _write_manifest(folder, step, files)


def _write_manifest(folder: Path, step: int, files: dict[str, FileEntry]) -> None:
    import msgspec

    manifest = Manifest(format=1, step=step, created_at=time.time(), files=files)
    raw = msgspec.to_builtins(manifest)
    raw["digest"] = digest_of(raw)
    (folder / MANIFEST).write_text(json.dumps(raw))


SAVERS = {"fettle": save, "naive": save_naively}


def _mark(name: str) -> None:
    with contextlib.suppress(OSError):
        os.close(os.open(name, os.O_RDONLY))


def main() -> int:
    run, kind = Path(sys.argv[1]), sys.argv[2]
    failpoints.arm()
    _mark(BEGIN)
    try:
        SAVERS[kind](run, STEP)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 3
    finally:
        _mark(END)
    return 0


if __name__ == "__main__":
    # Nothing after the save may change what is told of it.
    os._exit(main())
