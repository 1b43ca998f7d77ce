"""``fettle demo``: a whole fine-tune in a minute, from nothing, on any machine.

A tiny model that knows nothing learns the bundled conversations by heart, as an adapter. Everything
is done as a user's own run is: the same worker, host, run folder and files.
"""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec

from engine import paths
from engine.cli import words
from engine.cli.jobs import JobWorker
from engine.cli.output import EXIT_OF, Exit, Output
from engine.cli.samples import folder_bytes, make
from engine.cli.watch import Watcher, report
from engine.cli.window import open_window, why_no_window
from engine.client import Client, connect_to_train
from engine.contract.messages import Done, Evaluated, Job, Message, Start, Step, Warm

PROMPTS = ("Who are you?", "How do I stop a door from creaking?")
"""Asked before and after; both are in the bundled conversations, for it learns by heart."""

_MODEL = {"family": "llama", "seed": 7}
_ANSWER_TOKENS = 40


class Result(msgspec.Struct, frozen=True, kw_only=True, tag="demo", tag_field="type"):
    """What the demo came to; its last line with ``--json``."""

    run: str
    folder: str
    adapter: str
    adapter_bytes: int
    first_loss: float | None
    last_loss: float | None
    eval_loss: float | None
    answers: list[dict[str, str]]
    seconds: float


def demo(arguments: Namespace, output: Output) -> Exit:
    """Train, show the loss fall, and ask the model the same questions before and after."""
    began = time.monotonic()
    hindrance = None if arguments.headless or output.as_json else why_no_window()
    if hindrance is not None:
        output.say(f"{hindrance} Going on in the terminal.")
    client = connect_to_train(output.warn)
    client.request(Warm(id=0))
    model = _model(output)
    if not (arguments.headless or output.as_json or hindrance):
        return _in_the_window(client, model)
    return _in_the_terminal(client, model, output, began)


def _in_the_terminal(client: Client, model: Path, output: Output, began: float) -> Exit:
    output.say("Asking it two questions before it has learnt anything…")
    with JobWorker() as first:
        before = _ask(first, model, None, output)
    # The one that asks at the end loads its libraries while the training goes on.
    with JobWorker() as second:
        done, losses = _train(client, model, output)
        if done.outcome != "finished" or done.output is None:
            return EXIT_OF[done.outcome]
        output.say("Asking it again, with the adapter…")
        after = _ask(second, model, done.output, output)
    _tell(output, _result(done, losses, list(zip(before, after, strict=True)), began))
    return Exit.FINISHED


def _train(client: Client, model: Path, output: Output) -> tuple[Done, _Losses]:
    losses = _Losses()
    watcher = Watcher(client, output, losses.feed)
    try:
        run = client.request(Start(id=0, spec=spec(model)))["run"]
        done = watcher.to_the_end(run)
        report(output, done, watcher.said)
        return done, losses
    finally:
        watcher.client.close()


def spec(model: Path) -> dict[str, Any]:
    """The demo's run: small, quick, and an adapter like any other."""
    return {
        "name": "demo",
        "method": "sft",
        "model": {"path": str(model)},
        "lora": {
            "r": 16,
            "lora_alpha": 16,
            "target_modules": "all-linear",
            # Random weights have no words yet, so the words are learnt too.
            "modules_to_save": ["embed_tokens", "lm_head"],
        },
        "dataset": {"path": str(paths.RESOURCES / "samples" / "demo.jsonl"), "format": "messages"},
        "training": {
            "max_length": 128,
            "per_device_train_batch_size": 16,
            "gradient_accumulation_steps": 1,
            "max_steps": 120,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "cosine",
            "gradient_checkpointing": "none",
            "save_steps": 60,
            "eval_steps": 60,
        },
    }


class _Losses:
    """The first and the newest loss of a run that is followed."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last: float | None = None
        self.held_back: float | None = None

    def feed(self, message: Message) -> None:
        """Take in a message of the run."""
        if isinstance(message, Step):
            self.last = message.loss
            self.first = self.last if self.first is None else self.first
        elif isinstance(message, Evaluated):
            self.held_back = message.eval_loss


def _model(output: Output) -> Path:
    """The demo's model; made once, since the same seed gives the same files."""
    folder = paths.home() / "demo" / "model"
    if not (folder / "config.json").is_file():
        output.say("Making a tiny model that knows nothing…")
        make(folder, dict(_MODEL), output)
    return folder


def _in_the_window(client: Client, model: Path) -> Exit:
    with client:
        run = client.request(Start(id=0, spec=spec(model)))["run"]
    return Exit.FINISHED if open_window("--run", run) == 0 else Exit.FAILED


def _ask(worker: JobWorker, model: Path, adapter: str | None, output: Output) -> list[str]:
    """The answers to :data:`PROMPTS`, in order. Raises JobFailed."""
    options = {
        "model": str(model),
        "adapter": adapter,
        "prompts": list(PROMPTS),
        "max_new_tokens": _ANSWER_TOKENS,
    }
    done = worker.run(Job(kind="generate", spec=options), output.emit)
    answers: list[str] = done.data["answers"]
    return answers


def _result(done: Done, losses: _Losses, answers: list[tuple[str, str]], began: float) -> Result:
    assert done.output is not None
    told = [
        {"prompt": prompt, "before": before, "after": after}
        for prompt, (before, after) in zip(PROMPTS, answers, strict=True)
    ]
    return Result(
        run=done.run,
        folder=done.folder,
        adapter=done.output,
        adapter_bytes=folder_bytes(Path(done.output)),
        first_loss=losses.first,
        last_loss=losses.last,
        eval_loss=losses.held_back,
        answers=told,
        seconds=round(time.monotonic() - began, 1),
    )


def _tell(output: Output, result: Result) -> None:
    output.emit(msgspec.to_builtins(result))
    if output.as_json:
        return
    output.say()
    output.say(f"Run folder  {result.folder}")
    output.say(f"Adapter     {result.adapter} ({words.size(result.adapter_bytes)})")
    output.say(f"Loss        {words.loss(result.first_loss)} → {words.loss(result.last_loss)}")
    output.say(f"Held back   {words.loss(result.eval_loss)} (rows it was not trained on)")
    for answer in result.answers:
        output.say()
        output.say(output.paint(answer["prompt"], "bold"))
        output.say(f"  before  {_one_line(answer['before'])}")
        output.say(f"  after   {output.paint(_one_line(answer['after']), 'green')}")
    output.say()
    output.say(f"The demo took {words.duration(result.seconds)}, a set-up before it not counted.")


def _one_line(text: str) -> str:
    """The text without what would move the cursor: an untrained model writes anything."""
    printable = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(printable.split()) or "(nothing)"
