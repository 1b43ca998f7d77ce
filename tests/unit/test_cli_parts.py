"""The pure parts of the command line: words, settings, progress, the end of a run, output."""

from __future__ import annotations

import io
import json
import math
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from engine.cli import listing, main, settings, words
from engine.cli.output import Output
from engine.cli.parser import UsageError, build
from engine.cli.progress import RunProgress, sentence
from engine.cli.watch import Display, EndOfRun, Watcher
from engine.client import HostLost, Refused
from engine.contract.dataset_report import COMPARED, ROWS
from engine.contract.lifecycle import Phase, State
from engine.contract.messages import (
    CaughtUp,
    CheckpointSaved,
    Complaint,
    Decision,
    Done,
    Evaluated,
    Finding,
    Follow,
    Heartbeat,
    Message,
    PhaseChanged,
    Progress,
    RunSummary,
    StateChanged,
    Step,
    Telemetry,
)
from engine.contract.queue_words import in_line
from engine.planning import catalogue, hardware
from tests.e2e.host_driver import write_model_folder


def summary(state: State = State.TRAINING, **fields: Any) -> RunSummary:
    values: dict[str, Any] = {
        "run": "r",
        "folder": "/store/r",
        "name": "r",
        "state": state,
        "phase": Phase.TRAINING,
        "step": 7,
        "max_steps": 10,
        "checkpoints": 1,
        "attempt": 1,
        "method": "sft",
        "model": "m",
        "dataset": "d",
        "kind": "LoRA",
        "created_at": 0.0,
    }
    return RunSummary(**{**values, **fields})


def sound_file(folder: Path) -> Path:
    """A spec with a model and data that are there."""
    model = folder / "model"
    write_model_folder(model)
    rows = '{"prompt": "a", "completion": "b"}\n' * 20
    (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    path = folder / "spec.toml"
    path.write_text(
        f'name = "n"\n[model]\npath = "{model.as_posix()}"\n[lora]\nr = 8\n'
        f'[dataset]\npath = "{(folder / "rows.jsonl").as_posix()}"\n',
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(
    ("place", "behind", "seconds", "told"),
    [
        (1, "", None, "next"),
        (1, "demo", 430, "next, behind “demo”, which has about 7 min left"),
        (3, "demo", 7900, "number 3 in line, behind “demo”, which has about 2 h 12 min left"),
        (1, "demo", 20, "next, behind “demo”, which has less than a minute left"),
        (1, "demo", None, "next, behind “demo”"),
    ],
)
def test_a_place_in_the_queue(place: int, behind: str, seconds: float | None, told: str) -> None:
    assert in_line(place, behind, seconds) == told


def test_when_a_run_goes_on_by_itself() -> None:
    assert listing._until(time.time() + 125) == "in 2 min 05 s"
    assert listing._until(time.time() - 5) == listing._until(None) == "in a moment"


def test_a_place_behind_a_paused_run() -> None:
    told = in_line(2, "demo", None, is_paused=True)
    assert told == (
        "number 2 in line, behind “demo”, which is paused: it begins once you continue or stop that"
    )


def test_a_save_more_than_the_limit_is_explained() -> None:
    assert words.kept_besides(3, 3) == ""
    assert words.kept_besides(4, 3) == "The best one stays beside the newest 3."


def step(number: int, **fields: Any) -> Step:
    values: dict[str, Any] = {"at": 0.0, "loss": 2.0, "learning_rate": 1e-4, "step_ms": 100.0}
    return Step(step=number, **{**values, **fields})


class TestWords:
    @pytest.mark.parametrize(
        ("bytes_", "text"),
        [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (3 << 30, "3.0 GiB"),
            (500 << 20, "500 MiB"),
        ],
    )
    def test_size(self, bytes_: int, text: str) -> None:
        assert words.size(bytes_) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "0 s"),
            (59.4, "59 s"),
            (185, "3 min 05 s"),
            (7440, "2 h 04 min"),
            (266400, "3 d 02 h"),
        ],
    )
    def test_duration(self, seconds: float, text: str) -> None:
        assert words.duration(seconds) == text

    def test_count(self) -> None:
        assert [words.count(n) for n in (0, 3, 2.34, 999, 12345)] == [
            "0",
            "3",
            "2.3",
            "999",
            "12 345",
        ]


class TestSettings:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("3", 3),
            ("2e-4", 2e-4),
            ("true", True),
            ('"3"', "3"),
            ("[1, 2]", [1, 2]),
            ("mistralai/Mistral-7B", "mistralai/Mistral-7B"),
            ("", ""),
            ("1\nb = 2", "1\nb = 2"),
        ],
    )
    def test_values_are_read_as_toml_and_bare_words_as_text(self, text: str, value: object) -> None:
        assert settings.parse_value(text) == value

    def test_nan_is_a_number_that_the_check_refuses(self) -> None:
        assert math.isnan(settings.parse_value("nan"))

    def test_a_setting_makes_the_table_it_needs(self) -> None:
        raw: dict[str, Any] = {"name": "a"}
        assert settings.apply(raw, "lora.r = 8") == []
        assert settings.apply(raw, "name=b") == []
        assert raw == {"name": "b", "lora": {"r": 8}}

    @pytest.mark.parametrize("change", ["training", "=3", "a..b=1", ".=1"])
    def test_a_setting_without_name_or_value_is_refused(self, change: str) -> None:
        assert settings.apply({}, change)[0].field == "--set"

    def test_a_setting_below_a_value_is_refused(self) -> None:
        [complaint] = settings.apply({"training": 3}, "training.seed=1")
        assert complaint.field == "training"

    def test_a_file_is_read_changed_and_made_absolute(self, tmp_path: Path) -> None:
        path = tmp_path / "spec.toml"
        path.write_text(
            'name = "a"\n[model]\npath = "org/m"\n[dataset]\npath = "d.jsonl"\n', encoding="utf-8"
        )
        raw, spec = settings.load(path, ["training.max_steps=5"])
        assert raw["dataset"]["path"] == str(tmp_path / "d.jsonl")
        assert (spec.model.path, spec.training.max_steps) == ("org/m", 5)

    def test_all_that_is_wrong_is_said_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "spec.toml"
        path.write_text('nam = "a"\n[training]\nlearning_rate = "x"\n', encoding="utf-8")
        with pytest.raises(Refused) as refused:
            settings.load(path, [])
        fields = {complaint.field for complaint in refused.value.complaints}
        assert {"nam", "name", "model", "dataset", "training.learning_rate"} <= fields


class TestProgress:
    def test_the_line_tells_what_is_known(self) -> None:
        progress = RunProgress(summary(step=0, max_steps=0, phase=Phase.WAITING))
        assert progress.line_with_bar(79) == "waiting"
        progress.feed(Progress(phase=Phase.TOKENISING, done=1, total=4))
        assert progress.line_with_bar(79) == "tokenising 25 %"
        progress.feed(Progress(phase=Phase.TOKENISING, done=4, total=0, unit=ROWS))
        assert progress.line_with_bar(79) == "tokenising 4 rows"
        # What is left out of them is found by another look at all of them.
        progress.feed(Progress(phase=Phase.TOKENISING, done=2, total=4, unit=COMPARED))
        assert progress.line_with_bar(79) == "comparing rows 50 %"
        progress.feed(Progress(phase=Phase.LOADING_MODEL, done=0, total=0))
        assert progress.line_with_bar(79) == "loading model"
        progress.feed(PhaseChanged(at=0, phase=Phase.TRAINING, max_steps=100))
        progress.feed(Telemetry(at=0, ram_used_bytes=1 << 30))
        for number in range(1, 51):
            progress.feed(step(number, tokens=200, loss=1.5))
        assert progress.line() == (
            "training  step 50/100  loss 1.5000  2 000 tokens/s  RAM 1.0 GiB  5 s left"
        )
        assert progress.line_with_bar(120).startswith("━" * 10 + "─" * 10 + "  training")

    @pytest.mark.parametrize(
        ("width", "bar", "missing"),
        [
            (95, 20, []),
            (85, 10, []),
            (79, 17, ["RAM"]),
            (61, 0, ["RAM"]),
            (45, 0, ["RAM", "tokens/s"]),
            (30, 0, ["RAM", "tokens/s", "loss", "step"]),
        ],
    )
    def test_a_narrow_terminal_shortens_the_bar_and_never_drops_the_time_left(
        self, width: int, bar: int, missing: list[str]
    ) -> None:
        progress = RunProgress(summary(step=0, max_steps=100, phase=Phase.TRAINING))
        progress.feed(Telemetry(at=0, ram_used_bytes=1 << 30))
        for number in range(1, 51):
            progress.feed(step(number, tokens=200, loss=1.5))
        line = progress.line_with_bar(width)
        assert len(line) <= width
        assert line.endswith("5 s left")
        assert sum(line.count(mark) for mark in "━─") == bar
        parts = ["step", "loss", "tokens/s", "RAM"]
        assert sorted(part for part in parts if part not in line) == sorted(missing)

    def test_memory_of_the_card_goes_before_ram(self) -> None:
        progress = RunProgress()
        progress.feed(Telemetry(at=0, ram_used_bytes=1 << 30))
        progress.feed(step(1, vram_reserved_bytes=2 << 30))
        assert "VRAM 2.0 GiB" in progress.line()
        assert "RAM 1.0" not in progress.line()

    def test_a_slow_step_among_quick_ones_does_not_move_the_time_left(self) -> None:
        progress = RunProgress()
        progress.feed(PhaseChanged(at=0, phase=Phase.TRAINING, max_steps=30))
        for number in range(1, 10):
            progress.feed(step(number))
        progress.feed(step(10, step_ms=60_000.0))
        assert progress.seconds_left == pytest.approx(2.0)

    def test_a_resume_forgets_the_pace(self) -> None:
        progress = RunProgress(summary())
        progress.feed(step(8))
        progress.feed(StateChanged(at=0, state=State.QUEUED))
        assert progress.seconds_left is None
        assert progress.tokens_per_second is None

    def test_a_resume_shows_the_step_that_it_goes_on_from(self) -> None:
        progress = RunProgress(summary(step=93, max_steps=150))
        progress.feed(StateChanged(at=0, state=State.QUEUED, step=60))
        assert progress.line().startswith("waiting  step 60/150")
        progress.feed(StateChanged(at=0, state=State.QUEUED, step=0))
        assert progress.line() == "waiting"

    def test_a_loss_that_is_no_number_is_said(self) -> None:
        progress = RunProgress()
        progress.feed(step(1, loss=None))
        assert "loss not a number" in progress.line()

    @pytest.mark.parametrize(
        ("message", "text"),
        [
            (StateChanged(at=0, state=State.QUEUED), "Queued."),
            (
                StateChanged(at=0, state=State.FAILED, sentence="Out of memory."),
                "Failed. Out of memory.",
            ),
            (
                CheckpointSaved(at=0, step=5, folder="f", bytes=2048, seconds=0.31, reason="time"),
                "Saved at step 5: 2.0 KiB in 0.3 s.",
            ),
            (
                Evaluated(at=0, step=5, eval_loss=1.25, seconds=1),
                "Held-back rows at step 5: loss 1.2500.",
            ),
            (Finding(at=0, severity="error", code="c", title="T.", remedy="R."), "T. R."),
            (StateChanged(at=0, state=State.FINISHED), None),
            (
                StateChanged(
                    at=5, run="r", state=State.RECOVERING, sentence="Killed.", resumes_at=65
                ),
                (
                    "Recovering. Killed. It resumes by itself 1 min 00 s later; sooner with "
                    "`fettle resume r`."
                ),
            ),
            (
                StateChanged(at=5, run="r", state=State.RECOVERING, resumes_at=5.5),
                "Recovering. It resumes by itself at once.",
            ),
            (Decision(at=0, title="It is 2.", reason="It fits."), "Note: It is 2. It fits."),
            (Heartbeat(at=0), None),
            (step(1), None),
        ],
    )
    def test_sentences(self, message: Message, text: str | None) -> None:
        assert sentence(message) == text


class TestEndOfRun:
    def test_a_run_at_rest_ends_where_its_past_ends(self) -> None:
        end = EndOfRun(summary(State.FINISHED))
        done = Done(at=0, seq=9, outcome="finished", step=10)
        assert end.feed(step(10)) is None
        assert end.feed(done) is None
        found = end.feed(CaughtUp(run="r", seq=9))
        assert found is not None
        assert (found.run, found.folder, found.outcome) == ("r", "/store/r", "finished")

    def test_the_end_of_an_earlier_attempt_is_not_the_end(self) -> None:
        end = EndOfRun(summary(State.TRAINING))
        end.feed(StateChanged(at=0, state=State.STOPPED))
        end.feed(Done(at=0, outcome="stopped", step=5))
        end.feed(StateChanged(at=0, state=State.QUEUED))
        assert end.feed(CaughtUp(run="r", seq=9)) is None
        assert end.feed(step(6)) is None
        assert end.feed(Done(at=0, outcome="finished", step=10)) is not None

    def test_nothing_new_of_a_run_at_rest_gives_an_end_from_the_summary(self) -> None:
        end = EndOfRun(summary(State.STOPPED, output="/o", sentence="You stopped it."))
        done = end.feed(CaughtUp(run="r", seq=99))
        assert done is not None
        assert (done.outcome, done.step, done.output) == ("stopped", 7, "/o")
        assert done.sentence == "You stopped it."

    def test_a_run_that_recovers_has_not_come_to_its_end(self) -> None:
        end = EndOfRun(summary(State.TRAINING))
        assert end.feed(CaughtUp(run="r", seq=9)) is None
        assert end.feed(StateChanged(at=0, state=State.RECOVERING, resumes_at=9.0)) is None
        assert end.feed(StateChanged(at=9, state=State.QUEUED, attempt=2)) is None
        assert end.feed(Done(at=0, outcome="finished", step=10)) is not None

    def test_an_interrupted_run_counts_as_stopped(self) -> None:
        end = EndOfRun(summary(State.INTERRUPTED))
        done = end.feed(CaughtUp(run="r", seq=99))
        assert done is not None
        assert done.outcome == "stopped"
        assert "interrupted" in done.sentence

    def test_a_run_at_rest_has_no_line_of_progress(self) -> None:
        out = io.StringIO()
        display = Display(Output(as_json=False, stdout=out), summary(State.STOPPED))
        display.show(step(62))
        display.show(StateChanged(at=0, state=State.STOPPED, sentence="Saved."))
        display.show(CaughtUp(run="r", seq=2))
        assert out.getvalue() == "Stopped. Saved.\n"
        display.show(StateChanged(at=0, state=State.TRAINING))
        assert "step 62" in out.getvalue()

    def test_what_takes_long_before_the_first_step_is_told_without_a_terminal_too(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [100.0]
        monkeypatch.setattr("engine.cli.watch.time", SimpleNamespace(monotonic=lambda: clock[0]))
        out = io.StringIO()
        starting = summary(State.PREPARING, step=0)
        display = Display(Output(as_json=False, stdout=out), starting)
        display.show(CaughtUp(run="r", seq=0))
        display.show(Progress(run="r", phase=Phase.TOKENISING, done=1, total=10, unit="rows"))
        assert out.getvalue() == ""
        for seconds, done in ((106.0, 4), (107.0, 5), (112.0, 9)):
            clock[0] = seconds
            display.show(Progress(run="r", phase=Phase.TOKENISING, done=done, total=10))
        assert out.getvalue() == "tokenising 40 %\ntokenising 90 %\n"


class TestOutput:
    def test_json_goes_to_stdout_and_sentences_to_stderr(self) -> None:
        out, err = io.StringIO(), io.StringIO()
        output = Output(as_json=True, stdout=out, stderr=err)
        output.say("A sentence.")
        output.emit(Done(at=1, run="r", outcome="stopped", step=3))
        [line] = out.getvalue().splitlines()
        found = json.loads(line)
        assert (found["type"], found["output"], found["folder"]) == ("done", None, "")
        assert err.getvalue() == "A sentence.\n"

    def test_a_refusal_names_every_field(self) -> None:
        out, err = io.StringIO(), io.StringIO()
        complaints = [
            Complaint(field="a.b", problem="Bad."),
            Complaint(field="c", problem="Worse."),
        ]
        refused = Refused("Two things are wrong.", complaints)
        Output(as_json=True, stdout=out, stderr=err).refuse(refused)
        found = json.loads(out.getvalue())
        assert found["type"] == "refusal"
        assert [c["field"] for c in found["complaints"]] == ["a.b", "c"]
        assert err.getvalue() == "fettle: a.b: Bad.\nfettle: c: Worse.\n"

    def test_colours_only_on_a_terminal_and_not_against_the_users_wish(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        monkeypatch.delenv("NO_COLOR", raising=False)
        assert "\x1b[31m" in Output(as_json=False, stdout=Terminal()).paint("x", "red")
        assert Output(as_json=True, stdout=Terminal()).paint("x", "red") == "x"
        assert Output(as_json=False, stdout=io.StringIO()).paint("x", "red") == "x"
        monkeypatch.setenv("NO_COLOR", "1")
        assert Output(as_json=False, stdout=Terminal()).paint("x", "red") == "x"


class TestCommandLine:
    def test_json_is_known_before_and_after_the_command(self) -> None:
        assert build().parse_args(["--json", "runs"]).json
        assert build().parse_args(["runs", "--json"]).json
        assert not build().parse_args(["runs"]).json

    def test_a_runs_folder_is_known_from_where_the_user_stands(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "runs" / "20260101-one"
        folder.mkdir(parents=True)
        (folder / "run.json").touch()
        (tmp_path / "last").mkdir()
        monkeypatch.chdir(tmp_path)
        assert build().parse_args(["show", "runs/20260101-one"]).run == str(folder)
        assert build().parse_args(["resume", "last"]).run == "last"
        assert build().parse_args(["stop", "20260101"]).run == "20260101"
        monkeypatch.chdir(folder)
        assert build().parse_args(["follow", "."]).run == str(folder)

    def test_a_command_line_that_makes_no_sense_is_exit_2(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(UsageError):
            build().parse_args(["train"])
        assert main(["nonsense", "--json"]) == 2
        captured = capsys.readouterr()
        assert json.loads(captured.out)["type"] == "refusal"
        assert "nonsense" in captured.err

    def test_the_example_is_sound_but_for_its_paths(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["spec", "--example"]) == 0
        path = tmp_path / "spec.toml"
        path.write_text(capsys.readouterr().out, encoding="utf-8")

        def complaints() -> set[str]:
            assert main(["spec", "--check", str(path)]) == 2
            return {line.split()[1] for line in capsys.readouterr().err.splitlines()}

        # There is no hub here, nor a copy of the model.
        assert complaints() == {"dataset.path:", "model.path:"}
        (tmp_path / "support_chats.jsonl").write_text(
            '{"prompt": "a", "completion": "b"}\n' * 20, encoding="utf-8"
        )
        assert complaints() == {"model.path:"}

    def test_a_sound_file_is_said_to_be_so(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = sound_file(tmp_path)
        assert main(["spec", "--check", str(path)]) == 0
        assert "is sound: sft, LoRA." in capsys.readouterr().out
        assert main(["spec", "--check", str(path), "--json"]) == 0
        checked = json.loads(capsys.readouterr().out)
        assert (checked["type"], checked["spec"]["lora"]) == ("checked", {"r": 8})

    def test_a_file_is_checked_with_changes_and_without_a_word(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = str(sound_file(tmp_path))
        assert main(["spec", path, "--set", "lora.r=4", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["spec"]["lora"] == {"r": 4}
        assert main(["spec", "--check", path, "--set", "lora.r=0"]) == 2
        assert "lora.r: 0 does not fit" in capsys.readouterr().err
        assert main(["spec", "--example", "--set", "lora.r=4"]) == 2
        assert "--check FILE" in capsys.readouterr().err
        assert main(["spec", path, "--example"]) == 2
        assert main(["spec"]) == 2

    def test_a_file_of_which_something_is_passed_over_is_not_called_sound(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = sound_file(tmp_path)
        config = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1,
                  "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 9}  # fmt: skip
        (tmp_path / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
        text = path.read_text(encoding="utf-8")
        named = 'r = 8\ntarget_modules = ["q_proj", "q_porj"]'
        path.write_text(text.replace("r = 8", named), encoding="utf-8")
        assert main(["spec", "--check", str(path)]) == 0
        told = capsys.readouterr().out
        assert "can be trained: sft, LoRA. Not all is as it may be meant:" in told
        assert "no layer q_porj" in told
        assert "sound" not in told
        assert main(["spec", "--check", str(path), "--json"]) == 0
        (conflict,) = json.loads(capsys.readouterr().out)["conflicts"]
        assert conflict["id"] == "some_unknown_targets"

    def test_the_schema_is_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["spec", "--schema"]) == 0
        assert "training" in json.loads(capsys.readouterr().out)["$defs"]["Spec"]["properties"]

    def test_the_methods_are_those_of_a_spec(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["spec", "--methods", "--json"]) == 0
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [method["name"] for method in told] == ["sft", "pretrain"]
        assert told[1]["formats"] == ["text"]

    def test_models_and_cards_are_listed_by_what_a_spec_calls_them(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for what, table, found in (
            ("models", "model.path", catalogue.find),
            ("profiles", "hardware.profile", hardware.find),
        ):
            assert main(["spec", f"--{what}", "--json"]) == 0, table
            told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert len(told) > 10
            assert all(found(each["id"]) is not None for each in told), table
            assert main(["spec", f"--{what}"]) == 0
            shown = capsys.readouterr().out.splitlines()
            assert [line.split()[0] for line in shown] == [each["id"] for each in told]

    def test_the_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as left:
            main(["--version"])
        assert left.value.code == 0
        assert capsys.readouterr().out.startswith("fettle ")


class _Asked:
    """A client that gives this answer to everything."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    def __enter__(self) -> _Asked:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def request(self, _message: object) -> dict[str, Any]:
        return self._answer


class _After:
    """A client of a host that lost the records after the third in a power cut."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def request(self, follow: Follow) -> dict[str, Any]:
        self.asked.append(follow.since)
        newest = 5 if len(self.asked) == 1 else 3
        return {"run": "r", "seq": newest, "summary": msgspec.to_builtins(summary())}

    def messages(self, _timeout_s: float | None) -> Iterator[Message]:
        if len(self.asked) == 1:
            yield from (step(seq, run="r", seq=seq) for seq in (4, 5))
            raise HostLost("cut")
        yield step(4, run="r", seq=4)
        yield CaughtUp(run="r", seq=4)
        yield Done(at=0, run="r", seq=5, outcome="finished", step=4)

    def close(self) -> None:
        return None


def test_who_watches_is_shown_again_what_a_power_cut_took_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client: Any = _After()
    monkeypatch.setattr("engine.cli.watch.connect", lambda **_: client)
    seen: list[int] = []
    watcher = Watcher(client, Output(as_json=False), lambda m: seen.append(getattr(m, "seq", 0)))
    assert watcher.to_the_end("r", since=3).outcome == "finished"
    assert client.asked == [3, 5, 3]
    assert seen == [4, 5, 4, 4, 5]


@pytest.mark.parametrize("is_saved", [False, True])
def test_a_run_that_comes_back_says_from_where(
    is_saved: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = CheckpointSaved(
        at=1.0, step=7, folder="checkpoints/x", bytes=1, seconds=1.0, reason="time"
    )
    shown = {
        "summary": msgspec.to_builtins(summary(state=State.RECOVERING)),
        "checkpoints": [msgspec.to_builtins(save)] if is_saved else [],
        "failure": msgspec.to_builtins(
            Finding(at=1.0, code="killed", title="Killed.", severity="error")
        ),
    }
    monkeypatch.setattr(listing, "connect", lambda: _Asked(shown))
    listing.show(Namespace(run="last"), Output(as_json=False))
    told = capsys.readouterr().out
    assert ("from its last save" in told) == is_saved
    assert ("begins anew" in told) != is_saved
