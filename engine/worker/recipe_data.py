"""The part of the script in a run's output that loads the data."""

from __future__ import annotations

import contextlib
from typing import Any

from engine.contract.hub_id import is_dataset_id
from engine.contract.spec import DatasetSpec, SourceSpec, Spec
from engine.formats.example import DatasetError
from engine.formats.gather import gather

_KINDS = {
    "jsonl": "json", "ndjson": "json", "json": "json", "csv": "csv", "tsv": "csv",
    "parquet": "parquet", "arrow": "arrow",
}  # fmt: skip


def loading(spec: Spec, changed: str = "") -> str:
    """Sets ``data`` to examples as TRL wants them; ``changed`` may put another ``to_example`` in
    place of the usual one."""
    sources = [_source(entry, spec) for entry in spec.dataset.entries]
    if _is_plain(spec.dataset):
        kind, files = sources[0]["kind"], "DATA"
        extra = ', sample_by="paragraph"' if kind == "text" else ""
        load = f'data = load_dataset("{kind}", data_files={files}, split="train"{extra})'
        mapped = "data = data.map(to_example, remove_columns=data.column_names)"
        return f"{_TO_EXAMPLE}{changed}\n\n{load}\n{mapped}"
    listed = "\n".join(f"    {source!r}," for source in sources)
    return f"{_TO_EXAMPLE}{changed}\n\nSOURCES = [\n{listed}\n]\n{_LOAD}"


def _is_plain(dataset: DatasetSpec) -> bool:
    """Whether it is one file that is taken as it is."""
    named = SourceSpec(path=dataset.path, format=dataset.format)
    return dataset.entries == [named] and named.format not in _COMPARING and _is_file(named.path)


_COMPARING = ("preference", "unpaired_preference")


def _is_file(path: str) -> bool:
    try:
        return gather(path).is_one
    except DatasetError:
        return not is_dataset_id(path)


def _source(entry: SourceSpec, spec: Spec) -> dict[str, Any]:
    files: list[str] = [entry.path]
    with contextlib.suppress(DatasetError):
        files = [str(source.path) for source in gather(entry.path).files]
    bare = files[0].lower().removesuffix(".gz").removesuffix(".zst")
    kind = _KINDS.get(bare.rpartition(".")[2], "text")
    if is_dataset_id(entry.path):
        kind, files = entry.path, []
    return {
        "kind": kind, "files": files, "columns": dict(entry.columns), "roles": dict(entry.roles),
        "skip": entry.skip_samples, "most": entry.max_samples, "weight": entry.weight,
    }  # fmt: skip


_TO_EXAMPLE = '''
def to_example(row):
    """A row of any of the usual shapes as TRL wants it."""
    if "chosen" in row:
        return answered(row, row["chosen"])
    if "label" in row and "completion" in row:
        return answered(row, row["completion"])
    if "instruction" in row:
        question = "\\n".join(part for part in (row["instruction"], row.get("input")) if part)
        return {"messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": row["output"]},
        ]}
    if "conversations" in row:
        return {"messages": turns(row["conversations"])}
    return {key: row[key] for key in ("messages", "prompt", "completion", "text") if key in row}


def answered(row, answer):
    """The question of a row with one of its answers."""
    asked = next(row[k] for k in ("prompt", "messages", "conversations", "instruction", "question")
                 if row.get(k))
    if isinstance(asked, str) and isinstance(answer, str) and row.get("prompt"):
        return {"prompt": asked, "completion": answer}
    asked = [{"role": "user", "content": asked}] if isinstance(asked, str) else turns(asked)
    answer = [{"role": "assistant", "content": answer}] if isinstance(answer, str) else answer
    answer = turns(answer if isinstance(answer, list) else [answer])
    return {"messages": answer if answer[0]["role"] == "user" else asked + answer}


def turns(said):
    """Turns in OpenAI's shape."""
    roles = {"human": "user", "gpt": "assistant", "system": "system",
             "observation": "user", "function_call": "assistant"}
    return [
        {"role": turn["role"], "content": turn["content"]} if "role" in turn
        else {"role": roles.get(turn["from"], "user"), "content": turn["value"]}
        for turn in said
    ]
'''

_LOAD = '''

def load(source):
    """Rows of one dataset, as often as its weight says."""
    files = {"data_files": source["files"]} if source["files"] else {}
    rows = load_dataset(source["kind"], split="train", **files)
    last = source["skip"] + source["most"] if source["most"] else len(rows)
    rows = rows.select(range(min(source["skip"], len(rows)), min(last, len(rows))))
    for name, theirs in source["columns"].items():
        if theirs in rows.column_names:
            rows = rows.remove_columns([name] if name in rows.column_names else [])
            rows = rows.rename_column(theirs, name)
    verdict = next((n for n in ("label", "kto_tag") if n in rows.column_names), None)
    if verdict:
        rows = rows.filter(lambda row: str(row[verdict]).lower() in ("true", "1"))
    rows = rows.map(lambda row: to_example(renamed(row, source)),
                    remove_columns=rows.column_names)
    whole = int(source["weight"])
    part = rows.shuffle(seed=SEED).select(range(round((source["weight"] - whole) * len(rows))))
    return concatenate_datasets([rows] * whole + [part])


def renamed(row, source):
    """The fields and the speakers of its turns by their usual names."""
    fields = {theirs: name for name, theirs in source["columns"].items()}
    roles = {theirs: name for name, theirs in source["roles"].items()}
    for column in ("messages", "conversations"):
        if isinstance(row.get(column), list):
            talk = [{fields.get(k, k): v for k, v in turn.items()} for turn in row[column]]
            row[column] = [
                {k: roles.get(v, v) if k in ("role", "from") else v for k, v in turn.items()}
                for turn in talk
            ]
    return row


data = concatenate_datasets([load(source) for source in SOURCES])
'''
