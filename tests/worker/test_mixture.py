"""Several datasets in one run: how often each row is learnt, and what is said of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.contract.dataset_report import DatasetReport
from engine.contract.messages import Decision, Job
from engine.contract.row_places import name_of, names_of
from engine.contract.spec import DatasetSpec, SourceSpec, Spec
from engine.contract.toml import to_raw
from engine.contract.validate import check
from engine.diagnosis.certificate import certify
from engine.diagnosis.certificate.facts import DataFacts, Facts, flattened
from engine.formats import entries, registry, source
from engine.formats.corpus import numbered_examples
from engine.formats.example import DatasetError, Row
from engine.formats.files import read_rows
from engine.formats.reading import open_dataset
from engine.methods.pretrain import train as pretrain
from engine.methods.sft import train as sft
from engine.worker import hub_dataset, inspect_job, origins, template_check
from engine.worker.crew_wire import SentDataset, SentUnit
from engine.worker.encoding import encoding_of
from engine.worker.encoding_key import key_of, prints_of
from engine.worker.mixture import copies_of, parts_of, shares
from engine.worker.samples import row_hash
from tests.worker.conftest import Heard, make_spec

ROWS = 40


@pytest.fixture
def tokenizer(models: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models("llama"))


@pytest.fixture
def mixed(models: Callable[[str], Path], tmp_path: Path) -> Callable[..., Spec]:
    """Makes a spec of two datasets with these weights."""

    def make(*weights: float, method: str = "sft", **training: Any) -> Spec:
        raw = make_spec(models("llama"), tmp_path, **training)
        raw["method"] = method
        raw["dataset"] = {"eval_fraction": 0.1, "sources": [
            {"path": str(_file(tmp_path, name, method)), "weight": weight}
            for name, weight in zip("ab", weights, strict=True)
        ]}  # fmt: skip
        spec, complaints = check(raw)
        assert spec, complaints
        return spec

    return make


def _file(folder: Path, name: str, method: str) -> Path:
    path = folder / f"{name}.jsonl"
    texts = [f"{name} number {n}" for n in range(ROWS)]
    rows = [{"text": t} if method == "pretrain" else {"instruction": t, "output": t} for t in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _counts(origins: Any) -> Counter[int]:
    return Counter(origins.tolist())


def test_weights_repeat_rows_or_choose_among_them_by_seed_and_row(
    mixed: Callable[..., Spec], tokenizer: Any, report: Heard
) -> None:
    spec = mixed(2, 0.5)
    prepared = sft.prepare(spec, tokenizer, report)
    counts = _counts(prepared.train.origins)
    held = set(prepared.evaluation.origins.tolist())
    assert len(held) == len(prepared.evaluation) == 8
    assert not held & set(counts)
    assert all(counts[row] == 2 for row in range(ROWS) if row not in held)
    # Copies lie a pass apart: in one block the second would be read off the first.
    origins = prepared.train.origins.tolist()
    assert not any(one == other for one, other in pairwise(origins))
    others = [counts[row] for row in range(ROWS, 2 * ROWS) if row not in held]
    assert set(others) == {0, 1}
    assert 8 <= sum(others) <= 28
    again = sft.prepare(spec, tokenizer, report)
    assert again.train.digest() == prepared.train.digest()


def test_a_change_of_weights_needs_no_new_tokens(
    mixed: Callable[..., Spec], tokenizer: Any, report: Heard
) -> None:
    first = encoding_of(mixed(1, 1), tokenizer, report)
    assert first.meta.parts == [ROWS, ROWS]
    again = encoding_of(mixed(3, 0.2), tokenizer, report)
    assert again.is_kept
    assert key_of(mixed(1, 1, seed=7), tokenizer) != first.folder.name


def test_what_each_dataset_gives_is_said(
    mixed: Callable[..., Spec], tokenizer: Any, report: Heard
) -> None:
    spec = mixed(2, 1, num_train_epochs=3.0, max_steps=-1)
    encoding = encoding_of(spec, tokenizer, report)
    prepared = sft.prepare(spec, tokenizer, report, encoding)
    one, two = shares(spec, encoding, prepared.train)
    assert (one.name, one.rows, one.weight, one.epochs) == ("a.jsonl", ROWS, 2, 6)
    assert (two.epochs, one.trained + two.trained) == (3, len(prepared.train))
    (decision,) = report.of(Decision)
    assert decision.title.startswith(f"An epoch has {one.trained} samples of a.jsonl, ")


def test_documents_are_weighed_before_they_are_cut_into_blocks(
    mixed: Callable[..., Spec], tokenizer: Any, report: Heard
) -> None:
    plain = pretrain.prepare(mixed(1, 1, method="pretrain"), tokenizer, report)
    double = pretrain.prepare(mixed(2, 2, method="pretrain"), tokenizer, report)
    assert int(double.train.lengths.sum()) == 2 * int(plain.train.lengths.sum())
    assert double.evaluation.digest() == plain.evaluation.digest()


@pytest.mark.parametrize(("weight", "least", "most"), [(1, 1000, 1000), (0.3, 240, 360),
                                                       (2.5, 2440, 2560)])  # fmt: skip
def test_copies_come_to_the_weight(weight: float, least: int, most: int) -> None:
    hashes = b"".join(row_hash(str(n).encode(), 42) for n in range(1000))
    rows = np.frombuffer(hashes, np.uint8).reshape(-1, 32)
    assert least <= copies_of(rows, np.full(1000, weight)).sum() <= most


def test_rows_know_their_part() -> None:
    def of(sizes: Sequence[int], *rows: int) -> list[int]:
        return parts_of(sizes, rows).tolist()  # type: ignore[arg-type]

    assert of([2, 0, 3], 0, 1, 2, 4) == [0, 0, 2, 2]


def test_labels_decide_what_is_learnt(
    models: Callable[[str], Path], tokenizer: Any, report: Heard, tmp_path: Path
) -> None:
    path = tmp_path / "kto.jsonl"
    rows = [{"prompt": str(n), "completion": "b", "label": n % 3 > 0} for n in range(9)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = make_spec(models("llama"), path)
    raw["dataset"] = {"path": str(path), "format": "unpaired_preference", "eval_fraction": 0.0}
    spec, _ = check(raw)
    assert spec
    prepared = sft.prepare(spec, tokenizer, report)
    assert prepared.train.origins is not None
    assert prepared.train.origins.tolist() == [1, 2, 4, 5, 7, 8]
    (decision,) = report.of(Decision)
    assert "labelled good" in decision.title
    assert "3 of 9" in decision.reason


# ---------------------------------------------------------------- resume, and the hub


def test_a_certificate_names_the_changed_source(mixed: Callable[..., Spec], tmp_path: Path) -> None:
    spec = mixed(1, 1)
    paths = [entry.path for entry in spec.dataset.entries]
    before = dict(zip(paths, prints_of(spec.dataset), strict=True))
    (tmp_path / "b.jsonl").write_text('{"instruction": "other", "output": "x"}\n')
    now = dict(zip(paths, prints_of(spec.dataset), strict=True))
    settings = flattened(to_raw(spec))
    facts = [
        Facts(settings=settings, data=DataFacts(digest=str(n), samples=n, sources=sources))
        for n, sources in enumerate((before, now))
    ]
    found = certify(*facts, at=0.0, step=1, files=1, size_bytes=1, is_refused=True, seconds=0.0)
    (line,) = [line for line in found.lines if line.subject == "data"]
    assert "b.jsonl has changed since the save." in line.sentence


def test_a_dataset_is_fetched_once_where_it_is_not_here(
    models: Callable[[str], Path], report: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real library, from a cache of its own making, without the network."""
    import datasets

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    raw = make_spec(models("llama"), tmp_path)
    raw["dataset"] = {"path": "ann/chats", "eval_fraction": 0.0}
    spec, _ = check(raw)
    assert spec
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DatasetError, match="no dataset of that name"):
        hub_dataset.fetch_missing(spec.dataset, report)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub_dataset, "must_answer", lambda _: None)
    # The hub's part is played by a folder: what the library does with it is the same.
    source = tmp_path / "hub" / "ann" / "chats"
    source.mkdir(parents=True)
    (source / "train.jsonl").write_text('{"instruction": "a", "output": "b"}\n' * 3)
    monkeypatch.chdir(tmp_path / "hub")
    hub_dataset._fetch("ann/chats", tmp_path / "cache")
    found = list((tmp_path / "cache").rglob("*.arrow"))
    assert found
    assert datasets.Dataset.from_file(str(found[0])).num_rows == 3


def test_helpers_make_of_every_file_what_the_worker_makes(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    rows = [{"Frage": f"q{n}", "output": f"a{n}"} for n in range(9)]
    for name, some in (("a", rows[:4]), ("b", rows[4:])):
        text = "".join(json.dumps(row) + "\n" for row in some)
        (tmp_path / "many" / f"{name}.jsonl").write_text(text)
    (tmp_path / "c.csv").write_text("prompt,completion,label\nq,good,true\nq,bad,false\n")
    columns = {"instruction": "Frage"}
    spec = DatasetSpec(sources=[
        SourceSpec(path=str(tmp_path / "many"), columns=columns),
        SourceSpec(path=str(tmp_path / "many"), columns=columns, skip_samples=3, max_samples=2),
        SourceSpec(path=str(tmp_path / "c.csv"), format="unpaired_preference"),
    ])  # fmt: skip
    dataset = open_dataset(spec, "sft")
    there = SentDataset.of(dataset).opened()
    found = []
    for unit in dataset.units():
        here = [(example, line) for _, example, line in dataset.examples(unit)]
        assert [
            (e, line) for _, e, line in there.examples(SentUnit.of(unit, shows=False).unit)
        ] == here
        found += [(dataset.entry_of(unit), *each) for each in here]
    plain = [(each.part, each.example, each.row.line) for each in numbered_examples(spec, "sft")]
    assert found == plain
    assert [part for part, _, _ in found] == [0] * 9 + [1] * 2 + [2] * 2
    assert found[-1][1] is None


# ---------------------------------------------------------------- whose row it is


def _inspected(raw: dict[str, Any], report: Heard) -> DatasetReport:
    found = inspect_job.answer(Job(kind="inspect", spec=raw), report).report
    assert found is not None
    return found


def test_each_row_of_a_mixture_is_known_by_its_file(
    models: Callable[[str], Path], tmp_path: Path, report: Heard
) -> None:
    rows = [{"instruction": f"say {i}", "output": f"well then {i}"} for i in range(9)]
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "a.json").write_text("\n".join(map(json.dumps, [*rows[:4], rows[2]])))
    raw = make_spec(models("llama"), tmp_path)
    raw["dataset"] = {"eval_fraction": 0.0, "sources": [
        {"path": str(tmp_path / "x"), "skip_samples": 2},
        {"path": str(tmp_path / "a.json"), "max_samples": 5},
    ]}  # fmt: skip
    found = _inspected(raw, report)
    assert [(each.name, each.first, each.number) for each in found.files] == [
        ("x/a.json", 0, 3), (f"{tmp_path.name}/a.json", 7, 1),
    ]  # fmt: skip
    (copies,) = [each for each in found.findings if each.code == "duplicates"]
    assert copies.rows == [9, 10, 11]
    place = f"{tmp_path.name}/a.json"
    assert (
        names_of(found.files, copies.rows, found.lines) == f"{place} rows 3, 4, 5 (lines 3, 4, 5)"
    )
    assert name_of(found.files, 0, found.lines) == "x/a.json row 3 (line 10)"


def test_files_of_a_folder_are_told_and_so_is_what_a_fix_did(
    models: Callable[[str], Path], tmp_path: Path, report: Heard
) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    rows = [{"instruction": f"say {i}", "output": f"well then {i}"} for i in range(9)]
    rows[7]["output"] = ""
    for name, some in (("1.jsonl", rows[:6]), ("2.jsonl", rows[6:])):
        (folder / name).write_text("\n".join(map(json.dumps, some)))
    raw = make_spec(models("llama"), folder)
    raw["dataset"]["fixes"] = ["drop_empty"]
    found = _inspected(raw, report)
    assert [(each.name, each.first) for each in found.files] == [("1.jsonl", 0), ("2.jsonl", 6)]
    (told,) = [each for each in report.of(Decision) if "drop_empty" in each.reason]
    assert "In 2.jsonl row 2." in told.reason
    assert found.fixes_without(7) == ["drop_empty"]


def _many(folder: Path, files: int = 6) -> Path:
    """Files with blank lines between rows, and a row in two of them."""
    folder.mkdir()
    for at in range(files):
        rows = [{"instruction": f"say {at} {i}", "output": f"well then {i}"} for i in range(3)]
        rows[2] = {"instruction": "the same", "output": "again"}
        text = "\n\n\n".join(map(json.dumps, rows))
        (folder / f"{at}.jsonl").write_text(text)
    return folder


def test_lines_are_kept_with_the_tokens_and_no_row_is_read_for_them(
    models: Callable[[str], Path], tmp_path: Path, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_spec(models("llama"), _many(tmp_path / "d"))
    table = tmp_path / "t.csv"
    table.write_text('instruction,output\n"a\nb",c\nd,e\nthe same,again\n')
    raw["dataset"] = {"sources": [{"path": str(tmp_path / "d")}, {"path": str(table)}]}
    first = _inspected(raw, report)
    lines = {row: 1 + 3 * (row % 3) for row in range(18)} | {18: 2, 19: 4, 20: 5}
    assert first.lines.items() <= lines.items()
    assert {2, 5, 8, 11, 14, 17, 20} <= set(first.lines)
    assert names_of(first.files, [17, 20], lines) == "5.jsonl row 3 (line 7); t.csv row 3 (line 5)"
    found, taken = Counter[str](), Counter[str]()

    real = source.find

    def find(path: Path) -> source.Source:
        found[str(path)] += 1
        return real(path)

    def read(file: source.Source) -> Iterator[Row]:
        for row in read_rows(file):
            taken[str(file.path)] += 1
            yield row

    monkeypatch.setattr(source, "find", find)
    monkeypatch.setattr(entries, "read_rows", read)
    monkeypatch.setattr(registry, "SAMPLE_ROWS", 1)
    monkeypatch.setattr(template_check, "READ", 1)
    raw["dataset"]["fixes"] = ["drop_duplicates"]
    again = _inspected(raw, report)
    assert (again.is_kept, again.files) == (True, first.files)
    assert again.lines
    assert again.lines.items() <= lines.items()
    assert set(found.values()) == {1}
    assert max(taken.values()) <= 3  # For their format, and whether the template suits them.


def test_of_too_many_files_none_is_named(
    models: Callable[[str], Path], tmp_path: Path, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_spec(models("llama"), _many(tmp_path / "d"))
    monkeypatch.setattr(origins, "MOST_FILES", 6)
    assert len(_inspected(raw, report).files) == 6
    monkeypatch.setattr(origins, "MOST_FILES", 5)
    assert _inspected(raw, report).files == []
