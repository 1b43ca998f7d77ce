"""A worker that does not train: it speaks the protocol, and misbehaves on request.

    python fake_worker.py MODE [key=value …]

Standard library only, and no code of the engine, so that it is a second opinion on the protocol.
The host takes it with ``FETTLE_WORKER_COMMAND``.

Modes
    normal      steps, then Done
    slow        ten times slower between the steps
    garbage     noise between the messages: text, binary, broken JSON, unknown types, a huge line
    half        every message in two writes with a pause between
    segfault    dies of a memory fault at step ``at``
    dying       dies of a memory fault after FAKE_DIE_AFTER steps of its own
    exit        ends with exit code 7 at step ``at``, without Done
    deaf        takes no notice of a wish to stop
    mute        says nothing at all after step ``at``, but lives on
    flood       as many steps as it can
    unready     never says Ready
    fail        a Finding and Done(failed) at step ``at``
    no_space    fails to save, says so, and goes on
    linger      does not end after Done
    death       dies at step ``at`` in the way of :mod:`deaths` that FAKE_DEATH names
    child       leaves a child behind that holds the pipes, then dies at step ``at``

Keys: steps=20, ms=10 (a step), at=5, save=5 (steps between checkpoints), saving_ms=0,
leaving_ms=0 (from Done to the end).
A key given in the environment as FAKE_KEY wins.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import deaths


class Gone(Exception):
    """The host has ended."""


class Wire:
    """Private copies of stdin and stdout; unbuffered."""

    def __init__(self, *, in_halves: bool, noisy: bool) -> None:
        self._in, self._out = os.dup(0), os.dup(1)
        os.dup2(2, 1)
        os.set_blocking(self._in, False)
        self._buffer = b""
        self._in_halves = in_halves
        self._noisy = noisy
        self._chance = random.Random(1)

    def send(self, message: dict[str, Any]) -> None:
        if self._noisy:
            self._write(self._noise())
        line = json.dumps(message).encode() + b"\n"
        if self._in_halves:
            cut = self._chance.randrange(1, len(line))
            self._write(line[:cut])
            time.sleep(0.002)
            line = line[cut:]
        self._write(line)

    def _noise(self) -> bytes:
        return self._chance.choice([
            b"Loading checkpoint shards: 100%|####| 2/2\n",
            b"\x00\xff\xfe\x80\n",
            b'{"type":"step","step":\n',
            b'{"type":"step","step":"three","at":1}\n',
            b'{"type":"of_the_future","x":[1,2]}\n',
            b"[]\n\n\n",
            b"x" * (1 << 20) + b"yz\n" if self._chance.random() < 0.1 else b"null\n",
        ])  # fmt: skip

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._out, data) :]
            except BrokenPipeError:
                raise Gone from None

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """The next message, None if none came in time."""
        while b"\n" not in self._buffer:
            if not select.select([self._in], [], [], timeout_s)[0]:
                return None
            chunk = os.read(self._in, 65536)
            if not chunk:
                raise Gone
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


class FakeWorker:
    """One job, done or spoilt."""

    def __init__(self, mode: str, options: dict[str, float]) -> None:
        self.mode = mode
        self.options = options
        self.wire = Wire(in_halves=mode == "half", noisy=mode == "garbage")
        self.job: dict[str, Any] = {}
        self.folder = Path()
        self.records: list[dict[str, Any]] = []
        self.step = 0
        self.done_here = 0
        self.saved = 0
        self.stop = False
        self.lost = False
        self.signalled = False

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._on_term)
        if self.mode == "unready":
            time.sleep(3600)
        try:
            versions = {"fake": "1"}
            self.wire.send(
                {"type": "ready", "pid": os.getpid(), "import_seconds": 0.0, "versions": versions}
            )
            self._wait_for_job()
            self._begin()
        except Gone:
            self.lost = True
        if not self.job:
            return
        self._train()
        if self.lost:
            lines = "".join(json.dumps(record) + "\n" for record in self.records)
            (self.folder / "orphan.jsonl").write_text(lines)
        time.sleep(3600 if self.mode == "linger" else self.options["leaving_ms"] / 1000)

    def _wait_for_job(self) -> None:
        while not self.job and not self.signalled:
            self.job = self.wire.receive(0.2) or {}
            self.wire.send({"type": "heartbeat", "at": time.time()})
        self.folder = Path(self.job.get("folder", "."))

    def _begin(self) -> None:
        with Path(self.job["log"]).open("a") as log:
            log.write(f"fake worker {os.getpid()} in mode {self.mode}\n")
            log.write(f"spec {json.dumps(self.job['spec'])}\n")
        checkpoint = self.job.get("checkpoint")
        if checkpoint:
            manifest = json.loads((Path(checkpoint) / "MANIFEST.json").read_text())
            self.step = self.saved = manifest["step"]
        self.say("phase_changed", phase="loading model")
        self.wire.send({"type": "progress", "phase": "tokenising", "done": 1, "total": 2})
        self.say("phase_changed", phase="first step", max_steps=self.total)
        if self.options["at"] == 0:
            self._misbehave()

    @property
    def total(self) -> int:
        return int(self.options["steps"])

    def _train(self) -> None:
        while self.step < self.total and not (self.stop or self.lost or self.signalled):
            self._one_step()
        ended = "stopped" if self.step < self.total else "finished"
        reason = "host_lost" if self.lost else "stop" if ended == "stopped" else "end"
        if self.saved < self.step:
            self.save(reason)
        output = None
        if ended == "finished":
            (self.folder / "output").mkdir(exist_ok=True)
            output = str(self.folder / "output")
        self.say("done", outcome=ended, step=self.step, output=output)

    def _one_step(self) -> None:
        pause = self.options["ms"] / 1000 * (10 if self.mode == "slow" else 1)
        if self.mode != "flood":
            time.sleep(pause)
        self._listen()
        self.step += 1
        self.say(
            "step", step=self.step, loss=4.0 / self.step, learning_rate=1e-4, tokens=64,
            step_ms=pause * 1000, samples_seen=self.step * 8, grad_norm=1.0,
        )  # fmt: skip
        if self.step == int(self.options["at"]):
            self._misbehave()
        self.done_here += 1
        if self.mode == "dying" and self.done_here > int(os.environ["FAKE_DIE_AFTER"]):
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.options["save"] and self.step % int(self.options["save"]) == 0:
            self.save("steps")

    def _listen(self) -> None:
        try:
            message = None if self.lost else self.wire.receive(0)
        except Gone:
            self.lost = True
            return
        if message is None or self.mode == "deaf":
            return
        if message["type"] == "stop_job":
            self.stop = True
        elif message["type"] == "save_now":
            self.save("asked")

    def _misbehave(self) -> None:
        if self.mode == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif self.mode == "exit":
            os._exit(7)
        elif self.mode == "mute":
            time.sleep(3600)
        elif self.mode == "death":
            deaths.die(os.environ["FAKE_DEATH"], Path(self.job["log"]))
        elif self.mode == "fail":
            self.say(
                "finding", severity="error", code="out_of_memory", title="No memory left.",
                pool=os.environ.get("FAKE_POOL", ""),
            )  # fmt: skip
            self.say("done", outcome="failed", step=self.step, sentence="No memory left.")
            time.sleep(self.options["leaving_ms"] / 1000)
            os._exit(1)
        elif self.mode == "child":
            subprocess.Popen(["sleep", "3600"], stdout=self.wire._out, pass_fds=[self.wire._out])
            os._exit(9)

    def save(self, reason: str) -> None:
        """A sound checkpoint, made without the engine's code."""
        root = self.folder / "checkpoints"
        staging = root / f".staging-{self.step}-{os.getpid()}"
        staging.mkdir(parents=True)
        time.sleep(self.options["saving_ms"] / 1000)
        if self.mode == "no_space":
            staging.rmdir()
            title = f"Step {self.step} could not be saved."
            self.say("finding", severity="warning", code="save_failed", title=title, cause="Full.")
            return
        name = f"step-{self.step:08d}"
        content = f"weights after {self.step}".encode()
        (staging / "adapter.safetensors").write_bytes(content)
        (staging / "MANIFEST.json").write_text(json.dumps(_manifest(self.step, content)))
        if not (root / name).exists():
            staging.rename(root / name)
        self.saved = self.step
        self.say(
            "checkpoint_saved", step=self.step, folder=f"checkpoints/{name}", bytes=len(content),
            seconds=0.001, reason=reason,
        )  # fmt: skip

    def say(self, kind: str, **fields: Any) -> None:
        record = {
            "type": kind, "at": time.time(), "worker_seq": len(self.records) + 1,
            "attempt": self.job.get("attempt", 1), "run": self.job["run"], **fields,
        }  # fmt: skip
        self.records.append(record)
        try:
            if not self.lost:
                self.wire.send(record)
        except Gone:
            self.lost = True

    def _on_term(self, *_: object) -> None:
        self.signalled = True


def _manifest(step: int, content: bytes) -> dict[str, Any]:
    body: dict[str, Any] = {
        "format": 1,
        "step": step,
        "created_at": 1.5,
        "files": {
            "adapter.safetensors": {
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        },
        "fields": {},
        "digest": "",
    }
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return {**body, "digest": hashlib.sha256(canonical).hexdigest()}


def main() -> None:
    mode, *pairs = sys.argv[1:]
    options = {
        "steps": 20.0,
        "ms": 10.0,
        "at": 5.0,
        "save": 5.0,
        "saving_ms": 0.0,
        "leaving_ms": 0.0,
    }
    options |= {key: float(value) for key, _, value in (pair.partition("=") for pair in pairs)}
    for key in options:
        options[key] = float(os.environ.get(f"FAKE_{key.upper()}", options[key]))
    FakeWorker(os.environ.get("FAKE_MODE", mode), options).run()


if __name__ == "__main__":
    main()
