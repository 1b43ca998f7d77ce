"""Processes beside the worker make the very files that it makes alone, or say why they cannot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from transformers import AutoTokenizer

from engine.contract.messages import Finding
from engine.contract.spec import Spec
from engine.contract.validate import check
from engine.formats import json_list, json_rows, reading
from engine.formats.example import Conversation, DatasetError, Turn
from engine.formats.reading import Ready
from engine.store import encoded
from engine.worker import crew
from engine.worker.crew_wire import SentUnit
from engine.worker.encoding import encoding_of
from engine.worker.encoding_key import digest_of
from engine.worker.report import Halted
from engine.worker.word_tokens import WordsDiffer, WordTokens
from tests.allowance import is_within
from tests.worker.conftest import WORDS, Heard, make_spec

ROOT = Path(__file__).parents[2]
STRICT = (
    "{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('No system here.') }}{% endif %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('They must alternate.') }}{% endif %}"
    "{{ '<' + m['role'] + '>' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small runs of rows, and nobody beside."""
    for module in (json_list, json_rows, reading):
        monkeypatch.setattr(module, "RUN_BYTES", 900)
    monkeypatch.setattr(reading, "_ROWS", 7)
    monkeypatch.setattr(crew, "most_helpers", lambda: 0)


@pytest.fixture
def helped(alone: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on with two beside, from the second run on."""

    def begin() -> None:
        monkeypatch.setattr(crew, "most_helpers", lambda: 2)
        monkeypatch.setattr(crew, "ALONE_SECONDS", 0.0)

    return begin


def _rows(count: int) -> list[dict[str, Any]]:
    """Rows of every kind that is told of: copies, empty answers, broken text, control tokens."""
    rows: list[dict[str, Any]] = []
    for i in range(count):
        words = " ".join(WORDS[(i * 7 + k) % 16] for k in range(3 + i * 5 % 29))
        rows.append({"instruction": f"Say é☃ {i % 50}: {words}", "output": words})
    rows[31]["output"] = ""
    rows[70]["output"] = "It wasnâ€™t"
    rows[71]["instruction"] = "Say <|im_end|> twice"
    return rows


def _messages(count: int) -> list[dict[str, Any]]:
    """Some of which :data:`STRICT` does not take, or not as they are."""
    talks = []
    for i, row in enumerate(_rows(count)):
        turns = [
            {"role": "user", "content": row["instruction"]},
            {"role": "assistant", "content": row["output"]},
        ]
        turns = [{"role": "system", "content": "Be short."}, *turns] if i % 5 == 0 else turns
        talks.append({"messages": [*turns, turns[-1]] if i % 11 == 3 else turns})
    return talks


def _written(folder: Path, name: str) -> Path:
    path = folder / name
    rows = _messages(180) if name.startswith("messages") else _rows(180)
    if path.suffix == ".jsonl":
        path.write_text("\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif path.suffix == ".csv":
        lines = [f'"{row["instruction"]}","{row["output"]}"' for row in rows]
        path.write_text("instruction,output\n" + "\n".join(lines), encoding="utf-8")
    else:
        path.write_text("\n\n\n".join(row["instruction"] for row in rows), encoding="utf-8")
    return path


def _spec(model: Path, data: Path) -> Spec:
    method = "pretrain" if data.suffix == ".txt" else "sft"
    raw = {**make_spec(model, data), "method": method}
    if data.stem == "messages":
        raw["dataset"]["loss_on"] = "last_answer"
    spec, complaints = check(raw)
    assert spec, complaints
    return spec


def _made(model: Path, data: Path, report: Heard) -> dict[str, Any]:
    """All that is kept, but for how long it took."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    if data.stem == "messages":
        tokenizer.chat_template = STRICT
    found = encoding_of(_spec(model, data), tokenizer, report)
    assert not found.is_kept
    kept: dict[str, Any] = {name: (found.folder / name).read_bytes() for name in encoded.FILES}
    kept["meta"] = msgspec.structs.replace(found.meta, seconds=0.0)
    for path in found.folder.iterdir():
        path.unlink()
    return kept


@pytest.mark.parametrize(
    ("family", "name"),
    [("gemma", "messages.jsonl"), ("qwen", "rows.json"), ("llama", "rows.csv"),
     ("mistral", "text.txt")],
)  # fmt: skip
def test_the_files_are_the_same_as_one_process_makes(
    models: Callable[[str], Path], tmp_path: Path, report: Heard, helped: Callable[[], None],
    family: str, name: str,
) -> None:  # fmt: skip
    data = _written(tmp_path, name)
    alone = _made(models(family), data, report)
    helped()
    assert _made(models(family), data, report) == alone
    meta: encoded.Meta = alone["meta"]
    assert meta.rows_read == 180
    if name == "messages.jsonl":
        assert meta.refused_count == len(meta.refused) == 17
        assert meta.merged_systems == 33


_DIFFERS = (
    "from engine.worker import helper, word_tokens\n"
    "def of(self, text, **options): raise word_tokens.WordsDiffer\n"
    "word_tokens.WordTokens.of = of\n"
    "helper.main()"
)


@pytest.mark.parametrize("where", ["here", "beside"])
def test_words_that_are_other_tokens_in_a_text_leave_nothing_behind(
    models: Callable[[str], Path], tmp_path: Path, report: Heard, helped: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch, where: str,
) -> None:  # fmt: skip
    data = _written(tmp_path, "rows.json")
    right = _made(models("qwen"), data, report)
    report.records.clear()
    asked = []

    def of(self: WordTokens, text: str, *, add_special_tokens: bool) -> Any:
        asked.append(text)
        if len(asked) == 60:
            raise WordsDiffer
        ids, places = real(self, text, add_special_tokens=add_special_tokens)
        return (ids + 1, places) if len(asked) > 10 else (ids, places)

    real: Callable[..., Any] = WordTokens.of
    with monkeypatch.context() as patch:
        if where == "here":
            patch.setattr(WordTokens, "of", of)
        else:
            patch.setattr(crew, "COMMAND", [sys.executable, "-c", _DIFFERS])
            helped()
        found = _made(models("qwen"), data, report)
    assert found == right
    assert len(asked) == (60 if where == "here" else 0)
    assert "made anew" in str(report.records)
    report.records.clear()
    # Another dataset, and the same one when it is wanted again, are not made of words either.
    monkeypatch.setattr(WordTokens, "of", lambda self, text, **options: 1 / 0)
    assert _made(models("qwen"), data, report) == right
    assert "made anew" not in str(report.records)


def test_what_was_made_of_words_is_not_found_once_they_differ(
    models: Callable[[str], Path], tmp_path: Path, report: Heard
) -> None:
    spec = _spec(models("qwen"), _written(tmp_path, "rows.json"))
    tokenizer = AutoTokenizer.from_pretrained(models("qwen"))
    encoding_of(spec, tokenizer, report)
    assert encoding_of(spec, tokenizer, report).is_kept
    encoded.note_words_differ(digest_of(tokenizer))
    assert not encoding_of(spec, tokenizer, report).is_kept
    other = AutoTokenizer.from_pretrained(models("llama"))
    assert not encoded.words_differ(digest_of(other))


def test_what_is_wrong_is_what_one_process_says_first(
    models: Callable[[str], Path], tmp_path: Path, report: Heard, helped: Callable[[], None]
) -> None:
    data = _written(tmp_path, "rows.jsonl")
    lines = data.read_text().split("\n\n")
    lines[120] = '{"instruction": "a", "output": 7}'
    lines[150] = "{oops"
    data.write_text("\n\n".join(lines))
    with pytest.raises(DatasetError, match=r"row 121 \(line 241\)") as alone:
        _made(models("qwen"), data, report)
    helped()
    with pytest.raises(DatasetError) as there:
        _made(models("qwen"), data, report)
    assert there.value.complaint == alone.value.complaint
    assert _nothing_is_left()


def test_what_a_lost_helper_owes_is_made_without(
    models: Callable[[str], Path], tmp_path: Path, report: Heard, helped: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    data = _written(tmp_path, "rows.jsonl")
    alone = _made(models("qwen"), data, report)
    helped()
    monkeypatch.setattr(crew, "COMMAND", [sys.executable, "-c", "import sys; sys.exit(7)"])
    assert _made(models("qwen"), data, report) == alone
    [lost] = [found for found in report.of(Finding) if found.code == "helper_lost"]
    assert "ended with code 7" in lost.cause
    assert not psutil.Process().children()


def test_a_number_of_any_size_goes_to_a_helper_and_back() -> None:
    call = {"function": {"name": "count", "arguments": {"atoms": 10**30}}}
    turns = [Turn(role="user", content="How many?"),
             Turn(role="assistant", content="", tool_calls=[call])]  # fmt: skip
    sent = SentUnit.of(Ready([({"a": 1}, Conversation(messages=turns), 7)]), shows=True)
    there = msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=SentUnit).unit
    assert isinstance(there, Ready)
    [(raw, example, line)] = there.rows
    assert (bytes(raw), example, line) == (b'{"a":1}', Conversation(messages=turns), 7)


def test_who_is_asked_to_end_does_not_wait_for_helpers(
    models: Callable[[str], Path], tmp_path: Path, report: Heard, helped: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    helped()
    # As one that is busy with a row that never ends.
    monkeypatch.setattr(crew, "COMMAND", [sys.executable, "-c", "import time; time.sleep(60)"])
    real = crew.Crew.parts

    def asked(self: crew.Crew, *given: Any) -> Any:
        report.wishes.signalled.set()
        return real(self, *given)

    monkeypatch.setattr(crew.Crew, "parts", asked)
    began = time.monotonic()
    with pytest.raises(Halted):
        _made(models("qwen"), _written(tmp_path, "rows.jsonl"), report)
    assert is_within(time.monotonic() - began, 1.0)
    assert _nothing_is_left()


_WORKER = """
import subprocess, sys, time
command = [sys.executable, "-m", "engine", "tokenise"]
print(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE).pid, flush=True)
time.sleep(60)
"""


def test_a_helper_ends_with_its_worker() -> None:
    """Killed without a word, in the middle of its work."""
    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER],
        stdout=subprocess.PIPE, cwd=ROOT, text=True,
    )  # fmt: skip
    assert worker.stdout is not None
    helper = psutil.Process(int(worker.stdout.readline()))
    os.kill(worker.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    helper.wait(20)


def test_a_helper_needs_no_torch() -> None:
    code = (
        "import sys; from engine.worker import quick_transformers; quick_transformers.install()\n"
        "import engine.worker.row_encoder, engine.worker.crew_wire\n"
        "print([name for name in ('torch', 'trl', 'peft', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def _nothing_is_left() -> bool:
    """Neither half a cache nor a process."""
    folder = encoded.folder_of("x").parent
    left = [child for child in psutil.Process().children() if child.status() != "zombie"]
    return not left and (not folder.exists() or list(folder.iterdir()) == [])
