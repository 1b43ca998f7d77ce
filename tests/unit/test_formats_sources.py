"""Folders, patterns, hub ids, mappings and mixtures: which rows a spec's dataset comes to."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.contract.messages import PreviewDataset
from engine.contract.spec import DatasetSpec, SourceSpec
from engine.formats import (
    DatasetError,
    check_data,
    check_dataset,
    corpus,
    fingerprint,
    preview,
)
from engine.formats.counting import rows_in_all
from engine.formats.gather import gather
from engine.formats.mapping import suggested
from engine.host.dataset_requests import preview_dataset

GOOD = {"instruction": "a", "output": "b"}
TALK = {"dialogue": [{"speaker": "customer", "said": "Hi"}, {"speaker": "shop", "said": "Hello."}]}


def put(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def answers(*entries: SourceSpec) -> list[str]:
    dataset = DatasetSpec(sources=list(entries))
    found = [each.example for each in corpus.numbered_examples(dataset, "sft")]
    return [example.messages[-1].content for example in found if example]  # type: ignore[union-attr]


def said(path: str | Path, **entry: Any) -> str:
    dataset = DatasetSpec(path=str(path), eval_fraction=0.0, **entry)
    return " ".join(map(str, check_data(dataset, "sft")))


# ---------------------------------------------------------------- folders and patterns


def test_a_folder_is_all_its_files_by_name(tmp_path: Path) -> None:
    put(tmp_path / "b.jsonl", {"instruction": "a", "output": "2"})
    put(tmp_path / "a.jsonl", {"instruction": "a", "output": "1"})
    (tmp_path / "README.md").write_text("# Not data")
    (tmp_path / ".hidden.jsonl").write_text("{")
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert said(tmp_path) == ""
    for path in (tmp_path, tmp_path / "*.jsonl", f"{tmp_path}/?.jsonl"):
        assert answers(SourceSpec(path=str(path))) == ["1", "2"]
    shown = preview(tmp_path)
    assert (shown["files"], shown["row_count"], shown["format"]) == (2, 2, "alpaca")


def test_a_folder_of_documents_has_its_readme_too(tmp_path: Path) -> None:
    for name in ("README.md", "one.md", "two.txt"):
        (tmp_path / name).write_text(f"A text in {name}.")
    assert [source.name for source in gather(tmp_path).files] == ["README.md", "one.md", "two.txt"]
    assert check_dataset(tmp_path, "auto", "pretrain") == []


def test_a_row_is_named_by_file_and_line(tmp_path: Path) -> None:
    put(tmp_path / "x" / "a.jsonl", GOOD, GOOD)
    put(tmp_path / "x" / "b.jsonl", GOOD, {"instruction": "a", "output": 5})
    found = said(tmp_path / "**" / "*.jsonl")
    assert "x/b.jsonl, row 2 (line 2): `output` is a number" in found
    dataset = DatasetSpec(path=str(tmp_path / "x"))
    assert corpus.place_of(dataset, 3) == "row 2 (line 2) of b.jsonl"


def test_what_is_no_dataset_gets_a_sentence(tmp_path: Path) -> None:
    put(tmp_path / "kinds" / "a.jsonl", GOOD)
    (tmp_path / "kinds" / "b.csv").write_text("instruction,output\na,b\n")
    assert "files of several kinds: 1 CSV and 1 JSON." in said(tmp_path / "kinds")
    put(tmp_path / "shapes" / "a.jsonl", GOOD)
    put(tmp_path / "shapes" / "b.jsonl", {"prompt": "a", "completion": "b"})
    assert "a.jsonl is alpaca and b.jsonl is prompt_completion" in said(tmp_path / "shapes")
    (tmp_path / "empty").mkdir()
    assert "no file that can be read as data" in said(tmp_path / "empty")
    assert "/**/*.jsonl" in said(tmp_path)
    assert "No file matches" in said(tmp_path / "*.csv")
    put(tmp_path / "one[1].jsonl", GOOD)
    assert said(tmp_path / "one[1].jsonl") == ""


def test_a_fingerprint_of_a_folder_covers_names_and_contents(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", GOOD)
    put(tmp_path / "b.jsonl", GOOD, GOOD)
    first = fingerprint(tmp_path)
    (tmp_path / "README.md").write_text("no data")
    assert fingerprint(tmp_path) == first
    (tmp_path / "b.jsonl").rename(tmp_path / "c.jsonl")
    renamed = fingerprint(tmp_path)
    assert renamed != first
    put(tmp_path / "c.jsonl", GOOD)
    assert fingerprint(tmp_path) not in (first, renamed)


# ---------------------------------------------------------------- addresses and hub ids


def test_an_address_is_no_path() -> None:
    assert 'path = "tatsu-lab/alpaca"' in said("https://huggingface.co/datasets/tatsu-lab/alpaca")
    assert "Download the file" in said("https://example.org/rows.jsonl")


def test_a_hub_id_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    missing = said("ann/chats")
    assert f"no dataset of that name in {tmp_path}" in missing
    assert "HF_HUB_OFFLINE" in missing
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert said("ann/chats") == ""  # The run fetches it.
    with pytest.raises(DatasetError, match="fettle data ann/chats --model M"):
        preview("ann/chats")
    folder = tmp_path / "ann___chats" / "default" / "0.0.0" / "abc"
    folder.mkdir(parents=True)
    for split, answer in (("train", "1"), ("test", "2")):
        table = pyarrow.Table.from_pylist([{"instruction": "a", "output": answer}] * 2)
        with pyarrow.ipc.new_stream(str(folder / f"chats-{split}.arrow"), table.schema) as writer:
            writer.write_table(table)
    assert said("ann/chats") == ""
    assert answers(SourceSpec(path="ann/chats")) == ["1", "1"]


# ---------------------------------------------------------------- columns and roles


def test_columns_are_what_a_person_says(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", {"Frage": "Wo?", "Antwort": "Hier."})
    assert "instruction is `Frage` and output is `Antwort`" in said(path)
    columns = {"instruction": "Frage", "output": "Antwort"}
    assert said(path, columns=columns) == ""
    assert answers(SourceSpec(path=str(path), columns=columns)) == ["Hier."]
    shown = preview(path, columns=columns)
    assert (shown["format"], shown["columns"]) == ("alpaca", ["Frage", "Antwort"])
    wrong = said(path, columns={"instruction": "Frgae", "output": "Antwort"})
    assert wrong.startswith("dataset.columns.instruction: No row of a.jsonl has a column 'Frgae'.")
    both = said(path, columns={"instruction": "Frgae", "output": "nope"})
    assert both.startswith(
        "dataset.columns: No row of a.jsonl has a column 'Frgae' for instruction or 'nope' for "
        "output. Did you mean `Frage`? It has `Frage`, `Antwort`"
    )


def test_a_chosen_format_is_not_said_of_the_file(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", {"instruction": "a", "output": "b"})
    told = said(path, format="text")
    assert told.startswith(
        "dataset.format: Read as text, a.jsonl is plain text, which has no answers for sft"
    )
    assert "Choose the format auto, or choose the method" in told


def test_the_host_takes_columns_and_roles(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", TALK, TALK)
    request = PreviewDataset(
        id=1, path=str(path), columns=suggested([TALK, TALK]),
        roles={"user": "customer", "assistant": "shop"},
    )  # fmt: skip
    answer = asyncio.run(preview_dataset(None, None, request))  # type: ignore[arg-type]
    assert (answer.data["format"], answer.data["confidence"]) == ("messages", 1.0)


def test_speakers_are_what_a_person_says(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", TALK, TALK)
    named = suggested([TALK, TALK])
    assert named == {"messages": "dialogue", "role": "speaker", "content": "said"}
    assert "'customer'" in said(path, columns=named)
    assert said(path, columns=named, roles={"user": "customer", "assistant": "shop"}) == ""


# ---------------------------------------------------------------- slices and mixtures


def numbered(path: Path, count: int) -> Path:
    return put(path, *({"instruction": "a", "output": str(n)} for n in range(count)))


def test_a_slice_is_the_first_rows_after_those_that_are_skipped(tmp_path: Path) -> None:
    path = str(numbered(tmp_path / "a.jsonl", 9))
    assert answers(SourceSpec(path=path, skip_samples=2, max_samples=3)) == ["2", "3", "4"]
    assert rows_in_all(DatasetSpec(path=path, skip_samples=7, max_samples=5)) == 2
    assert "dataset.skip_samples: a.jsonl has no more than 9 rows" in said(path, skip_samples=9)


def test_a_slice_goes_over_the_files_of_a_folder(tmp_path: Path) -> None:
    numbered(tmp_path / "a.jsonl", 2)
    numbered(tmp_path / "b.jsonl", 2)
    dataset = DatasetSpec(path=str(tmp_path), skip_samples=1, max_samples=2)
    assert corpus.place_of(dataset, 1) == "row 1 (line 1) of b.jsonl"


def test_sources_follow_one_behind_the_other_and_complaints_name_theirs(tmp_path: Path) -> None:
    one, two = numbered(tmp_path / "a.jsonl", 2), numbered(tmp_path / "b.jsonl", 3)
    entries = [SourceSpec(path=str(one)), SourceSpec(path=str(two), max_samples=1, weight=2)]
    assert answers(*entries) == ["0", "1", "0"]
    dataset = DatasetSpec(sources=entries)
    assert dataset.title == "a.jsonl and 1 more"
    assert rows_in_all(dataset) == 4
    assert [each.part for each in corpus.numbered_examples(dataset, "sft")] == [0, 0, 1]
    assert corpus.place_of(dataset, 2) == "row 1 (line 1) of b.jsonl"
    put(two, {"prompt": "Why?"})
    (complaint,) = check_data(dataset, "sft")
    assert complaint.field == "dataset.sources[2].path"
    os.remove(two)  # noqa: PTH107
    (complaint,) = check_data(dataset, "sft")
    assert complaint.field == "dataset.sources[2].path"


# ---------------------------------------------------------------- what is easily read wrong


def test_a_file_that_a_pattern_meets_twice_is_read_once(tmp_path: Path) -> None:
    put(tmp_path / "a" / "b" / "c.jsonl", GOOD)
    assert len(gather(f"{tmp_path}/**/**/*.jsonl").files) == 1


def test_rows_that_are_skipped_do_not_tell_the_format(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", *[{"text": "no row of it"}] * 60, *[GOOD] * 5)
    assert "plain text" in said(path)
    assert said(path, skip_samples=60) == ""


def test_rows_with_a_label_may_be_learnt_whole_too(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", *[{**GOOD, "label": n % 2 == 0} for n in range(6)])
    assert "the format alpaca to learn all rows" in said(path)
    assert said(path, format="alpaca") == ""
    asked = [{"from": "human", "value": "Is it so?"}]
    answers = {
        "chosen": {"from": "gpt", "value": "Yes."},
        "rejected": {"from": "gpt", "value": "?"},
    }
    pairs = put(tmp_path / "b.jsonl", *[{"conversations": asked, **answers}] * 3)
    assert "learn all rows" not in said(pairs), "nothing would read the answers"
