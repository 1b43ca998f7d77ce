"""Pictures of the window for README and help, taken of real runs: ``resources/help/*.png``.

Trains a few tiny models with the real host and worker in a home of its own, ends a worker by force
and resumes, opens the real window on it, and takes each page in both themes while a run is on. It
needs about four minutes on two cores; ``plans`` as an argument takes New run and Doctor only, in
one, ``certificates`` only those of a recorded run, in seconds, ``nights`` only those of runs that
meet trouble, and ``data`` only those of the Data page.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import msgspec
from measure import end_processes_of
from PySide6.QtWidgets import QApplication
from windowed import spin, wait_for

from app.form import Draft
from app.link import HostLink
from app.main import App
from app.pages.run import RunPage
from app.preferences import Preferences
from app.theme import Theme
from app.transport import LocalTransport
from engine import client, paths
from engine.contract.messages import (
    ChangeOptions,
    ListRuns,
    Resume,
    RunSummary,
    SaveCheckpoint,
    Show,
    Start,
    Stop,
)

ROOT = Path(__file__).resolve().parents[2]
SIZE = (1360, 860)
SAMPLES = paths.RESOURCES / "samples"
HELP = paths.RESOURCES / "help"


def spec(name: str, model: Path, *, steps: int, **more: Any) -> dict[str, Any]:
    """A run on bundled data."""
    training = {
        "max_length": 128, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 2,
        "max_steps": steps, "learning_rate": 8e-4, "save_steps": 40, "eval_steps": 80,
        "gradient_checkpointing": "none", "warmup_steps": 20,
    }  # fmt: skip
    made: dict[str, Any] = {
        "name": name,
        "method": "sft",
        "model": {"path": str(model)},
        "lora": {"r": 16, "modules_to_save": ["embed_tokens", "lm_head"]},
        "dataset": {"path": str(model.parents[1] / "data" / "support_chats.jsonl")},
        "training": training,
    }
    made |= {key: value for key, value in more.items() if key != "training"}
    made["training"] = training | more.get("training", {})
    return made


@contextmanager
def readable_home() -> Iterator[Path]:
    """A home whose name looks well in a picture."""
    home = Path(tempfile.gettempdir()) / "fettle"
    if home.exists():
        sys.exit(f"{home} is there already; remove it first.")
    home.mkdir()
    os.environ["FETTLE_HOME"] = str(home)
    try:
        yield home
    finally:
        end_processes_of(home)
        shutil.rmtree(home)


class Story:
    """Runs that have something to tell."""

    def __init__(self, home: Path) -> None:
        self._models = home / "models"
        self._data = home / "data"
        self._data.mkdir(exist_ok=True)
        rows = (SAMPLES / "demo.jsonl").read_text(encoding="utf-8")
        (self._data / "support_chats.jsonl").write_text(rows * 40, encoding="utf-8")
        shutil.copy(SAMPLES / "corpus.txt", self._data)
        self._host = client.connect()
        # The story decides itself what goes on.
        self._host.request(ChangeOptions(id=0, options={"resume_automatically": False}))

    def model(self, family: str) -> Path:
        """A tiny model of a family."""
        folder = self._models / f"tiny-{family}"
        if not folder.exists():
            command = [sys.executable, "-m", "engine.cli", "sample-model", str(folder)]
            subprocess.run([*command, "--family", family], cwd=ROOT, check=True)
        return folder

    def start(self, raw: dict[str, Any]) -> str:
        try:
            return str(self._host.request(Start(id=0, spec=raw))["run"])
        except client.Refused as refused:
            sys.exit("\n".join(map(str, refused.complaints)))

    def summary(self, run: str) -> RunSummary:
        data = self._host.request(Show(id=0, run=run))
        return msgspec.convert(data["summary"], RunSummary)

    def wait(self, run: str, condition: Any, seconds: float = 300) -> RunSummary:
        limit = time.monotonic() + seconds
        while not condition(summary := self.summary(run)):
            if time.monotonic() > limit:
                raise TimeoutError(f"{run} stays {summary.state} at step {summary.step}")
            time.sleep(0.1)
        return summary

    def to_rest(self, run: str) -> RunSummary:
        return self.wait(run, lambda s: s.state in ("finished", "stopped", "failed", "interrupted"))

    def lose(self, run: str, step: int, number: int = signal.SIGKILL) -> None:
        """End the run's worker from outside once it has passed a step."""
        summary = self.wait(run, lambda s: s.step >= step)
        status = msgspec.json.decode((Path(summary.folder) / "status.json").read_bytes())
        os.kill(status["pid"], number)
        self.to_rest(run)

    def before(self) -> None:
        """What the list shows as earlier."""
        self.to_rest(self.start(spec("identity", self.model("qwen"), steps=60)))
        corpus = {
            "method": "pretrain",
            "dataset": {"path": str(self._data / "corpus.txt"), "eval_fraction": 0.0},
        }
        full = spec("harbour-notes", self.model("mistral"), steps=80, **corpus)
        del full["lora"]
        self.to_rest(self.start(full))
        run = self.start(spec("night-run-3", self.model("gemma"), steps=400))
        self.lose(run, 90, signal.SIGTERM)
        run = self.start(spec("workshop-tone", self.model("llama"), steps=300))
        self.wait(run, lambda s: s.step >= 50)
        self.stop(run)

    def now(self) -> str:
        """A run in full swing that was lost once and goes on, and one that waits."""
        run = self.start(spec("support-bot", self.model("llama"), steps=900))
        self.lose(run, 175)
        self._host.request(Resume(id=0, run=run))
        self.start(spec("sql-helper", self.model("qwen"), steps=300))
        self.wait(run, lambda s: s.step >= 330)
        self._host.request(SaveCheckpoint(id=0, run=run))
        return run

    def stop(self, run: str) -> None:
        self._host.request(Stop(id=0, run=run))
        self.to_rest(run)

    def end(self) -> None:
        runs = self._host.request(ListRuns(id=0))["runs"]
        for raw in runs:
            self._host.request(Stop(id=0, run=raw["run"], now=True))
        self._host.close()


def take(app: App, name: str, theme: str) -> None:
    """One page in one theme, as a picture."""
    app.theme.choose(theme)
    spin(0.6)
    HELP.mkdir(parents=True, exist_ok=True)
    app.window.grab().save(str(HELP / f"{name}-{theme}.png"))


def fill_new_run(app: App, data: Path) -> Any:
    """A model of the catalogue for a card that need not be here, and data, as a person chooses."""
    app.window.show_page("new_run")
    page: Any = app.window.page("new_run")
    page.model.choose("mistralai/Mistral-7B-v0.3")
    page.data.chosen.choose(str(data))
    page.form.set_value("hardware.profile", "rtx-2080-ti")
    page.form.set_value("training.optim", "adamw_8bit")
    page.settings.machine.platform_chosen.emit("wsl")
    return page


def plan(page: Any, **training: Any) -> None:
    """The plan of these settings, with all that could be traded."""
    for name, value in training.items():
        page.form.set_value(f"training.{name}", value)
    forecaster = page.adviser.forecaster
    spin(1.0)
    wait_for(lambda: forecaster.forecast.stage in ("planned", "failed"), 120)
    if forecaster.forecast.stage == "failed":
        sys.exit(forecaster.forecast.sentence)
    wait_for(lambda: not forecaster._missing, 120)
    page.header.start.setFocus()
    spin(0.5)


def take_plans(app: App, data: Path) -> None:
    """New run with a plan that fits and with one that does not, and Doctor."""
    page = fill_new_run(app, data)
    plan(page, max_length=2048, per_device_train_batch_size=2)
    for theme in ("dark", "light"):
        take(app, "new-run", theme)
    plan(page, max_length=8192, per_device_train_batch_size=4)
    for theme in ("dark", "light"):
        take(app, "new-run-too-large", theme)
    app.window.show_page("doctor")
    doctor: Any = app.window.page("doctor")
    wait_for(lambda: bool(doctor.checks), 30)
    for theme in ("dark", "light"):
        take(app, "doctor", theme)


def opened(run: str | None) -> App:
    """The real window, as large as the pictures are to be."""
    app = App(QApplication(["fettle"]))
    app.window.resize(*SIZE)
    app.start(run)
    app.window.resize(*SIZE)
    return app


def take_runs(app: App) -> None:
    """A run in full swing, and the list."""
    page: Any = app.window.page("run")
    wait_for(lambda: page.feed.is_caught_up, 30)
    spin(2.0)
    for theme in ("dark", "light"):
        app.window.show_page("run")
        take(app, "run", theme)
        app.window.show_page("runs")
        take(app, "runs", theme)


def take_certificates() -> None:
    """Resumed runs with the checks in view: a recorded night, compared with its save as the worker
    compares it."""
    from tests.gui.host_double import HostDouble
    from tests.gui.pages import has_runs, tell
    from tests.gui.recorded import night, summary
    from tests.unit.test_certificate import OTHERWISE, certificate, now

    app = QApplication(["fettle"])
    host, theme = HostDouble(), Theme(app, "dark")
    host.listen()
    link = HostLink(transport=LocalTransport(launch=host.listen))
    run = summary(attempt=2)
    has_runs(host, run)
    link.open()
    records = night(run.run, end=time.time() - 3)
    begun = next(record.at for record in records if record.attempt == 2)
    for name, facts in (("resumed", now()), ("resumed-otherwise", now(**OTHERWISE))):
        told = msgspec.structs.replace(
            certificate(facts), run=run.run, attempt=2, seq=len(records) + 1, at=begun + 20
        )
        page = RunPage(link, theme, Preferences())
        page.resize(1164, SIZE[1])
        page.show()
        page.show_run(run.run, run)
        tell(link, run, [*records, told])
        spin(1.5)
        page.body.certificate.folder.open()
        for mode in ("dark", "light"):
            theme.choose(mode)
            spin(0.8)
            page.grab().save(str(HELP / f"{name}-{mode}.png"))
        page.hide()
    link.close()
    host.stop()


def take_data(home: Path) -> None:
    """The Data page, with conversations of which some are odd."""
    story = Story(home)
    rows = [json.loads(line) for line in (SAMPLES / "demo.jsonl").read_text("utf-8").splitlines()]
    chats = [
        {"messages": [turn for row in rows[at : at + 1 + at % 3] for turn in row["messages"]]}
        for at in range(len(rows) - 2)
    ]
    chats += [*chats[3:9], {"messages": [*rows[5]["messages"][:1], _ANSWER | {"content": " "}]}]
    chats += [_odd(chats[9], "Thank you.", "Thanks."), _odd(chats[10], "we", "weâ€™ll")]
    chats += [_odd(chats[12 + 3 * n], _CHINESE, None) for n in range(3)]
    data = home / "data" / "support_chats.jsonl"
    data.write_text("\n".join(map(json.dumps, chats)), encoding="utf-8")
    app = opened(None)
    app.window.show_page("data")
    page: Any = app.window.page("data")
    wait_for(lambda: app.link.is_connected, 60)
    page.show_draft(
        Draft().with_patch(
            {"dataset.path": str(data), "model.path": str(story.model("llama")),
             "training.max_length": 128}
        )
    )  # fmt: skip
    wait_for(lambda: page.report is not None, 120)
    page.samples.pick("most_cut")
    spin(1.0)
    page.use.setFocus()
    for theme in ("dark", "light"):
        take(app, "data", theme)
    take_template(app, page)
    app.window.close()
    app.link.close()
    story.end()


_CHINESE = "谢谢您的来信，我们会尽快为您处理这个问题，请稍等片刻。"


def _odd(chat: dict[str, Any], text: str, other: str | None) -> dict[str, Any]:
    """The chat with another last answer: ``text`` in place of it, or ``other`` behind it."""
    *before, last = chat["messages"]
    content = text if other is None else f"{last['content']} {other}"
    return {"messages": [*before, {**last, "content": content}]}


def take_template(app: App, page: Any) -> None:
    """The editor of a template whose end the model does not know."""
    page.templates.bar.patch_wanted.emit({"dataset.chat_template": "chatml"})
    wait_for(lambda: not page.inspector.is_busy, 60)
    page.templates.edit()
    card = page.templates.card
    wait_for(lambda: "im_start" in card.text.toPlainText(), 60)
    wait_for(lambda: bool(card.problem.text()), 60)
    spin(1.0)
    for theme in ("dark", "light"):
        take(app, "template", theme)


_ANSWER = {"role": "assistant"}

NIGHTS: dict[str, dict[str, Any]] = {
    "out-of-memory": {"failpoints": "worker.step:60=oom", "steps": 160},
    "stalled": {"failpoints": "worker.step:60=hang", "steps": 160},
    "failed": {"failpoints": "", "steps": 160, "training": {"learning_rate": 10.0}},
}
"""By the name of the picture: what befalls the run once."""


def take_nights(home: Path) -> None:
    """Runs that meet trouble: two that go on by themselves, and one that cannot."""
    os.environ |= {
        "FETTLE_WATCHDOG_SCALE": "0.1", "FETTLE_RESUME_SECONDS": "1",
        "FETTLE_FAILPOINTS_ONCE": str(home / "struck"),
    }  # fmt: skip
    app: App | None = None
    for name, night in NIGHTS.items():
        os.environ["FETTLE_FAILPOINTS"] = night["failpoints"]
        end_processes_of(home)
        (home / "struck").unlink(missing_ok=True)
        story = Story(home)
        story._host.request(ChangeOptions(id=0, options={"resume_automatically": True}))
        model = story.model("llama")
        training = night.get("training", {})
        run = story.start(spec("night-run", model, steps=night["steps"], training=training))
        # A little after it went on, what was done stands at the top.
        summary = story.wait(run, lambda s: s.state == "failed" or (s.attempt > 1 and s.step > 61))
        print(name, summary.state, summary.attempt)
        app = app or opened(run)
        app.window.show_page("run")
        page: Any = app.window.page("run")
        page.show_run(run, summary)
        wait_for(lambda page=page: page.feed.is_caught_up, 30)
        spin(2.0)
        page.body.certificate.folder.head.setChecked(False)
        for theme in ("dark", "light"):
            take(app, name, theme)
        story.end()
    if app is not None:
        app.window.close()
        app.link.close()


def main() -> int:
    with_runs = sys.argv[1:] != ["plans"]
    with readable_home() as home:
        if sys.argv[1:] == ["certificates"]:
            take_certificates()
            return 0
        if sys.argv[1:] == ["nights"]:
            take_nights(home)
            return 0
        if sys.argv[1:] == ["data"]:
            take_data(home)
            return 0
        story = Story(home)
        if with_runs:
            story.before()
        app = opened(story.now() if with_runs else None)
        if with_runs:
            take_runs(app)
        story.end()
        take_plans(app, home / "data" / "support_chats.jsonl")
        app.window.close()
        app.link.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
