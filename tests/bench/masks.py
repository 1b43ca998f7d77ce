"""Labels at scale: what is shown, what the trainer consumes, and what a second way of finding the
answers says, token for token.

    python tests/bench/masks.py --data ../shared/data [--rows 1000] [--bundled] [--out FILE]

Four formats are made of the same conversations, for the templates of four families and two that
mark no answers, and each is learnt in three ways (``dataset.loss_on``). The second way renders a
conversation up to and with each answer, by transformers alone. With ``--bundled`` it is the bundled
templates instead.
Exit code 1 if a token differs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from measure import machine, private_home

from engine.contract.template_names import BUNDLED

FAMILIES = ("llama", "mistral", "qwen", "gemma")
LOSSES = ("answers", "last_answer", "everything")
UNMARKED = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + "
    "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% endif %}",
    "zephyr": "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + "
    "'\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
}


def conversations(folder: Path, count: int) -> list[list[dict[str, str]]]:
    """Of one, two and three rounds, some with a system turn."""
    rows = json.loads((folder / "alpaca_en_demo.json").read_text(encoding="utf-8"))
    pairs = [
        [{"role": "user", "content": f"{row['instruction']}\n{row['input']}".strip()},
         {"role": "assistant", "content": row["output"]}]
        for row in rows
    ]  # fmt: skip
    found = []
    for at in range(count):
        turns = [turn for k in range(1 + at % 3) for turn in pairs[(at + k * 7) % len(pairs)]]
        system = [{"role": "system", "content": "Answer in short."}] if at % 4 == 0 else []
        found.append([*system, *turns])
    return found


def formats(talks: list[list[dict[str, str]]]) -> dict[str, list[dict[str, Any]]]:
    """The conversations in each format; alpaca and prompt_completion have their last round."""
    who = {"system": "system", "user": "human", "assistant": "gpt"}
    return {
        "messages": [{"messages": talk} for talk in talks],
        "sharegpt": [
            {"conversations": [{"from": who[t["role"]], "value": t["content"]} for t in talk]}
            for talk in talks
        ],
        "alpaca": [
            {"instruction": talk[-2]["content"], "output": talk[-1]["content"]} for talk in talks
        ],
        "prompt_completion": [
            {"prompt": talk[-2]["content"] + "\n", "completion": talk[-1]["content"]}
            for talk in talks
        ],
    }


def spans(tokenizer: Any, talk: list[dict[str, str]]) -> tuple[str, list[tuple[int, int]]]:
    """The text, and where the answers are."""
    whole = tokenizer.apply_chat_template(talk, tokenize=False)
    found = []
    for at, turn in enumerate(talk):
        if turn["role"] == "assistant":
            before = tokenizer.apply_chat_template(
                talk[:at], tokenize=False, add_generation_prompt=True
            )
            after = tokenizer.apply_chat_template(talk[: at + 1], tokenize=False)
            assert whole.startswith(before)
            assert whole.startswith(after)
            # Line ends behind an answer are markup, whoever writes them.
            found.append((len(before), len(after.rstrip("\n"))))
    return whole, found


def expected(
    tokenizer: Any, kind: str, row: dict[str, Any], talk: Any, loss_on: str
) -> list[tuple[int, bool]]:
    """Ids, and of each whether it is learnt; the first has nothing before it to be told from."""
    is_plain = kind == "prompt_completion"
    if is_plain:
        text = row["prompt"] + row["completion"]
        learnt = [(len(row["prompt"]), len(text))]
    else:
        text, learnt = spans(tokenizer, talk[-2:] if kind == "alpaca" else talk)
    if loss_on == "last_answer":
        learnt = learnt[-1:]
    elif loss_on == "everything":
        learnt = [(0, len(text))]
    made = tokenizer(text, add_special_tokens=is_plain, return_offsets_mapping=True)
    found = [
        (id, at > 0 and any(a < end and b > begin for begin, end in learnt))
        for at, (id, (a, b)) in enumerate(
            zip(made["input_ids"], made["offset_mapping"], strict=True)
        )
    ]
    if is_plain and found[-1][0] != tokenizer.eos_token_id:
        found.append((tokenizer.eos_token_id, True))
    return found


def differing(tokenizer: Any, ours: list[tuple[int, bool]], theirs: list[tuple[int, bool]]) -> int:
    """Tokens that differ; a line end behind an answer may be either."""
    if [id for id, _ in ours] != [id for id, _ in theirs]:
        return max(len(ours), len(theirs))
    return sum(
        a != b and tokenizer.decode([id]).strip() != ""
        for (id, a), (_, b) in zip(ours, theirs, strict=True)
    )


def models(home: Path, *, bundled: bool) -> Iterator[tuple[str, Path]]:
    """A model of each family, and two with another template; or one with each that is bundled."""
    from engine.planning.chat_templates import text_of
    from engine.worker.sample_model import write_sample_model

    if bundled:
        for name in BUNDLED:
            write_sample_model(home / name, family="llama")
            (home / name / "chat_template.jinja").write_text(text_of(name), encoding="utf-8")
            yield name, home / name
        return
    for family in FAMILIES:
        write_sample_model(home / family, family=family)
        yield family, home / family
    for name, template in UNMARKED.items():
        write_sample_model(home / name, family="llama")
        (home / name / "chat_template.jinja").write_text(template, encoding="utf-8")
        yield name, home / name


def look(home: Path, model: Path, kind: str, rows: Any, talks: Any, loss_on: str) -> dict[str, Any]:
    """Compare all rows of one format with one model."""
    from transformers import AutoTokenizer

    from engine.contract.validate import check
    from engine.store.encoded_view import Encoded
    from engine.worker.batches import Collator, Rows
    from engine.worker.encoding import encoding_of
    from engine.worker.packing import unpacked
    from engine.worker.samples import IGNORED
    from tests.worker.conftest import Heard

    path = home / f"{kind}.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    spec, complaints = check(
        {"name": "masks", "model": {"path": str(model)}, "lora": {"r": 4},
         "dataset": {"path": str(path), "loss_on": loss_on}}
    )  # fmt: skip
    assert spec, complaints
    tokenizer = AutoTokenizer.from_pretrained(model)
    heard = Heard()
    found = encoding_of(spec, tokenizer, heard)
    heard.close()
    data = Encoded(found.folder)
    collate = Collator(Rows(samples=found.samples, rows=unpacked(len(found.samples))), 0)
    shown = oracle = tokens = compared = 0
    for place in range(len(data)):
        sample = data.sample(place, limit=10**9)
        batch = collate([place])
        labels = batch["labels"][0].tolist()
        ours = [(token.id, token.learnt) for token in sample.tokens]
        trained = list(zip(batch["input_ids"][0].tolist(), (x != IGNORED for x in labels),
                           strict=True))  # fmt: skip
        tokens += len(ours)
        shown += sum(a != b for a, b in zip(ours, trained, strict=True))
        talk = talks[sample.row]
        if kind in ("messages", "sharegpt") and found.meta.merged_systems and len(talk) % 2:
            continue  # The template takes no system turn; Fettle puts it into the question.
        compared += 1
        wanted = expected(tokenizer, kind, rows[sample.row], talk, loss_on)
        oracle += differing(tokenizer, ours, wanted)
    return {
        "rows": len(data), "tokens": tokens, "shown_differs": shown,
        "oracle_rows": compared, "oracle_differs": oracle,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--bundled", action="store_true")
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    talks = conversations(wanted.data, wanted.rows)
    began = time.monotonic()
    cases: dict[str, dict[str, Any]] = {}
    with private_home() as home:
        for name, model in models(home, bundled=wanted.bundled):
            for kind, rows in formats(talks).items():
                for loss_on in LOSSES:
                    case = f"{name} {kind} {loss_on}"
                    cases[case] = look(home, model, kind, rows, talks, loss_on)
                    print(case, cases[case], flush=True)
    wrong = sum(case["shown_differs"] + case["oracle_differs"] for case in cases.values())
    report = {
        "cases": cases, "differing_tokens": wrong, "seconds": time.monotonic() - began,
        "passed": wrong == 0, "machine": machine(),
    }  # fmt: skip
    if wanted.out:
        wanted.out.write_text(json.dumps(report, indent=1) + "\n")
    print("passed" if wrong == 0 else f"{wrong} tokens differ")
    return 0 if wrong == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
