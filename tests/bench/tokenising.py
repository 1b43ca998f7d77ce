"""What making tokens costs beside ``encode_batch`` of the tokenizers library on the same texts; for
``big_data.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from measure import PYTHON

_LIBRARY = """
import json, sys, time
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1])
texts = json.load(open(sys.argv[2], encoding="utf-8"))
batches = [texts[at : at + 1000] for at in range(0, len(texts), 1000)]
began, used = time.perf_counter(), time.process_time()
for batch in batches:
    tokenizer.encode_batch(batch, add_special_tokens=False)
print(json.dumps([time.perf_counter() - began, time.process_time() - used]))
"""


def library(model: Path, texts: list[str], home: Path, cores: int) -> dict[str, Any]:
    """What ``encode_batch`` alone does with rendered texts, on one core, times the cores."""
    path = home / "texts.json"
    path.write_text(json.dumps(texts), encoding="utf-8")
    done = subprocess.run(
        [PYTHON, "-c", _LIBRARY, str(model / "tokenizer.json"), str(path)],
        env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, cpu = json.loads(done.stdout)
    characters = sum(map(len, texts))
    return {
        "characters_per_second": round(cores * characters / seconds),
        "characters_per_cpu_second": round(characters / cpu),
    }


def in_turn(path: Path, model: Path, texts: list[str], *, shows: bool) -> dict[str, Any]:
    """A run of rows in one process, with all that is done to it, and ``encode_batch`` alone on the
    same texts, one after the other: CPU seconds, so that neither threads nor others matter.
    ``shows`` keeps what the *Data* page shows, as a start does not. In the first runs all words are
    new; the rows of later ones are those again, but for a number."""
    from itertools import islice

    from transformers import AutoTokenizer

    from engine.contract.spec import DatasetSpec
    from engine.formats.reading import open_dataset
    from engine.worker.quick_tokenizer import quick_of
    from engine.worker.row_encoder import RowEncoder

    tokenizer = AutoTokenizer.from_pretrained(model)
    quick = quick_of(tokenizer)
    dataset = open_dataset(DatasetSpec(path=str(path)), "sft")
    encoder = RowEncoder(quick, dataset, 42, "answers")
    shares = []
    begin = 0
    for unit in islice(dataset.units(), 30):
        started = time.process_time()
        part = encoder.part(unit, shows=shows)
        between = time.process_time()
        batch = texts[begin : begin + part.rows_read]
        tokenizer.backend_tokenizer.encode_batch(batch, add_special_tokens=False)
        shares.append((time.process_time() - between) / (between - started))
        begin += part.rows_read
    return {
        "median": round(sorted(shares)[15], 3), "of_the_first_six": round(sum(shares[:6]) / 6, 3),
        "of_runs": [round(x, 3) for x in shares],
    }  # fmt: skip


def texts_of(path: Path, model: Path, count: int) -> list[str]:
    """The first rows as the model's template has them."""
    from itertools import islice

    from transformers import AutoTokenizer

    from engine.formats import read_examples
    from engine.worker.chat import ChatRenderer

    render = ChatRenderer(AutoTokenizer.from_pretrained(model))
    examples: Any = islice(read_examples(path, "auto", "sft"), count)
    return [render(example).text for example in examples]
