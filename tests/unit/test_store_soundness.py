"""Looking saves over: every flipped bit, cut and missing file is found, named and survived."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import msgspec
import pytest

from engine.store.checkpoints import newest_verified
from engine.store.manifest import MANIFEST, read_manifest
from engine.store.soundness import check_saves, in_words, is_well, passed_over
from engine.store.staging import publish, stage

FLIPS = 200
BLOCK = 4096
SIZES = {"adapter_model.safetensors": 20_000, "optimizer.safetensors": 9_000, "state.json": 700}


def save(run: Path, step: int) -> Path:
    staging = stage(run, step)
    dice = random.Random(step)
    for name, size in SIZES.items():
        (staging / name).write_bytes(dice.randbytes(size))
    return publish(staging, step=step, fields={"cursor": 8 * step, "versions": {"torch": "2.13"}})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step in (100, 200):
        save(tmp_path, step)
    return tmp_path


def test_sound_saves_are_said_to_be_sound(run: Path) -> None:
    saves = check_saves(run)
    assert [(each.step, each.verdict) for each in saves] == [(100, "sound"), (200, "sound")]
    assert saves[0].bytes == sum(SIZES.values())
    assert is_well(saves)
    assert in_words(saves) == (
        "2 saves were read byte by byte: all sound. Resume goes on from step 200."
    )
    assert in_words(check_saves(run / "none")) == "There is no save yet."


def test_a_finished_run_is_promised_no_resume(run: Path) -> None:
    assert "no resume needs them" in in_words(check_saves(run), is_finished=True)
    for folder in (run / "checkpoints").iterdir():
        (folder / "state.json").write_bytes(b"{}")
    told = in_words(check_saves(run), is_finished=True)
    assert "The save of step 100 is damaged: state.json" in told
    assert "would begin again" not in told
    assert "goes on from" not in told


def test_a_save_that_was_set_aside_is_told_wherever_the_others_are_sound(run: Path) -> None:
    (run / "checkpoints/step-00000200/state.json").write_bytes(b"{}")
    chosen = newest_verified(run)
    told = in_words(check_saves(run))
    assert "all sound" not in told
    assert told.startswith("1 save was read byte by byte: these are sound. The save of step 200 ")
    assert "was set aside by an earlier resume: state.json" in told
    assert told.endswith("Resume goes on from step 100.")
    why = passed_over(chosen, 207)
    assert why.startswith("The save of step 200 was set aside: state.json")
    assert why.endswith("It goes on from step 100; 107 steps are done again.")
    assert passed_over(newest_verified(run), 207) == ""
    assert "from the start: no save is sound; 1 step is" in passed_over(
        msgspec.structs.replace(chosen, folder=None, step=0), 1
    )


@pytest.mark.parametrize("name", [*SIZES, MANIFEST])
def test_every_flipped_bit_is_found_and_survived(run: Path, name: str) -> None:
    """Of 200 a file none may slip through; a flip that leaves a manifest's meaning is none."""
    victim = run / "checkpoints/step-00000200" / name
    good, dice = victim.read_bytes(), random.Random(name)
    manifest = read_manifest(victim.parent)
    for _ in range(FLIPS):
        bit = dice.randrange(8 * len(good))
        content = bytearray(good)
        content[bit // 8] ^= 1 << bit % 8
        victim.write_bytes(content)
        saves = check_saves(run)
        if saves[-1].verdict == "sound":
            assert name == MANIFEST
            assert read_manifest(victim.parent) == manifest
            continue
        assert saves[-1].verdict == "damaged", bit
        assert name in saves[-1].problems[0]
        assert not is_well(saves)
        assert "goes on from step 100" in in_words(saves)
    choice = newest_verified(run) if saves[-1].verdict == "damaged" else None
    if choice is not None:
        assert choice.step == 100
        assert "step 200 was set aside" in choice.notes[0]
        aside = check_saves(run)[-1]
        assert (aside.verdict, aside.is_set_aside) == ("damaged", True)
        assert is_well(check_saves(run))


@pytest.mark.parametrize("name", [*SIZES, MANIFEST])
def test_every_cut_is_found(run: Path, name: str) -> None:
    victim = run / "checkpoints/step-00000200" / name
    good = victim.read_bytes()
    cuts = {0, 1, len(good) // 2, len(good) - 1, *range(0, len(good), BLOCK)}
    for size in sorted(cuts):
        victim.write_bytes(good[:size])
        found = check_saves(run)[-1]
        assert found.verdict == "damaged", size
        assert name in found.problems[0]
    victim.write_bytes(good + b"\0")
    assert check_saves(run)[-1].verdict == "damaged"


@pytest.mark.parametrize("name", [*SIZES, MANIFEST])
def test_a_missing_file_is_named_and_survived(run: Path, name: str) -> None:
    (run / "checkpoints/step-00000200" / name).unlink()
    found = check_saves(run)[-1]
    assert found.verdict == ("unfinished" if name == MANIFEST else "damaged")
    assert found.problems == [f"{name} is missing."]
    assert newest_verified(run).step == 100


def test_what_a_crash_left_is_told_from_what_counts(run: Path) -> None:
    left = stage(run, 300)
    (left / "half").write_bytes(b"x")
    saves = check_saves(run)
    assert [(each.step, each.verdict) for each in saves][-1] == (300, "unfinished")
    assert is_well(saves)
    assert left.exists()


def test_without_a_sound_one_it_says_so(run: Path) -> None:
    for step in (100, 200):
        shutil.rmtree(run / f"checkpoints/step-{step:08d}")
        (run / f"checkpoints/step-{step:08d}").mkdir()
    assert "None is sound: a resume would begin again." in in_words(check_saves(run))
