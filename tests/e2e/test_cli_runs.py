"""The command line over a real host: what every command prints, and how it exits.

The worker is the fake one, whose behaviour each test chooses; one host serves the whole module.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.cli_driver import ROOT, Fettle
from tests.e2e.host_driver import FAKE, HostUnderTest, until

if sys.platform == "win32":
    pytest.skip("the fake worker is chosen by a shell", allow_module_level=True)

LASTS = "slow steps=500 ms=1"
"""A worker that is at work until it is told otherwise."""


class Bench:
    """A command line with a spec, and a worker that does what it is told."""

    def __init__(self, home: Path) -> None:
        self.sound = HostUnderTest(home)
        self._mode = home / "mode"
        worker = f"exec {sys.executable} -S -E {FAKE} $(cat {self._mode})"
        command = json.dumps(["/bin/sh", "-c", worker])
        self.fettle = Fettle(home, FETTLE_WORKER_COMMAND=command, FETTLE_IDLE_SECONDS="60")
        self.spec = home / "spec.toml"
        self.spec.write_text(
            f'name = "Bench run"\n[model]\npath = "{self.sound.model}"\n[lora]\n'
            '[dataset]\npath = "data.jsonl"\n',
            encoding="utf-8",
        )

    def worker(self, mode: str) -> None:
        """What the next worker does."""
        self._mode.write_text(mode, encoding="utf-8")

    def detached(self, mode: str = LASTS, *options: str) -> str:
        """Start a run and leave; its name. It trains when this returns."""
        self.worker(mode)
        result = self.fettle("train", self.spec, "--detach", "--json", *options)
        assert result.code == 0, result.err
        until(lambda: self.show(result.last["run"])["step"] > 0, "the run trains")
        return str(result.last["run"])

    def show(self, run: str = "last") -> dict[str, Any]:
        result = self.fettle("show", run, "--json")
        assert result.code == 0, result.err
        return result.last

    def kill_host(self) -> None:
        psutil.Process(self.host_pid()).kill()

    def host_pid(self) -> int:
        return int((self.fettle.home / "host" / "lock").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    home = Path(tempfile.mkdtemp(prefix="fc-"))
    bench = Bench(home)
    assert bench.fettle("runs").code == 0
    yield bench
    bench.kill_host()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True)
def _all_at_rest(bench: Bench) -> Iterator[None]:
    """The next test finds an idle host, whatever became of this one."""
    yield
    for run in bench.fettle("runs", "--json").lines:
        if run["ended_at"] is None:
            bench.fettle("stop", run["run"], "--now")


def steps(lines: list[dict[str, Any]]) -> list[int]:
    return [line["step"] for line in lines if line.get("type") == "step"]


def records(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if "seq" in line and "at" in line]


# ---------------------------------------------------------------- a run that goes well


def test_train_prints_every_record_and_done_last(bench: Bench) -> None:
    bench.worker("normal")
    result = bench.fettle("train", bench.spec, "--json")
    assert result.code == 0
    assert {"run", "folder"} <= set(result.lines[0])
    assert steps(result.lines) == list(range(1, 21))
    done = result.last
    assert (done["type"], done["outcome"], done["step"]) == ("done", "finished", 20)
    assert done["run"] == result.lines[0]["run"]
    assert Path(done["folder"]) == bench.fettle.store / done["run"]
    assert Path(done["output"]).is_dir()
    assert result.err == ""


def test_train_for_people(bench: Bench) -> None:
    bench.worker("normal")
    result = bench.fettle("train", bench.spec)
    assert result.code == 0
    assert "\x1b" not in result.out
    assert "\r" not in result.out
    assert "Saved at step 5" in result.out
    assert "Finished at step 20." in result.out
    assert result.out.count("Finished") == 1
    assert str(bench.fettle.store) in result.out


def with_setting(bench: Bench, **settings: str) -> Fettle:
    environment = {**bench.fettle.environment, **settings}
    return Fettle(bench.fettle.home, **environment)


def test_an_idle_host_with_other_settings_makes_way(bench: Bench) -> None:
    bench.worker("normal")
    assert bench.fettle("runs").code == 0
    before = bench.host_pid()
    assert bench.fettle("train", bench.spec).code == 0
    assert bench.host_pid() == before
    offline = with_setting(bench, HF_HUB_OFFLINE="yes")  # The tests themselves run with 1.
    result = offline("train", bench.spec)
    assert (result.code, result.err) == (0, "")
    assert psutil.Process(bench.host_pid()).environ()["HF_HUB_OFFLINE"] == "yes"
    assert bench.host_pid() != before


def test_a_busy_host_with_other_settings_says_which(bench: Bench) -> None:
    bench.detached()
    before = bench.host_pid()
    result = with_setting(bench, HF_ENDPOINT="http://127.0.0.1:9")(
        "train", bench.spec, "--detach", "--json"
    )
    assert (result.code, bench.host_pid()) == (0, before)
    assert result.err.count("\n") == 1
    assert "HF_ENDPOINT not set." in result.err
    assert set(result.last) >= {"run", "folder"}


def test_set_changes_the_spec_of_the_run(bench: Bench) -> None:
    bench.worker("normal")
    options = ("--set", "training.max_steps=7", "--set", "name=Renamed", "--set", "lora.r=3")
    assert bench.fettle("train", bench.spec, *options).code == 0
    shown = bench.show()
    assert shown["name"] == "Renamed"
    assert shown["spec"]["training"]["max_steps"] == 7
    assert shown["spec"]["lora"]["r"] == 3


def test_follow_of_an_ended_run_replays_it_and_ends(bench: Bench) -> None:
    bench.worker("normal")
    live = bench.fettle("train", bench.spec, "--json")
    replayed = bench.fettle("follow", "last", "--json")
    assert replayed.code == 0
    assert records(live.lines) == records(replayed.lines)
    border = live.of_type("step")[11]["seq"]
    rest = bench.fettle("follow", "last", "--since", str(border), "--json")
    assert steps(rest.lines) == list(range(13, 21))
    assert rest.last == replayed.last
    nothing = bench.fettle("follow", "last", "--since", "99999", "--json")
    assert nothing.code == 0
    assert {key: nothing.last[key] for key in ("type", "run", "folder", "outcome", "step")} == {
        key: live.last[key] for key in ("type", "run", "folder", "outcome", "step")
    }
    assert nothing.last["output"] == live.last["output"]


def test_a_follower_that_comes_late_sees_what_the_first_one_sees(bench: Bench) -> None:
    run = bench.detached("slow steps=40 ms=2")
    result = bench.fettle("follow", run, "--json")
    assert result.code == 0
    assert steps(result.lines) == list(range(1, 41))


def test_show_and_runs_say_where_a_run_stands(bench: Bench) -> None:
    bench.worker("normal")
    assert bench.fettle("train", bench.spec).code == 0
    listed = bench.fettle("runs", "--json").lines
    shown = bench.show()
    wanted = {"run", "folder", "state", "step", "max_steps", "checkpoints"}
    assert wanted <= set(shown)
    assert {key: shown[key] for key in wanted} == {key: listed[0][key] for key in wanted}
    assert (shown["state"], shown["step"], shown["max_steps"]) == ("finished", 20, 20)
    assert shown["checkpoints"] == len(shown["saved"]) == 4
    for text in (bench.fettle("show", "last").out, bench.fettle("runs").out):
        assert shown["run"] in text
        assert "finished" in text


def test_a_run_is_named_by_folder_prefix_or_last(bench: Bench) -> None:
    bench.worker("normal")
    run = bench.fettle("train", bench.spec, "--json").last["run"]
    for name in (run, bench.fettle.store / run, run[:-1], "last"):
        assert bench.fettle("show", name, "--json").last["run"] == run


# ---------------------------------------------------------------- stop, save, resume, remove


def test_stop_returns_when_the_save_is_done_and_resume_goes_on(bench: Bench) -> None:
    run = bench.detached(f"{LASTS} saving_ms=300 save=0")
    stopped = bench.fettle("stop", run, "--json")
    assert stopped.code == 0
    assert (stopped.last["type"], stopped.last["outcome"]) == ("done", "stopped")
    shown = bench.show(run)
    at = shown["step"]
    assert (shown["state"], shown["checkpoints"]) == ("stopped", 1)
    assert at == stopped.last["step"]
    assert bench.fettle("follow", run).code == 10
    bench.worker(f"normal steps={at + 5} ms=1")
    resumed = bench.fettle("resume", run, "--json")
    assert resumed.code == 0
    assert (resumed.lines[0]["step"], resumed.lines[0]["attempt"]) == (at, 2)
    assert steps(resumed.lines) == list(range(at + 1, at + 6))
    assert resumed.last["outcome"] == "finished"


def test_stop_now_does_not_save(bench: Bench) -> None:
    run = bench.detached(f"{LASTS} save=0")
    stopped = bench.fettle("stop", run, "--now", "--json")
    assert (stopped.code, stopped.last["outcome"]) == (0, "stopped")
    assert bench.show(run)["checkpoints"] == 0


def test_stop_of_a_run_at_rest_changes_nothing(bench: Bench) -> None:
    bench.worker("normal")
    bench.fettle("train", bench.spec)
    stopped = bench.fettle("stop", "last", "--json")
    assert (stopped.code, stopped.last["outcome"]) == (0, "finished")


def test_stop_of_a_run_that_waits_in_the_queue(bench: Bench) -> None:
    first = bench.detached("slow steps=5000 ms=1")
    second = bench.fettle("train", bench.spec, "--detach", "--json").last["run"]
    shown = bench.show(second)
    assert (shown["state"], shown["queue_place"], shown["behind"]) == ("queued", 1, "Bench run")
    told = bench.fettle("show", second).out
    assert "queued: next, behind “Bench run”" in told
    stopped = bench.fettle("stop", second, "--json")
    assert (stopped.code, stopped.last["outcome"]) == (0, "stopped")
    assert bench.show(first)["state"] == "training"


def test_who_follows_is_told_of_a_stop_by_somebody_else(bench: Bench) -> None:
    run = bench.detached()
    with bench.fettle.start("follow", run, "--json") as follower:
        bench.fettle("stop", run)
        out, _ = follower.communicate(timeout=30)
    assert follower.returncode == 10
    assert json.loads(out.splitlines()[-1])["outcome"] == "stopped"


def test_checkpoint_returns_when_it_is_saved_and_the_run_goes_on(bench: Bench) -> None:
    run = bench.detached(f"{LASTS} save=0")
    saved = bench.fettle("checkpoint", run, "--json")
    assert saved.code == 0
    assert (saved.last["type"], saved.last["reason"]) == ("checkpoint_saved", "asked")
    assert (bench.fettle.store / run / saved.last["folder"] / "MANIFEST.json").is_file()
    assert bench.show(run)["state"] == "training"


def test_a_checkpoint_that_cannot_be_saved_is_exit_20(bench: Bench) -> None:
    run = bench.detached("no_space steps=5000 ms=10 save=0")
    saved = bench.fettle("checkpoint", run, "--json", timeout=20)
    assert (saved.code, saved.last["code"]) == (20, "save_failed")
    assert "could not be saved. Full." in saved.err
    assert bench.show(run)["state"] == "training"


def test_verify_reads_every_byte_and_names_what_is_damaged(bench: Bench) -> None:
    run = bench.detached(f"{LASTS} save=5")
    bench.fettle("stop", run)
    whole = bench.fettle("verify", run, "--json")
    assert whole.code == 0
    closing, save = whole.last, whole.lines[-2]
    assert (closing["type"], closing["is_well"], save["verdict"]) == ("verified", True, "sound")
    assert closing["resumes_from"] == save["step"]
    newest = bench.fettle.store / run / save["folder"]
    victim = next(path for path in newest.iterdir() if path.name != "MANIFEST.json")
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 4
    victim.write_bytes(content)
    damaged = bench.fettle("verify", run)
    assert damaged.code == 4
    assert f"is damaged: {victim.name} has changed since it was saved." in damaged.out
    # Nothing was touched: to set it aside is the business of a resume.
    assert newest.is_dir()
    bench.worker(LASTS)
    resumed = bench.fettle("resume", run, "--detach")
    assert f"The save of step {save['step']} was set aside: {victim.name} has" in resumed.out
    assert re.search(r"It goes on from (step \d+|the start).*done again\.", resumed.out)
    until(lambda: "done again." in bench.show(run)["passed_over"], "it is told")
    assert "was set aside" in bench.fettle("show", run).out


def test_resume_detached(bench: Bench) -> None:
    run = bench.detached()
    bench.fettle("stop", run)
    bench.worker(LASTS)
    resumed = bench.fettle("resume", run, "--detach", "--json")
    assert resumed.code == 0
    assert resumed.last["run"] == run
    assert bench.show(run)["state"] != "stopped"


def test_remove(bench: Bench) -> None:
    run = bench.detached()
    refused = bench.fettle("remove", run, "--yes", "--json")
    assert (refused.code, refused.last["code"]) == (2, "wrong_state")
    bench.fettle("stop", run)
    unasked = bench.fettle("remove", run)
    assert unasked.code == 2
    assert "nobody can be asked here. Add --yes to delete" in unasked.err
    assert (bench.fettle.store / run).exists()
    assert bench.fettle("remove", run, "--yes", "--json").last["removed"]
    assert not (bench.fettle.store / run).exists()
    gone = bench.fettle("show", run, "--json")
    assert (gone.code, gone.last["code"]) == (2, "not_found")


@pytest.mark.parametrize(
    "command", ["show", "follow", "stop", "checkpoint", "verify", "resume", "remove"]
)
def test_a_run_that_is_not_there_is_said_so(command: str, bench: Bench) -> None:
    result = bench.fettle(command, "nowhere", "--json")
    assert (result.code, result.last["code"]) == (2, "not_found")
    assert "nowhere" in result.err


@pytest.mark.parametrize("command", ["resume", "checkpoint"])
def test_what_a_finished_run_cannot_do_is_refused(command: str, bench: Bench) -> None:
    bench.worker("normal")
    bench.fettle("train", bench.spec)
    result = bench.fettle(command, "last", "--json")
    assert (result.code, result.last["code"]) == (2, "wrong_state")


# ---------------------------------------------------------------- runs that do not go well


def test_who_failed_before_the_first_step_is_not_told_to_resume(bench: Bench) -> None:
    bench.worker("fail at=0 save=0")
    result = bench.fettle("train", bench.spec)
    assert result.code == 20
    assert "the same again would end so: mend it first." in result.out
    assert "fettle resume" not in result.out


def test_who_failed_later_is_told_to_resume(bench: Bench) -> None:
    bench.worker("fail save=0")
    result = bench.fettle("train", bench.spec)
    assert result.code == 20
    assert "When that is mended, go on with it: fettle resume" in result.out
    assert "Correct the spec" not in result.out


@pytest.mark.parametrize(
    ("mode", "says"), [("fail", "No memory left."), ("segfault", "signal 11"), ("exit", "code 7")]
)
def test_a_failed_run_is_exit_20_with_the_reason(mode: str, says: str, bench: Bench) -> None:
    bench.worker(f"{mode} save=0")
    result = bench.fettle("train", bench.spec, "--json")
    assert result.code == 20
    assert (result.last["type"], result.last["outcome"]) == ("done", "failed")
    assert says in result.last["sentence"]
    assert result.of_type("finding")
    assert bench.fettle("follow", "last").code == 20


def test_a_worker_that_prints_nonsense_spoils_no_line(bench: Bench) -> None:
    bench.worker("garbage")
    result = bench.fettle("train", bench.spec, "--json")
    assert result.code == 0
    assert steps(result.lines) == list(range(1, 21))


def test_a_killed_host_costs_nothing_that_was_done(bench: Bench) -> None:
    """Who follows is told, waits for the next host, and sees every step once."""
    run = bench.detached(f"{LASTS} save=0")
    with bench.fettle.start("follow", run, "--json") as follower:
        assert follower.stdout is not None
        until(lambda: '"step"' in follower.stdout.readline(), "a step")  # type: ignore[union-attr]
        bench.kill_host()
        out, err = follower.communicate(timeout=60)
    assert follower.returncode == 10
    assert "The host has ended" in err
    done = json.loads(out.splitlines()[-1])
    assert (done["type"], done["outcome"]) == ("done", "stopped")
    whole = bench.fettle("follow", run, "--json")
    assert steps(whole.lines) == list(range(1, done["step"] + 1))
    assert bench.show(run)["state"] == "interrupted"
    bench.worker(f"normal steps={done['step'] + 3} ms=1")
    assert steps(bench.fettle("resume", run, "--json").lines) == [
        done["step"] + 1, done["step"] + 2, done["step"] + 3,
    ]  # fmt: skip


# ---------------------------------------------------------------- in a terminal


def test_ctrl_c_leaves_the_run_alone(bench: Bench) -> None:
    bench.worker(LASTS)
    with bench.fettle.start("train", bench.spec) as training:
        assert training.stdout is not None
        until(lambda: "Training" in training.stdout.readline(), "it trains")  # type: ignore[union-attr]
        training.send_signal(signal.SIGINT)
        out, err = training.communicate(timeout=30)
    assert training.returncode == 130
    assert "Training goes on" in out
    run = bench.show()["run"]
    assert f"fettle follow {run}" in out
    assert f"fettle stop {run}" in out
    assert "Traceback" not in err
    assert bench.show(run)["state"] == "training"


def in_terminal(bench: Bench, **environment: str) -> str:
    """What ``train`` writes to a terminal."""
    import pty

    bench.worker("normal")
    ours, theirs = pty.openpty()
    code = "import sys; from engine.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "train", str(bench.spec)],
        cwd=ROOT,
        env={**bench.fettle.environment, "COLUMNS": "140", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as training:
        os.close(theirs)
        written = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # Linux says so when the other end is closed.
                break
            if not chunk:
                break
            written += chunk
    os.close(ours)
    assert training.returncode == 0
    return written.decode()


def test_a_terminal_shows_a_bar_and_colours(bench: Bench) -> None:
    written = in_terminal(bench)
    assert "━" in written
    assert "step 20/20" in written
    assert "tokens/s" in written
    assert "\x1b[32mFinished at step 20." in written


def test_no_color_is_honoured(bench: Bench) -> None:
    written = in_terminal(bench, NO_COLOR="1")
    assert "━" in written
    assert "\x1b[3" not in written


def test_a_reader_that_goes_away_ends_it_quietly(bench: Bench) -> None:
    run = bench.detached()
    with bench.fettle.start("follow", run, "--json") as follower:
        assert follower.stdout is not None
        follower.stdout.readline()
        follower.stdout.close()
        assert follower.wait(30) == 130
        assert follower.stderr is not None
        assert "Traceback" not in follower.stderr.read()


# ---------------------------------------------------------------- what holds for all runs


def test_options_are_shown_chosen_and_checked(bench: Bench) -> None:
    fettle = bench.fettle
    assert "resume_automatically = on" in fettle("options").out
    chosen = fettle("options", "resume_automatically=off", "resume_tries=5", "--json")
    found = chosen.last["options"]
    assert (found["resume_automatically"], found["resume_tries"]) == (False, 5)
    wrong = fettle("options", "resume_tries=many", "colour=red")
    assert wrong.code == 2
    assert "resume_tries: 'many' does not fit" in wrong.err
    assert "colour: There is no such option." in wrong.err
    assert fettle("options", "nothing").code == 2
    again = fettle("options", "resume_automatically=on", "resume_tries=3", "--json").last
    assert again["options"]["resume_automatically"] is True


def test_a_run_is_paused_and_continued(bench: Bench) -> None:
    run = bench.detached("normal steps=400 ms=10")
    fettle = bench.fettle
    refused = fettle("continue", run)
    assert refused.code == 2
    assert "and not paused" in refused.err
    paused = fettle("pause", run)
    assert paused.code == 0, paused.err
    assert "The card is free." in paused.out
    assert f"fettle continue {run}" in paused.out
    assert bench.show(run)["state"] == "paused"
    again = fettle("pause", run)
    assert again.code == 0
    assert "is paused. The card is free. Continue goes on from step" in again.out
    bench.worker("normal steps=400 ms=0")
    done = fettle("continue", run, "--json")
    assert done.code == 0, done.err
    assert (done.last["outcome"], done.last["attempt"]) == ("finished", 2)
