"""``fettle plan`` end to end: the real host, a warm worker, real traces of the catalogue's models.

No weights, no data, no card: what is asserted here is what the plan says of machines that are not
this one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.allowance import is_within
from tests.e2e import histories
from tests.e2e.cli_driver import ROOT, Fettle

pytest.importorskip("torch")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
GIB = 1 << 30
_PATIENCE = 240.0


class Planner(Fettle):
    """``fettle plan --json`` of a spec in the home."""

    def plan(self, text: str, *options: str, code: int | None = None) -> dict[str, Any]:
        """The plan of a spec on the machine that the spec's name stands for, or ``options``."""
        name = text.partition('"')[2].partition('"')[0]
        file = self.home / f"{name}.toml"
        file.write_text(text, encoding="utf-8")
        where = () if "--profile" in options else histories.WHERE.get(name, ())
        result = self("plan", file, *where, *options, "--json", timeout=_PATIENCE)
        assert result.code == code if code is not None else result.code in (0, 3), result.err
        return result.last

    def processor_seconds(self) -> tuple[set[int], float]:
        """The processes of host and workers, and what they and all commands used so far."""
        pid = int((self.home / "host" / "lock").read_text(encoding="utf-8"))
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        ours = psutil.Process().cpu_times()
        used = sum(sum(process.cpu_times()[:2]) for process in family)
        pids = {process.pid for process in family}
        return pids, used + ours.children_user + ours.children_system


@pytest.fixture(scope="module")
def fettle() -> Iterator[Planner]:
    home = Path(tempfile.mkdtemp(prefix="ft-"))
    yield Planner(home, FETTLE_IDLE_SECONDS="120")
    pid = int((home / "host" / "lock").read_text(encoding="utf-8"))
    host = psutil.Process(pid)
    family = [host, *host.children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=10)
    shutil.rmtree(home, ignore_errors=True)


def budget(plan: dict[str, Any], moment: str) -> int:
    return next(b["total_bytes"] for b in plan["budgets"] if b["moment"] == moment)


def item(plan: dict[str, Any], part: str) -> int:
    return sum(i["size_bytes"] for i in plan["budgets"][0]["items"] if i["part"] == part)


def choice(plan: dict[str, Any], field: str) -> str:
    return next(f"{c['value']}: {c['reason']}" for c in plan["choices"] if c["field"] == field)


def settings(patch: dict[str, Any]) -> list[str]:
    """The options that apply a patch."""
    return [part for k, v in patch.items() for part in ("--set", f"{k}={json.dumps(v)}")]


# ---------------------------------------------------------------- five histories


def test_a_mistral_under_wsl_pins_no_more_than_there_is(fettle: Planner) -> None:
    plan = fettle.plan(histories.MISTRAL_WSL, code=0)
    assert plan["verdict"] in ("fits", "tight")
    assert "through a pinned ring" in choice(plan, "offload")
    assert 0 < plan["pinned_bytes"] <= 200 << 20
    assert budget(plan, "resume") <= budget(plan, "train")
    unpinned = fettle.plan(histories.MISTRAL_WSL, *histories.WHERE["mistral-wsl"][:-1], "20")
    assert "unpinned, blocking" in choice(unpinned, "offload")
    assert unpinned["pinned_bytes"] == 0


def test_b_both_embeddings_on_a_t4_are_named_and_lm_head_alone_fits(fettle: Planner) -> None:
    plan = fettle.plan(histories.EMBEDDINGS_T4, "--all")
    assert plan["verdict"] in ("does_not_fit", "tight"), plan["sentence"]
    assert item(plan, "trained_weights") > GIB / 2
    offered = [r for r in plan["ladder"] if r["title"].startswith("Train lm_head only")]
    fitting = [r for r in offered if r["fits"] and "8-bit" in r["title"]]
    assert fitting, [(r["title"], r["fits"]) for r in plan["ladder"]]
    applied = fettle.plan(histories.EMBEDDINGS_T4, *settings(fitting[0]["patch"]))
    assert budget(applied, "train") == fitting[0]["total_bytes"]
    assert applied["verdict"] in ("fits", "tight")


def test_c_llama_on_turing_gets_fp16_and_a_batch_that_fits(fettle: Planner) -> None:
    plan = fettle.plan(histories.LLAMA_TURING, "--fit")
    assert choice(plan, "training.precision").startswith("fp16: bf16 is refused")
    assert "7.5" in choice(plan, "training.precision")
    assert plan["spec"]["training"]["optim"] == "adamw_8bit"
    assert plan["verdict"] == "does_not_fit"
    fix = plan["make_it_fit"]
    assert fix
    fixed = fettle.plan(histories.LLAMA_TURING, *settings(fix), code=0)
    assert fixed["verdict"] in ("fits", "tight")
    training = fixed["spec"]["training"]
    assert training["per_device_train_batch_size"] * training["gradient_accumulation_steps"] == 16
    assert any(r["title"].startswith("Max length") for r in plan["ladder"])


def test_d_embeddings_are_told_in_gigabytes_and_80_000_tokens_are_planned(fettle: Planner) -> None:
    plan = fettle.plan(histories.LLAMA_EMBEDDINGS)
    without = fettle.plan(histories.LLAMA_EMBEDDINGS, "--set", "lora.modules_to_save=[]")
    assert without["adapter_file_bytes"] == pytest.approx(84e6, rel=0.01)
    assert plan["adapter_file_bytes"] == pytest.approx(84e6 + 2 * 128256 * 4096 * 4, rel=0.01)
    more = budget(plan, "train") - budget(without, "train")
    # Copies in fp32, their gradients and AdamW's two means: 16 bytes for each of 1.05 billion.
    assert 14 * GIB < more < 24 * GIB
    assert any("lm_head" in sentence for sentence in plan["advice"])
    long = fettle.plan(
        histories.LLAMA_EMBEDDINGS, "--profile", "h100", "--set", "lora.modules_to_save=[]",
        "--set", "training.max_length=80000", "--set", "training.per_device_train_batch_size=1",
    )  # fmt: skip
    assert budget(long, "train") > budget(without, "train")
    assert long["verdict"] in ("fits", "tight", "does_not_fit")


def test_e_three_cards_are_not_one_large_card(fettle: Planner) -> None:
    wide = fettle.plan(histories.LLAMA_13B, "--all", code=3)
    assert wide["verdict"] == "does_not_fit"
    assert wide["forms_left_out"] == 0
    assert item(wide, "weights") > wide["card_bytes"]
    narrow = fettle.plan(histories.LLAMA_13B, "--set", "quantization.bits=4", code=0)
    assert narrow["verdict"] == "fits"
    assert choice(narrow, "cards").startswith("1 of 3")
    assert any(r["patch"].get("quantization.bits") == 4 and r["fits"] for r in wide["ladder"])


# ---------------------------------------------------------------- the command


def test_a_plan_comes_within_two_seconds_of_a_warm_worker(fettle: Planner) -> None:
    """Traced anew, and again from the cache. What counts is the time of the processor, of the
    command, host and worker together: other work on this machine is none of theirs."""
    spec = histories.LLAMA_TURING.replace("llama-turing", "warm")
    fettle.plan(spec, "--profile", "rtx-3090", "--set", "lora.target_modules=['k_proj']")
    anew = []
    for module in ("q_proj", "v_proj"):
        before = fettle.processor_seconds()
        fettle.plan(spec, "--profile", "rtx-3090", "--set", f"lora.target_modules=['{module}']")
        between = fettle.processor_seconds()
        anew.append(between[1] - before[1])
    again = []
    for _ in range(2):
        fettle.plan(spec, "--profile", "rtx-3090", "--set", "lora.target_modules=['v_proj']")
        after = fettle.processor_seconds()
        again.append(after[1] - between[1])
        between = after
    # The worker that traced is the one that was warm.
    assert before[0] == between[0]
    # Below 2 s on a quiet machine; beside other work the same costs more of a processor's time.
    assert is_within(min(anew), 3.5, time.thread_time)
    # What is left of the time then goes into what could be changed.
    assert is_within(min(again), 3.0, time.thread_time)


def test_what_is_asked_for_and_not_there_is_said_in_words(fettle: Planner) -> None:
    fettle.plan(histories.LLAMA_13B)
    file = fettle.home / "llama-13b.toml"
    card = fettle("plan", file, "--profile", "rtx-309")
    assert card.code == 2
    assert "Did you mean rtx-3090?" in card.err
    nameless = fettle.home / "nameless.toml"
    nameless.write_text(histories.LLAMA_13B.replace('name = "llama-13b"\n', ""))
    unnamed = fettle("plan", nameless, *histories.WHERE["llama-13b"], timeout=_PATIENCE)
    assert unnamed.code in (0, 3), unnamed.err
    model = fettle("plan", file, "--set", "model.path=nobody/nothing", timeout=_PATIENCE)
    assert model.code == 2
    assert "nobody/nothing" in model.err
    assert "Traceback" not in model.err


def test_people_get_a_report(fettle: Planner) -> None:
    fettle.plan(histories.LLAMA_13B)
    result = fettle("plan", fettle.home / "llama-13b.toml", *histories.WHERE["llama-13b"])
    assert result.code == 3
    assert result.out.startswith("3 × RTX 3090")
    assert "Does not fit" in result.out.splitlines()[0]
    assert "What would make room" in result.out
    assert "The plan stands without the data, but a run would be refused" in result.err
    assert "context" not in result.err


def test_a_plan_says_what_a_run_would_be_warned_of(fettle: Planner) -> None:
    fettle.plan(histories.LLAMA_TURING)
    names, length = 'lora.target_modules=["q_proj", "v_porj"]', "training.max_length=200000"
    result = fettle(
        "plan", fettle.home / "llama-turing.toml", "--profile", "rtx-2080-ti", "--set", names,
        "--set", length, timeout=_PATIENCE,
    )  # fmt: skip
    assert "Perhaps you meant v_proj" in result.err
    assert "max_length is over the model's context" in result.err


def test_the_readme_has_these_figures(fettle: Planner) -> None:
    """Within what a newer torch or transformers may change; a plan that is further off is new."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = {row[3]: row for row in text.splitlines() if row.startswith("| (")}
    specs = [
        histories.MISTRAL_WSL, histories.EMBEDDINGS_T4, histories.LLAMA_TURING,
        histories.LLAMA_EMBEDDINGS, histories.LLAMA_13B,
    ]  # fmt: skip
    for letter, spec in zip("abcde", specs, strict=True):
        told = float(rows[letter].split("**")[1].removesuffix(" GiB"))
        assert budget(fettle.plan(spec), "train") / GIB == pytest.approx(told, rel=0.05), letter
