"""Tiny models, small data, and training in this very process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.contract.messages import Done, Job, Record
from engine.worker.inbox import Wishes
from engine.worker.main import import_libraries
from engine.worker.outbox import Outbox
from engine.worker.report import Report

FAMILIES = ("llama", "mistral", "qwen", "gemma")
TEXT = "the river ran over stones and a small red boat went by under the old bridge"
WORDS = TEXT.split()


class Heard(Report):
    """A report that keeps what it was told."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._outbox_end, self._pipe = os.pipe()
        super().__init__(Outbox(self._pipe), Wishes())

    def send(self, record: Record) -> None:
        self.records.append(record)
        super().send(record)

    def of(self, kind: type[Record]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]

    def close(self) -> None:
        os.close(self._outbox_end)
        os.close(self._pipe)


@pytest.fixture(scope="session", autouse=True)
def _libraries() -> None:
    """As in a worker: a run ends with a full collection, which would look through all of them."""
    import_libraries()


@pytest.fixture
def report() -> Iterator[Heard]:
    heard = Heard()
    yield heard
    heard.close()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny model by family; made once."""
    from engine.worker.sample_model import write_sample_model

    base = tmp_path_factory.mktemp("models")

    def get(family: str) -> Path:
        folder = base / family
        if not folder.exists():
            # One layer shows nearly all that more would; Gemma's are of two kinds.
            layers = 2 if family == "gemma" else 1
            write_sample_model(folder, family=family, hidden=32, vocab=600, layers=layers)
        return folder

    return get


@pytest.fixture(scope="session")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 short conversations of unequal length, in the alpaca shape."""
    rows = [
        {
            "instruction": f"Say {WORDS[i % 13]} {i} times.",
            "input": "",
            "output": " ".join(WORDS[(i * 7 + k) % 16] for k in range(3 + i * 5 % 23)),
        }
        for i in range(60)
    ]
    path = tmp_path_factory.mktemp("data") / "chats.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture(scope="session")
def few_chats(chats: Path) -> Path:
    """Every second one of them: 27 to learn from and 3 held back, an epoch of 7 windows of 4."""
    path = chats.with_name("few_chats.json")
    path.write_text(json.dumps(json.loads(chats.read_text())[::2]))
    return path


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 documents of plain text."""
    rows = [
        {"text": " ".join(WORDS[(i * 5 + k * k) % 16] for k in range(20 + i % 9))}
        for i in range(30)
    ]
    path = tmp_path_factory.mktemp("data") / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def make_spec(model: Path, data: Path, **training: Any) -> dict[str, Any]:
    """A short LoRA run; ``training`` goes into that table."""
    return {
        "name": "test",
        "model": {"path": str(model)},
        "lora": {"r": 4},
        "dataset": {"path": str(data), "eval_fraction": 0.1},
        "training": {
            "max_steps": 4, "max_length": 64, "learning_rate": 2e-3, "save_minutes": 0.0,
            "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2,
            # Half of a step's time, and of most tests no part.
            "gradient_checkpointing": "none", **training,
        },
    }  # fmt: skip


def run_here(folder: Path, spec: dict[str, Any], report: Report, **fields: Any) -> Done:
    """The whole job in this process; raises what the job raises."""
    from engine.worker import train_job

    folder.mkdir(parents=True, exist_ok=True)
    return train_job.run(Job(kind="train", folder=str(folder), spec=spec, **fields), report)
