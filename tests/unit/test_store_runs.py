"""Run folders and their summaries."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contract.lifecycle import Phase, State
from engine.contract.messages import (
    Decision,
    Done,
    Evaluated,
    PhaseChanged,
    Record,
    StateChanged,
    Step,
)
from engine.store import checkpoints, runs, tally, upgrade
from engine.store.journal import Journal
from engine.store.records import read_records, saved_checkpoints
from engine.store.runs import COPY, RUN_FILE, create, folders, read_run, resolve, slug
from engine.store.upgrade import StoreError, read_versioned

NOW = datetime(2026, 11, 22, 22, 15, 3, tzinfo=UTC)
SPEC: dict[str, Any] = {
    "name": "Support Bot",
    "model": {"path": "/models/tiny-llama"},
    "dataset": {"path": "/data/chats.jsonl"},
    "lora": {},
}


def make(store: Path, name: str = "Support Bot") -> Path:
    return create(store, name=name, spec={**SPEC, "name": name}, versions={"x": "1"}, now=NOW)


def test_a_run_folder_is_made_whole(tmp_path: Path) -> None:
    folder = make(tmp_path)
    assert folder.name == "20261122-221503-support-bot"
    content = read_run(folder)
    assert (content.name, content.run, content.versions) == ("Support Bot", folder.name, {"x": "1"})
    assert content.created_at == NOW.timestamp()
    assert make(tmp_path).name == "20261122-221503-support-bot-2"
    assert make(tmp_path).name == "20261122-221503-support-bot-3"


@given(name=st.text(max_size=100))
def test_any_name_gives_a_safe_slug(name: str) -> None:
    made = slug(name)
    assert 1 <= len(made) <= 40
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not made.startswith("-")
    assert not made.endswith("-")


def test_leftovers_are_no_runs_and_go_away(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (tmp_path / ".new-1-x").mkdir()
    (tmp_path / ".removed-y-1").mkdir()
    (tmp_path / "notes").mkdir()
    assert folders(tmp_path) == [folder]
    assert sorted(p.name for p in tmp_path.iterdir()) == [folder.name, "notes"]
    assert folders(tmp_path / "nowhere") == []


def test_a_store_that_cannot_be_written_gives_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        make(tmp_path / "store")


def test_remove_takes_the_folder_away(tmp_path: Path) -> None:
    folder = make(tmp_path)
    runs.remove(folder)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match="cannot be deleted"):
        runs.remove(folder)


def test_a_run_that_is_removed_is_gone_even_if_a_file_in_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows a virus scanner may hold a file; it goes when the store is next looked at."""
    folder = make(tmp_path)
    real = os.unlink

    def held(path: Any, **options: Any) -> None:
        if Path(path).name == runs.RUN_FILE:
            raise PermissionError(13, "held by another program")
        real(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", held)
        runs.remove(folder)
    assert not folder.exists()
    assert folders(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


NAMES = ["20261123-010000-bot", "20261122-221503-bot-b", "20261122-221503-bot-a", "20261101-1-x"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("last", NAMES[0]),
        ("20261123", NAMES[0]),
        ("20261122-221503-bot-a", NAMES[2]),
        ("bot-b", NAMES[1]),
        ("/s/store/20261101-1-x", NAMES[3]),
        ("/s/store/20261101-1-x/", NAMES[3]),
        ("20261101-1-x/", NAMES[3]),
        ("Bot B", NAMES[1]),
    ],
)
def test_a_run_is_found_by_what_people_write(text: str, found: str) -> None:
    assert resolve(text, NAMES, Path("/s/store")) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("20261122", "fits 2 runs: 20261122-221503-bot-b, 20261122-221503-bot-a"),
        ("nope", "There is no run 'nope'. The newest is 20261123-010000-bot"),
        ("/elsewhere/20261101-1-x", "There is no run"),
        ("~nobody-here/20261101-1-x", "There is no run"),
        ("/s/store/\0", "There is no run"),
        ("/", "There is no run"),
        ("", "There is no run"),
    ],
)
def test_what_fits_none_or_several_is_said(text: str, sentence: str) -> None:
    with pytest.raises(StoreError, match=sentence):
        resolve(text, NAMES, Path("/s/store"))


def test_the_exact_name_of_a_run_wins_over_longer_ones() -> None:
    stamps = [f"2026112{day}-010000-" for day in range(4)]
    names = [stamps[0] + "c4", stamps[1] + "cc", stamps[2] + "c"]
    assert resolve("c", names, Path("/s")) == names[2]
    assert resolve("C", names, Path("/s")) == names[2]
    with pytest.raises(StoreError, match=f"'c' fits 2 runs: {stamps[3]}c, {names[2]}"):
        resolve("c", [stamps[3] + "c", *names], Path("/s"))


def test_no_runs_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no runs yet"):
        resolve("last", [], tmp_path)


# ---------------------------------------------------------------- versions


def test_a_damaged_run_file_is_put_back_from_its_copy(tmp_path: Path) -> None:
    folder = create(tmp_path, name="x", spec={"name": "x"}, versions={}, now=datetime.now(UTC))
    whole = (folder / RUN_FILE).read_bytes()
    (folder / RUN_FILE).write_bytes(b'{"broken')
    assert read_run(folder).spec == {"name": "x"}
    assert (folder / RUN_FILE).read_bytes() == whole
    (folder / RUN_FILE).write_bytes(whole[:-20])
    (folder / COPY).unlink()
    with pytest.raises(StoreError, match="Put back a good copy") as told:
        read_run(folder)
    assert f"The saves in {folder / 'checkpoints'} are not touched" in str(told.value)
    assert (folder / RUN_FILE).read_bytes() == whole[:-20]


def test_newer_and_damaged_files_are_refused_in_a_sentence() -> None:
    with pytest.raises(StoreError, match=r"format 3, made by a newer Fettle"):
        read_versioned(b'{"format": 3}', "run.json", 2, {})
    with pytest.raises(StoreError, match="damaged"):
        read_versioned(b'{"format": ', "run.json", 1, {})
    with pytest.raises(StoreError, match="which format"):
        read_versioned(b"{}", "run.json", 1, {})


def test_older_files_are_lifted_step_by_step() -> None:
    steps: dict[int, upgrade.Step] = {
        1: lambda raw: {**raw, "two": True},
        2: lambda raw: {**raw, "three": raw["two"]},
    }
    assert read_versioned(b'{"format": 1}', "f", 3, steps) == {
        "format": 3,
        "two": True,
        "three": True,
    }


MUSEUM = Path(__file__).parents[1] / "data" / "museum"


@pytest.mark.parametrize("version", range(1, upgrade.RUN_FORMAT + 1))
def test_runs_of_every_version_still_open(version: int) -> None:
    (folder,) = folders(MUSEUM / f"v{version}")
    assert read_run(folder).name == "museum piece"
    summary = tally.load(folder).summary(folder)
    assert (summary.state, summary.step, summary.checkpoints) == (State.FINISHED, 3, 1)
    assert summary.loss == 0.5
    assert len(list(read_records(folder))) == 11
    assert [c.step for c in saved_checkpoints(folder)] == [3]
    assert checkpoints.verify(folder / "checkpoints" / "step-00000003") == []


# ---------------------------------------------------------------- summaries


def _life() -> list[Record]:
    def steps(first: int, last: int, attempt: int, at: float) -> list[Record]:
        return [
            Step(at=at + n, attempt=attempt, step=n, loss=1.0, learning_rate=1e-4, step_ms=500.0,
                 tokens=100)
            for n in range(first, last + 1)
        ]  # fmt: skip

    return [
        StateChanged(at=10.0, state=State.QUEUED),
        StateChanged(at=20.0, state=State.STARTING),
        PhaseChanged(at=21.0, phase=Phase.FIRST_STEP, max_steps=40),
        StateChanged(at=21.0, state=State.TRAINING),
        *steps(1, 10, 1, 100.0),
        StateChanged(at=120.0, state=State.FAILED, sentence="It broke."),
        Done(at=120.0, outcome="failed", step=10, sentence="It broke."),
        StateChanged(at=200.0, attempt=2, state=State.QUEUED),
        StateChanged(at=210.0, attempt=2, state=State.STARTING),
        *steps(6, 20, 2, 300.0),
        Evaluated(at=330.0, attempt=2, step=20, eval_loss=0.75, seconds=1.0),
    ]


def test_the_summary_follows_the_records(tmp_path: Path) -> None:
    folder = make(tmp_path)
    journal = Journal(folder, folder.name)
    for record in _life():
        journal.append(record)
    journal.close()
    summary = tally.load(folder).summary(folder, queue_place=2)
    assert (summary.model, summary.dataset, summary.kind) == ("tiny-llama", "chats.jsonl", "LoRA")
    assert (summary.state, summary.attempt, summary.step, summary.max_steps) == (
        State.STARTING, 2, 20, 40
    )  # fmt: skip
    assert (summary.loss, summary.eval_loss, summary.loss_curve) == (1.0, 0.75, [1.0] * 20)
    assert summary.train_seconds == 100.0 + 120.0
    assert (summary.tokens_per_second, summary.eta_seconds) == (200.0, 10.0)
    assert (summary.ended_at, summary.queue_place, summary.sentence) == (None, 2, "")


def test_a_run_that_is_to_go_on_stands_where_it_goes_on_from() -> None:
    known = tally.new_tally(runs.RunFile(run="r", name="n", spec=SPEC, created_at=1.0))
    for record in [*_life(), StateChanged(at=340.0, attempt=3, state=State.QUEUED, step=15)]:
        known.apply(record)
    assert (known.step, known.reached_step) == (15, 20)
    known.apply(StateChanged(at=350.0, attempt=3, state=State.QUEUED))
    assert known.step == 15


@given(cut=st.integers(0, len(_life())))
def test_a_tally_goes_on_from_wherever_it_was_saved(cut: int) -> None:
    content = runs.RunFile(run="r", name="n", spec=SPEC, created_at=1.0)
    whole, part = tally.new_tally(content), tally.new_tally(content)
    for record in _life():
        whole.apply(record)
    for record in _life()[:cut]:
        part.apply(record)
    part = msgspec.json.decode(msgspec.json.encode(part), type=tally.Tally)
    for record in _life()[cut:]:
        part.apply(record)
    assert part == whole


def test_a_status_that_is_behind_or_broken_is_caught_up(tmp_path: Path) -> None:
    folder = make(tmp_path)
    journal = Journal(folder, folder.name)
    kept = tally.load(folder)
    for record in _life():
        kept.apply(journal.append(record)[0])
        if kept.seq == 9:
            tally.write(folder, kept, durable=False)
    journal.close()
    assert tally.load(folder) == kept
    (folder / tally.STATUS_FILE).write_bytes(b'{"format": 1, "ru')
    assert tally.load(folder) == kept
    (folder / tally.STATUS_FILE).unlink()
    assert tally.load(folder) == kept


def test_a_status_at_rest_that_is_behind_is_caught_up(tmp_path: Path) -> None:
    """The host was killed after a resume was recorded and before the status was written."""
    folder = make(tmp_path)
    journal = Journal(folder, folder.name)
    kept = tally.load(folder)
    kept.apply(journal.append(StateChanged(at=1.0, state=State.STOPPED))[0])
    tally.write(folder, kept, durable=False)
    journal.append(StateChanged(at=2.0, attempt=2, state=State.QUEUED))
    journal.close()
    found = tally.load(folder)
    assert (found.state, found.attempt, found.seq) == (State.QUEUED, 2, 2)


def test_what_decisions_changed_of_the_spec_is_known_again(tmp_path: Path) -> None:
    folder = make(tmp_path)
    journal = Journal(folder, folder.name)
    first, second = {"lora.r": 4, "quantization.bits": 4}, {"lora.r": 2}
    for patch in (first, {}, second):
        journal.append(Decision(at=1.0, title="T", reason="R", patch=patch))
    journal.close()
    found = tally.load(folder)
    assert found.patches == [first, second]
    assert found.kind == "QLoRA 4-bit"
    assert tally.spec_of(folder, found.patches)["lora"]["r"] == 2
    assert runs.read_run(folder).spec == SPEC
    tally.write(folder, found, durable=False)
    assert tally.load(folder) == found


@given(
    losses=st.lists(st.one_of(st.none(), st.floats(0, 100)), min_size=1, max_size=700),
    back=st.integers(0, 700),
)
def test_the_curve_has_at_most_60_points_over_the_whole_run(
    losses: list[float | None], back: int
) -> None:
    curve = tally.Curve()
    for number, loss in enumerate(losses, 1):
        curve.add(number, loss)
    for number in range(max(len(losses) - back, 1), len(losses) + 1):
        curve.add(number, 50.0)
    assert len(curve.points) == -(-len(losses) // curve.stride) <= 60
    known = [loss for loss in losses if loss is not None] + [50.0]
    assert min([0.0, *known]) * 0.99 <= min(curve.points)
    assert max(curve.points) <= max(known) * 1.01


def test_the_curve_is_made_of_means() -> None:
    curve = tally.Curve()
    for number in range(1, 121):
        curve.add(number, float(number))
    assert curve.stride == 2
    assert curve.points[:3] == [1.5, 3.5, 5.5]
    assert curve.points[-1] == 119.5
