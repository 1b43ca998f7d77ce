"""A night of training as the host would tell it: summaries and records for tests of the pages."""

from __future__ import annotations

import math
import random

from engine.contract.lifecycle import Phase, State
from engine.contract.messages import (
    CheckpointSaved,
    Decision,
    Done,
    Evaluated,
    Finding,
    PhaseChanged,
    Record,
    RunSummary,
    StateChanged,
    Step,
    Telemetry,
)

GIB = 1 << 30
MIB = 1 << 20


def summary(run: str = "20261122-221503-support-bot", **fields: object) -> RunSummary:
    """The summary of a run in full swing; any field can be changed."""
    values: dict[str, object] = {
        "run": run,
        "folder": f"/nowhere/runs/{run}",
        "name": run.split("-", 2)[-1],
        "state": State.TRAINING,
        "phase": Phase.TRAINING,
        "step": 412,
        "max_steps": 1200,
        "checkpoints": 3,
        "attempt": 1,
        "method": "sft",
        "model": "Mistral-7B-v0.3",
        "dataset": "support_chats.jsonl",
        "kind": "QLoRA 4-bit",
        "created_at": 1_795_385_703.0,
        "train_seconds": 5060.0,
        "eta_seconds": 9660.0,
        "loss": 1.148,
        "loss_curve": [1.1 + 1.3 * math.exp(-n / 9) for n in range(60)],
        "tokens_per_second": 1912.0,
        "bytes": 156 * MIB,
    }
    return RunSummary(**{**values, **fields})  # type: ignore[arg-type]


class Recorder:
    """Makes records with rising ``seq`` and time, with the same random numbers every time."""

    def __init__(self, run: str, *, at: float, gpu: bool, step_seconds: float = 12.2) -> None:
        self.run, self.at, self.gpu, self.step_seconds = run, at, gpu, step_seconds
        self.records: list[Record] = []
        self.attempt = 1
        self._dice = random.Random(7)

    def event(self, kind: type[Record], **fields: object) -> None:
        """One record of a kind, at this moment."""
        values = {"run": self.run, "seq": len(self.records) + 1, "at": self.at}
        self.records.append(kind(**values, attempt=self.attempt, **fields))  # type: ignore[arg-type]

    def load(self, seconds: int = 10) -> None:
        """The time before the first step."""
        for n in range(seconds):
            self.at += 1
            self._telemetry((n + 1) / seconds, busy=8)

    def train(self, first: int, last: int, *, save_every: int = 50) -> None:
        """Steps with telemetry between them, saves, and an evaluation at every second save."""
        for step in range(first, last + 1):
            saves = step % save_every == 0
            seconds = self.step_seconds * self._dice.gauss(1, 0.02) + (2.4 if saves else 0)
            for _ in range(max(1, round(seconds))):
                self.at += seconds / max(1, round(seconds))
                self._telemetry(1.0, busy=min(100.0, self._dice.gauss(93, 3)))
            self._step(step, seconds)
            if saves:
                self._save(step)

    def _step(self, step: int, seconds: float) -> None:
        loss = 1.1 + 1.32 * math.exp(-step / 62) + self._dice.gauss(0, 0.05)
        gpu = (
            {
                "vram_allocated_bytes": round(7.9 * GIB),
                "vram_reserved_bytes": round(8.6 * GIB),
                "vram_peak_bytes": round(9.2 * GIB),
            }
            if self.gpu
            else {}
        )
        self.event(
            Step, step=step, loss=loss, learning_rate=2e-4 * min(1, step / 36) * 0.5
            * (1 + math.cos(math.pi * step / 1200)), grad_norm=0.4 + 1.6 * math.exp(-step / 40)
            + abs(self._dice.gauss(0, 0.12)), epoch=step / 597, step_ms=seconds * 1000,
            tokens=round(1912 * seconds), **gpu,
        )  # fmt: skip

    def _telemetry(self, share: float, busy: float) -> None:
        if self.gpu:
            used = 0.6 + 8.0 * share + (0.7 if share == 1 and len(self.records) // 240 % 2 else 0)
            self.event(Telemetry, ram_used_bytes=round(5.1 * GIB), cpu_percent=104.0,
                       vram_used_bytes=round(used * GIB), vram_total_bytes=11 * GIB,
                       gpu_busy_percent=busy)  # fmt: skip
        else:
            used = 0.2 + 1.0 * share + 0.05 * self._dice.random()
            self.event(Telemetry, ram_used_bytes=round(used * GIB), cpu_percent=busy * 1.9)

    def _save(self, step: int) -> None:
        self.event(
            CheckpointSaved, step=step, folder=f"checkpoints/step-{step:08d}", bytes=52 * MIB,
            seconds=0.41, reason="time",
        )  # fmt: skip
        if step % 100 == 0:
            loss = 1.16 + 1.3 * math.exp(-step / 70)
            self.event(Evaluated, step=step, eval_loss=loss, seconds=21.0)


def night(run: str, *, gpu: bool = True, end: float) -> list[Record]:
    """A run that ran out of memory at step 377 and went on; its last record is at ``end``."""
    recorder = Recorder(run, at=0.0, gpu=gpu)
    recorder.event(StateChanged, state=State.QUEUED)
    recorder.event(PhaseChanged, phase=Phase.LOADING_MODEL)
    recorder.load()
    recorder.event(
        Decision, title="Precision fp16", reason="This card has no bf16 (it is older than Ampere).",
        cost="The loss is scaled to keep small gradients.",
    )  # fmt: skip
    recorder.event(StateChanged, state=State.TRAINING, sentence="1 200 steps, 3 epochs.")
    recorder.train(1, 377)
    recorder.event(
        Finding, severity="error", code="out_of_memory", step=377,
        title="Out of memory at step 377",
        cause="Batch 2 needed 11.3 GiB, the card has 11.0.",
        remedy="Batch 2 → 1, accumulation 4 → 8. The effective batch stays 8.",
    )  # fmt: skip
    recorder.event(Done, outcome="failed", step=377)
    recorder.event(StateChanged, state=State.FAILED, sentence="The card was full.")
    recorder.at += 7200
    recorder.attempt = 2
    recorder.event(StateChanged, state=State.QUEUED, sentence="Goes on after step 350.")
    recorder.load()
    recorder.event(StateChanged, state=State.TRAINING)
    recorder.train(351, 412)
    return _moved(recorder.records, end - recorder.at)


def _moved(records: list[Record], seconds: float) -> list[Record]:
    import msgspec

    return [msgspec.structs.replace(record, at=record.at + seconds) for record in records]
