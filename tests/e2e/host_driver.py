"""A real host with a fake worker, and a client of the test's own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from engine import paths, transport
from engine.client import Client
from engine.contract.lifecycle import RESTING, State
from engine.contract.messages import (
    CaughtUp,
    Columns,
    Done,
    Follow,
    Message,
    Record,
    Resume,
    RunSummary,
    Show,
    Start,
)
from engine.transport import Stream

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).with_name("fake_worker.py")
PATIENCE_SECONDS = 30.0


class HostUnderTest:
    """Starts hosts for the home of the test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        # Most tests look at how an attempt ends, and not at what comes after it.
        self.environment = {
            "FETTLE_IDLE_SECONDS": "60",
            "FETTLE_WARM_SECONDS": "30",
            "FETTLE_RESUME_AUTOMATICALLY": "off",
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.clients: list[Client] = []
        self.fake("normal")
        self.model = home / "model"
        self.data = home / "data.jsonl"
        write_model_folder(self.model)
        rows = [{"prompt": f"Say {n}", "completion": str(n)} for n in range(50)]
        self.data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def fake(self, mode: str, **options: float) -> None:
        """What workers of hosts started from now on do."""
        pairs = [f"{key}={value}" for key, value in options.items()]
        command = [sys.executable, "-S", "-E", str(FAKE), mode, *pairs]
        self.environment["FETTLE_WORKER_COMMAND"] = json.dumps(command)

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """A host process, serving or not yet."""
        log = self.home / "host-under-test.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "engine", "host"],
                cwd=ROOT,
                env={**os.environ, **self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def connect(self, client: str = "cli") -> Client:
        """A greeted client of the host that is running."""
        found = connect(client)
        self.clients.append(found)
        return found

    def spec(self, name: str = "test", **training: Any) -> dict[str, Any]:
        """A sound spec."""
        return {
            "name": name,
            "model": {"path": str(self.model)},
            "dataset": {"path": str(self.data)},
            "lora": {"r": 4},
            "training": training,
        }

    def close(self) -> None:
        """End everything that was started."""
        for client in self.clients:
            client.close()
        for process in self.processes:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):  # It ends by itself.
                        child.kill()
                process.kill()
            process.wait()


def write_model_folder(folder: Path) -> None:
    """What passes for a model as long as nobody loads it."""
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + b"\0\0\0\0"
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "tokenizer.json").write_text("{}")


def connect(client: str = "cli") -> Client:
    """A greeted client of a host that is or will be there.

    Not :func:`engine.client.connect`, which would start a host with a real worker.
    """
    found = Client(until(_stream, "the host listens"))
    found.greet(client)
    return found


def _stream() -> Stream | None:
    try:
        return transport.connect(paths.socket_address())
    except transport.NOBODY_THERE:
        return None


def until(holds: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait for a condition; fails with ``what`` it was."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return found


def begin(hosts: HostUnderTest, mode: str, **options: float) -> tuple[Client, str]:
    """A run with a worker of that mode, on a new host."""
    hosts.fake(mode, **options)
    hosts.start()
    client = hosts.connect()
    return client, start_run(client, hosts.spec())


def start_run(client: Client, spec: dict[str, Any]) -> str:
    """Queue a run; its name."""
    return str(client.request(Start(id=0, spec=spec))["run"])


def resume_run(client: Client, run: str, patch: dict[str, Any] | None = None) -> dict[str, Any]:
    """Resume a run, changed if there is a patch; the reply."""
    return client.request(Resume(id=0, run=run, patch=patch or {}))


def job_specs(folder: Path) -> list[dict[str, Any]]:
    """The spec that each attempt's fake worker was given."""
    lines = (folder / "worker.log").read_text().splitlines()
    return [json.loads(line[5:]) for line in lines if line.startswith("spec ")]


def summary_of(client: Client, run: str) -> RunSummary:
    """The run as the host sees it now."""
    return msgspec.convert(client.request(Show(id=0, run=run))["summary"], RunSummary)


def messages_of(run: str, since: int = 0, *, columns: bool = False) -> Iterator[Message]:
    """Follow a run over a connection of its own; a test that waits in vain for a message fails."""
    with connect() as client:
        client.request(Follow(id=0, run=run, since=since, columns=columns))
        for message in client.messages(PATIENCE_SECONDS):
            assert getattr(message, "run", run) == run
            yield message
    raise AssertionError(f"nothing came within {PATIENCE_SECONDS} s")


def records_to_done(run: str, since: int = 0) -> list[Record]:
    """Follow a run from ``since`` to its Done."""
    found: list[Record] = []
    for message in messages_of(run, since):
        if isinstance(message, Record):
            found.append(message)
        if isinstance(message, Done):
            return found
    raise AssertionError("unreachable")


def wait_for_state(client: Client, run: str, *states: State) -> RunSummary:
    """Wait until the run is in one of the states (at rest, if none are named)."""
    wanted = states or tuple(RESTING)

    def look() -> RunSummary | None:
        summary = summary_of(client, run)
        return summary if summary.state in wanted else None

    found: RunSummary = until(look, f"the run is {wanted}")
    return found


def wait_for_step(client: Client, run: str, step: int) -> None:
    """Wait until the run has done so many steps."""
    until(lambda: summary_of(client, run).step >= step, f"step {step}")


def is_border(message: Message) -> bool:
    """Whether the past ends here."""
    return isinstance(message, CaughtUp)


def is_piece(message: Message) -> bool:
    """Whether this is past by column."""
    return isinstance(message, Columns)
