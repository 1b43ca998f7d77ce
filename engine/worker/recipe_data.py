"""The part of the script in a run's output that loads the data."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from engine.contract.hub_id import is_dataset_id
from engine.contract.spec import DatasetSpec, SourceSpec, Spec
from engine.formats import messages, sharegpt
from engine.formats import source as sources
from engine.formats.example import DatasetError
from engine.formats.gather import gather
from engine.formats.mapping import IN_TURNS, TALK
from engine.formats.source import Source
from engine.formats.text_rows import HEAD_BYTES, PIECE, layout

_KINDS = {
    "jsonl": "json", "ndjson": "json", "json": "json", "csv": "csv", "tsv": "csv",
    "parquet": "parquet", "arrow": "arrow",
}  # fmt: skip
_ROLES = {**messages.ROLES, **sharegpt.ROLES}


def loading(spec: Spec, changed: str = "") -> str:
    """Sets ``data`` and ``held_back`` (None if nothing is) to examples as TRL wants them;
    ``changed`` may put another ``to_example`` in place of the usual one."""
    found = [_source(entry) for entry in spec.dataset.entries]
    roles = "".join(f"    {said!r}: {role!r},\n" for said, role in _ROLES.items())
    usual = f"ROLES = {{\n{roles}}}\n{_TO_EXAMPLE}{changed}"
    kind = found[0]["kind"]
    if _is_plain(spec.dataset) and kind != "text":
        load = f'data = load_dataset("{kind}", data_files=DATA, split="train")'
        mapped = "data = data.map(to_example, remove_columns=data.column_names)"
        return f"{usual}\n\n{load}\n{mapped}\n{_SPLIT}"
    listed = "".join(f"    {source!r},\n" for source in found)
    names = f"SOURCES = [\n{listed}]\nIN_TURNS = {IN_TURNS!r}\nTALK = {TALK!r}\n"
    has_text = any(source["kind"] == "text" for source in found)
    documents = f"PIECE = {PIECE}\n{_DOCUMENTS}" if has_text else ""
    return f"{usual}\n\n{names}{documents}{_LOAD}{_SPLIT}{_WEIGHED}"


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


def _source(entry: SourceSpec) -> dict[str, Any]:
    found: Sequence[Source] = ()
    with contextlib.suppress(DatasetError):
        found = gather(entry.path).files
    files = [str(source.path) for source in found] or [entry.path]
    bare = files[0].lower().removesuffix(".gz").removesuffix(".zst")
    kind = _KINDS.get(bare.rpartition(".")[2], "text")
    if is_dataset_id(entry.path) and not (found and kind == "text"):
        kind, files = entry.path, []
    layouts = [_layout(source) for source in found] if kind == "text" else []
    return {
        "kind": kind, "files": files, "layouts": layouts or ["whole"] * len(files),
        "columns": dict(entry.columns), "roles": dict(entry.roles),
        "only_good": entry.format == "unpaired_preference",
        "skip": entry.skip_samples, "most": entry.max_samples, "weight": entry.weight,
    }  # fmt: skip


def _layout(source: Source) -> str:
    try:
        return layout(sources.read_bytes(source, HEAD_BYTES))
    except DatasetError:
        return "whole"


_TO_EXAMPLE = '''

def to_example(row):
    """A row of any of the usual shapes as TRL wants it."""
    if "chosen" in row:
        return answered(row, row["chosen"])
    if "label" in row and "completion" in row:
        return answered(row, row["completion"])
    if "instruction" in row:
        given = row.get("input") or row.get("context")
        question = "\\n".join(part for part in (row["instruction"], given) if part)
        answer = row["output"] if row.get("output") is not None else row["response"]
        system = [("system", row["system"])] if row.get("system") else []
        earlier = row.get("history") or []
        earlier = json.loads(earlier) if isinstance(earlier, str) else earlier
        said = [part for asked, told in earlier for part in (("user", asked), ("assistant", told))]
        said = [*system, *said, ("user", question), ("assistant", answer)]
        return {"messages": [{"role": role, "content": text} for role, text in said]}
    for name in ("messages", "conversations", "conversation"):
        if name in row:
            return {"messages": turns(row[name])}
    if isinstance(row.get("prompt"), list):
        return {"messages": turns(row["prompt"]) + turns(row["completion"])}
    return {key: row[key] for key in ("prompt", "completion", "text") if key in row}


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
    """Turns in OpenAI's shape, of speakers that the chat template knows."""
    found = []
    for turn in said:
        who, what = ("role", "content") if turn.get("role") else ("from", "value")
        role = ROLES[turn[who].lower()]
        if role == "tool" and not KNOWS_TOOLS:
            role = "user"
        more = {k: turn[k] for k in ("tool_calls", "name", "tool_call_id") if k in turn}
        found.append({"role": role, "content": turn[what] or "", **more})
    return found
'''

_DOCUMENTS = '''

def documents(files, layouts, times):
    """The documents of text files, kept apart as Fettle does. A changed file has another time, so
    that no old copy of it is taken."""
    for file, layout in zip(files, layouts, strict=True):
        held, length, blank = [], 0, 0
        packing = "infer" if file.lower().endswith((".gz", ".zst")) else None
        with fsspec.open(
            file, "rt", compression=packing, encoding="utf-8-sig", newline="\\n"
        ) as lines:
            for line in lines:
                line = line.replace("\\r\\n", "\\n")
                blank = 0 if line.strip() else blank + 1
                is_long = length >= 2 * PIECE or (length >= PIECE and blank > 0)
                ends = {"gaps": blank >= 2, "lines": True, "whole": is_long}
                if held and ends[layout]:
                    yield {"text": "".join(held).strip()}
                    held, length = [], 0
                if held or not blank:
                    held.append(line)
                    length += len(line)
        if held:
            yield {"text": "".join(held).strip()}
'''

_LOAD = '''

def load(place, source):
    """The rows of one dataset; each says which one it is of."""
    files = source["files"]
    if source["kind"] == "text":
        times = [Path(file).stat().st_mtime_ns for file in files]
        asked = {"files": files, "layouts": source["layouts"], "times": times}
        rows = Dataset.from_generator(documents, gen_kwargs=asked)
    else:
        named = {"data_files": files} if files else {}
        rows = load_dataset(source["kind"], split="train", **named)
    last = source["skip"] + source["most"] if source["most"] else len(rows)
    rows = rows.select(range(min(source["skip"], len(rows)), min(last, len(rows))))
    if source["only_good"]:
        rows = rows.filter(lambda row: is_good(usual(row, source)))
    return rows.map(lambda row: {**to_example(usual(row, source)), "source": place},
                    remove_columns=rows.column_names)


def is_good(row):
    """Whether the verdict on an answer is a good one."""
    verdict = next(row[name] for name in ("label", "kto_tag") if name in row)
    return str(verdict).strip().lower() in ("true", "1")


def usual(row, source):
    """The row with its columns, the fields of its turns and their speakers by the usual names."""
    names = source["columns"]
    inner = {name: theirs for name, theirs in names.items() if name in IN_TURNS}
    roles = {theirs.lower(): name for name, theirs in source["roles"].items()}
    row = renamed(row, {name: theirs for name, theirs in names.items() if name not in IN_TURNS})
    for column in TALK:
        if isinstance(row.get(column), list):
            row[column] = [speaking(renamed(turn, inner), roles) for turn in row[column]]
    return row


def renamed(row, names):
    """All names at once: two may be swapped."""
    rest = {key: value for key, value in row.items() if key not in names.values()}
    return rest | {name: row[theirs] for name, theirs in names.items() if theirs in row}


def speaking(turn, roles):
    """The turn with its speaker by the usual name."""
    said = {key: turn[key] for key in ("role", "from") if isinstance(turn.get(key), str)}
    return turn | {key: roles.get(value.lower(), value) for key, value in said.items()}


def shape(rows):
    """What a row is made of."""
    return {name: sorted(value[0]) if isinstance(value, list) else type(value).__name__
            for name, value in rows[0].items()}


loaded = [rows for place, source in enumerate(SOURCES) if len(rows := load(place, source))]
# TRL learns from rows of one shape: bare prompts and completions cannot stand beside conversations.
if any(shape(rows) != shape(loaded[0]) for rows in loaded):
    raise SystemExit(
        "The datasets in SOURCES give rows of several shapes, such as conversations and bare "
        "prompts with completions, and TRL learns from one at a time: leave some of them out of "
        "SOURCES, or repeat this run with Fettle."
    )
usual_types = loaded[0].features
data = concatenate_datasets([
    rows if rows.features == usual_types else rows.cast(usual_types) for rows in loaded
])
'''

_SPLIT = """
held_back = None
if EVAL_FRACTION and len(data) > 1:
    parts = data.train_test_split(test_size=EVAL_FRACTION, seed=SEED)
    data, held_back = parts["train"], parts["test"]
"""

_WEIGHED = '''

def weighed(rows, place, weight):
    """The rows of one dataset, as often as its weight says."""
    rows = rows.select([n for n, of in enumerate(rows["source"]) if of == place])
    whole = int(weight)
    part = rows.shuffle(seed=SEED).select(range(round((weight - whole) * len(rows))))
    return [rows] * whole + [part]


# Only now, so that no copy of what is held back is trained on.
data = concatenate_datasets([
    part for place, source in enumerate(SOURCES) for part in weighed(data, place, source["weight"])
]).remove_columns("source")
if held_back:
    held_back = held_back.remove_columns("source")
'''
