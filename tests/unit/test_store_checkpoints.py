"""Checkpoints: a broken one is never chosen, the last good ones stay, whatever the disk does."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.store import manifest as manifests
from engine.store import staging
from engine.store.checkpoints import NewerCheckpoint, newest_verified, published
from engine.store.manifest import MANIFEST, read_manifest, verify
from engine.store.rotation import best, rotate
from engine.store.staging import CheckpointError, NoRoom, publish, stage, write_file


def save(run: Path, step: int, content: bytes = b"weights", **fields: object) -> Path:
    staging = stage(run, step)
    (staging / "model.safetensors").write_bytes(content * 10)
    (staging / "state").mkdir()
    (staging / "state" / "rng.json").write_bytes(b'{"seed": 1}')
    return publish(staging, step=step, fields=fields)


def make_newer(folder: Path) -> None:
    """Let the manifest be one of the next format, with something that nobody knows yet."""
    raw = msgspec.json.decode((folder / MANIFEST).read_bytes())
    raw |= {"format": manifests.FORMAT + 1, "shards": [1, 2], "digest": ""}
    raw["digest"] = hashlib.sha256(msgspec.json.encode(raw, order="sorted")).hexdigest()
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(raw), indent=2))


def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fills with the name of every file that is read to be hashed."""
    names: list[str] = []
    real = manifests.hash_of

    def counting(path: Path) -> str:
        names.append(path.name)
        return real(path)

    for module in (manifests, staging):
        monkeypatch.setattr(module, "hash_of", counting)
    return names


def test_a_published_checkpoint_is_sound_and_carries_its_fields(tmp_path: Path) -> None:
    folder = save(tmp_path, 200, cursor=1600, versions={"torch": "2.13"})
    assert folder == tmp_path / "checkpoints" / "step-00000200"
    assert verify(folder) == []
    manifest = read_manifest(folder)
    assert manifest.fields == {"cursor": 1600, "versions": {"torch": "2.13"}}
    assert set(manifest.files) == {"model.safetensors", "state/rng.json"}
    assert [p.name for p in folder.parent.iterdir()] == ["step-00000200"]


def test_missing_resized_and_changed_files_are_named(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    weights = folder / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good + b"x")
    assert verify(folder) == ["model.safetensors has 71 bytes instead of 70."]
    weights.write_bytes(b"W" + good[1:])
    assert verify(folder) == ["model.safetensors has changed since it was saved."]
    weights.unlink()
    assert verify(folder) == ["model.safetensors is missing."]


def test_a_manifest_that_is_gone_torn_or_newer_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    manifest = folder / MANIFEST
    good = manifest.read_bytes()
    manifest.write_bytes(good[: len(good) // 2])
    assert "damaged" in verify(folder)[0]
    manifest.write_bytes(good)
    make_newer(folder)
    assert "newer Fettle" in verify(folder)[0]
    manifest.unlink()
    assert verify(folder) == ["MANIFEST.json is missing."]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    victim=st.sampled_from([MANIFEST, "model.safetensors", "state/rng.json"]),
    at=st.integers(0, 1 << 20),
)
def test_any_flipped_bit_anywhere_is_noticed(tmp_path: Path, victim: str, at: int) -> None:
    folder = save(tmp_path, 1, cursor=12345, loss=0.25)
    before = read_manifest(folder)
    content = bytearray((folder / victim).read_bytes())
    content[at // 8 % len(content)] ^= 1 << (at % 8)
    (folder / victim).write_bytes(content)
    # A flip in the manifest's white space or in an escape may leave its meaning untouched.
    assert verify(folder) or (victim == MANIFEST and read_manifest(folder) == before)
    shutil.rmtree(folder)


def test_a_manifest_cannot_point_outside(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    (tmp_path / "secret").write_bytes(b"s")
    manifest = read_manifest(folder)
    entry = next(iter(manifest.files.values()))
    evil = msgspec.structs.replace(manifest, files={"../../secret": entry})
    evil = msgspec.structs.replace(evil, digest=manifests.digest_of(msgspec.to_builtins(evil)))
    (folder / MANIFEST).write_bytes(msgspec.json.encode(evil))
    assert verify(folder) == ["../../secret lies outside the checkpoint."]


def test_the_newest_sound_one_is_chosen_and_broken_ones_are_set_aside(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save(tmp_path, step)
    (tmp_path / "checkpoints" / "step-00000015" / MANIFEST).unlink()
    (tmp_path / "checkpoints" / "step-00000010" / "model.safetensors").write_bytes(b"")
    choice = newest_verified(tmp_path)
    assert (choice.step, choice.folder) == (5, tmp_path / "checkpoints" / "step-00000005")
    assert len(choice.notes) == 2
    assert "step 15" in choice.notes[0]
    names = {p.name for p in (tmp_path / "checkpoints").iterdir()}
    assert names == {"step-00000005", ".broken-step-00000015-1", ".broken-step-00000010-1"}


def test_one_of_a_newer_fettle_is_neither_chosen_nor_set_aside(tmp_path: Path) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    make_newer(newer)
    with pytest.raises(NewerCheckpoint, match="Update Fettle"):
        newest_verified(tmp_path)
    assert [folder for _, folder in published(tmp_path)] == [older, newer]
    latest = save(tmp_path, 3)
    assert newest_verified(tmp_path).folder == latest


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_in_the_format_is_damage_and_no_newer_version(
    tmp_path: Path, bit: int
) -> None:
    save(tmp_path, 1)
    damaged = save(tmp_path, 2) / MANIFEST
    content = bytearray(damaged.read_bytes())
    content[content.index(b'"format": 1') + len(b'"format": ')] ^= 1 << bit
    damaged.write_bytes(content)
    choice = newest_verified(tmp_path)
    assert choice.step == 1
    assert "step 2 was set aside: MANIFEST.json is damaged" in choice.notes[0]


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert newest_verified(tmp_path).folder is None


def test_steps_beyond_eight_digits_keep_their_order(tmp_path: Path) -> None:
    save(tmp_path, 99_999_999)
    save(tmp_path, 100_000_000)
    assert newest_verified(tmp_path).step == 100_000_000


def test_the_same_step_again_replaces_the_older_one(tmp_path: Path) -> None:
    save(tmp_path, 7, b"old")
    folder = save(tmp_path, 7, b"new")
    assert (folder / "model.safetensors").read_bytes() == b"new" * 10
    assert [p.name for p in folder.parent.iterdir()] == ["step-00000007"]


def test_a_replacement_cut_in_half_is_taken_back(tmp_path: Path) -> None:
    folder = save(tmp_path, 7)
    folder.rename(folder.with_name(".replaced-step-00000007"))
    assert newest_verified(tmp_path).step == 7


def test_a_replacement_that_is_refused_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 7, b"older")
    real = staging.rename

    def rename(source: Path, target: Path, **_options: object) -> None:
        if source.name.startswith(".staging"):
            raise PermissionError(errno.EACCES, "in use", str(target))
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(staging, "rename", rename)
        with pytest.raises(CheckpointError):
            save(tmp_path, 7, b"newer")
    [(step, folder)] = published(tmp_path)
    assert step == 7
    assert verify(folder) == []
    assert (folder / "model.safetensors").read_bytes() == b"older" * 10


def test_leftovers_of_a_crash_are_removed_by_the_next_save(tmp_path: Path) -> None:
    left = stage(tmp_path, 3)
    (left / "half").write_bytes(b"x")
    left.rename(left.with_name(".staging-3-1"))
    stage(tmp_path, 4)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == [f".staging-4-{os.getpid()}"]


@pytest.mark.parametrize("is_cut_in_half", [False, True])
def test_what_was_replaced_is_removed_by_the_next_save_or_taken_back(
    tmp_path: Path, is_cut_in_half: bool
) -> None:
    """A crash came after the older save got out of the way, before or after it was removed."""
    folder = save(tmp_path, 3)
    replaced = folder.with_name(".replaced-step-00000003")
    if is_cut_in_half:
        folder.rename(replaced)
    else:
        shutil.copytree(folder, replaced)
    save(tmp_path, 4)
    assert sorted(p.name for p in folder.parent.iterdir()) == ["step-00000003", "step-00000004"]
    assert verify(folder) == []


def test_leftovers_that_cannot_be_removed_do_not_hinder_a_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = stage(tmp_path, 3)
    (left / "held").write_bytes(b"x")
    left.rename(left.with_name(".removed-step-00000003-1"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", _refusing)
        save(tmp_path, 4)
    assert newest_verified(tmp_path).step == 4


def _refusing(path: object, **_options: object) -> None:
    raise PermissionError(errno.EACCES, "held by another program")


@pytest.mark.parametrize("keep", [2, 3])
def test_rotation_keeps_the_newest_by_step_and_the_best(tmp_path: Path, keep: int) -> None:
    for step in (30, 10, 20, 40, 50):
        save(tmp_path, step, eval_loss={10: 0.5, 20: 0.7}.get(step))
    os.utime(tmp_path / "checkpoints" / "step-00000050", (0, 0))
    removed = rotate(tmp_path, keep)
    left = [step for step, _ in published(tmp_path)]
    assert left == sorted([10, 50, 40, 30][: keep + 1])
    assert sorted(removed + left) == [10, 20, 30, 40, 50]


def test_the_best_is_the_first_with_the_lowest_loss_that_is_known(tmp_path: Path) -> None:
    assert best(published(tmp_path)) is None
    for step, loss in ((1, None), (2, 0.9), (3, 0.4), (4, 0.4), (5, 0.6)):
        save(tmp_path, step, eval_loss=loss)
    assert best(published(tmp_path)) == 3
    (tmp_path / "checkpoints" / "step-00000003" / MANIFEST).write_bytes(b"")
    assert best(published(tmp_path)) == 4


def test_rotation_never_removes_the_last_two_sound_ones(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    for step in (3, 4, 5):
        (tmp_path / "checkpoints" / f"step-{step:08d}" / "model.safetensors").unlink()
    rotate(tmp_path, 2)
    assert newest_verified(tmp_path).step == 2
    assert verify(tmp_path / "checkpoints" / "step-00000001") == []


def test_rotation_after_each_save_never_leaves_less_than_two(tmp_path: Path) -> None:
    for step in range(1, 8):
        save(tmp_path, step)
        rotate(tmp_path, 1)
        assert len(published(tmp_path)) == min(step, 2)


def test_a_full_disk_gives_a_sentence_and_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    staging = stage(tmp_path, 2)

    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(CheckpointError, match=r"is full .*Free some space"):
        publish(staging, step=2, fields={})
    monkeypatch.undo()
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(NoRoom, match="GiB free"):
        stage(tmp_path, 1, needs_bytes=1 << 60)
    # Some stays free for the records of the run.
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(NoRoom, match="stay free"):
        stage(tmp_path, 1, needs_bytes=free - (1 << 20))
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_disk_that_swallows_bytes_is_found_out(tmp_path: Path) -> None:
    staging = stage(tmp_path, 1)
    meant = write_file(staging / "a", [b"abc", b"def"])
    (staging / "a").write_bytes(b"abc")
    with pytest.raises(CheckpointError, match="did not keep"):
        publish(staging, step=1, fields={}, hashes={"a": meant})
    assert published(tmp_path) == []


def test_a_save_reads_its_bytes_once_if_their_hashes_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = hashed(monkeypatch)
    staging = stage(tmp_path, 1)
    meant = write_file(staging / "a", [b"abc"])
    (staging / "b").write_bytes(b"unknown")
    publish(staging, step=1, fields={}, hashes={"a": meant})
    assert sorted(names) == ["a", "b", "b"]


def test_rotation_does_not_hash_again_what_was_just_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    names = hashed(monkeypatch)
    assert rotate(tmp_path, 2, verified={3, 4}) == [2, 1]
    assert names == []


def test_rotation_trusts_no_save_that_has_lost_something_since(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    (tmp_path / "checkpoints" / "step-00000004" / "model.safetensors").write_bytes(b"short")
    assert rotate(tmp_path, 2, verified={3, 4}) == [1]
    assert [step for step, _ in published(tmp_path)] == [2, 3, 4]


def test_a_file_that_is_not_there_was_not_kept(tmp_path: Path) -> None:
    staging = stage(tmp_path, 1)
    (staging / "b").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="did not keep"):
        publish(staging, step=1, fields={}, hashes={"a": "0" * 64})


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    staging = stage(tmp_path, 1)
    meant = write_file(staging / "a", [b"0123456789"])
    publish(staging, step=1, fields={}, hashes={"a": meant})
    assert newest_verified(tmp_path).step == 1


def test_a_folder_without_permission_gives_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file in the way")
    with pytest.raises(CheckpointError, match="cannot be written"):
        stage(tmp_path, 1)
