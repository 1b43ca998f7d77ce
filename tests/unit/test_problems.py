"""The language of problems: a typo in a file of data is found, and logs of any kind are read."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.diagnosis import ErrorSeen, Evidence, diagnose, logs, problems
from engine.diagnosis.problems import ProblemError, read
from tests.unit.problem_cases import blocks, evidence_of, mixed

SOUND = """
[[problem]]
id = "first"
title = "It is broken."
pattern = ['gone: (?P<what>\\w+)']
when = ["machine.platform in [linux, wsl]", "run.phase != saving"]
likely = ["package.torch >= 2.9"]
cause = "So it is."
remedy = "Mend {match.what}."

[[problem.fix]]
when = ["fix.batch >= 1"]
does = "Halve it."
patch = { "training.per_device_train_batch_size" = "{fix.batch}" }
"""


def test_a_sound_file_is_read() -> None:
    (problem,) = read([SOUND])
    assert (problem.id, problem.code, len(problem.when), len(problem.fixes)) == (
        "first",
        "first",
        2,
        1,
    )


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('id = "first"', 'id = ""', "There is no id"),
        ("gone:", "gone(:", "first: "),
        ("machine.platform in", "machine.plattform in", "no fact machine.plattform"),
        ("run.phase != saving", "run.phase =! saving", "is no condition"),
        ("package.torch >=", "packages.torch >=", "no fact packages.torch"),
        ("fix.batch >=", "fix.batches >=", "no fact fix.batches"),
        ('"{fix.batch}"', '"{fix.bitch}"', "no fact fix.bitch"),
        ("{match.what}", "{match.who}", "no fact match.who"),
        (
            "training.per_device_train_batch_size",
            "training.batch_size",
            "no setting training.batch",
        ),
        ('"It is broken."', '"It is broken"', "title is no sentence"),
        ('cause = "So it is."', 'cause = ""', "cause is no sentence"),
        ('cause = "So it is."', 'cause = "So it is."\nweight = 3', "weight"),
        ('cause = "So it is."', 'cause = "So it is."\nlike = "second"', "like = 'second'"),
        ('cause = "So it is."', 'cause = "So it is."\nfix_like = "x"', "fix_like = 'x'"),
        ("pattern = ['gone: (?P<what>\\w+)']\nwhen", "when", "write why"),
    ],
)
def test_a_typo_is_found(before: str, after: str, words: str) -> None:
    assert before in SOUND
    with pytest.raises(ProblemError, match=words.replace("(", r"\(")):
        read([SOUND.replace(before, after, 1)])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("title =", "titel ="),
        ("likely =", "likly ="),
        ('does = "Halve it."', ""),
        ("pattern = ['gone", "pattern = [3, 'gone"),
    ],
)
def test_a_key_that_is_not_of_the_language_is_found(before: str, after: str) -> None:
    with pytest.raises((msgspec.ValidationError, tomllib.TOMLDecodeError)):
        read([SOUND.replace(before, after, 1)])


def test_an_id_is_given_once() -> None:
    with pytest.raises(ProblemError, match="Not unique: first"):
        read([SOUND, SOUND])


def test_the_files_are_grouped_and_no_pattern_is_there_twice() -> None:
    assert len(list(problems.FOLDER.glob("*.toml"))) >= 8
    said: dict[str, str] = {}
    for problem in problems.load():
        for pattern in problem.patterns:
            owner = said.setdefault(pattern.pattern, problem.id)
            # Only what says another's words more finely has its patterns.
            assert owner == problem.id or problem.when


AFTER_A_SAVE = {
    "training.per_device_train_batch_size", "training.gradient_accumulation_steps",
    "training.gradient_checkpointing", "hardware.safe_mode", "model.attn_implementation",
    "training.precision", "training.eval_steps",
}  # fmt: skip
"""Settings that can be changed once there is a save; see tests/worker/test_patched_resume.py."""


def test_what_cannot_be_changed_after_a_save_is_only_offered_before_one() -> None:
    for problem in problems.load():
        for fix in problem.fixes:
            is_before = any(
                (c.left, c.compare, c.words) == ("run.has_save", "==", ("false",)) for c in fix.when
            )
            assert is_before or set(fix.patch) <= AFTER_A_SAVE, (problem.id, fix.does)


# ---------------------------------------------------------------- weighing


def test_the_last_exception_outweighs_what_was_said_before() -> None:
    log = "\n".join(
        [
            "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            "Traceback (most recent call last):",
            '  File "/x.py", line 1, in f',
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            "a line in between",
            "Traceback (most recent call last):",
            '  File "/y.py", line 1, in g',
            "OSError: [Errno 28] No space left on device",
        ]
    )
    assert [each.id for each in diagnose(evidence_of({"exit": 1, "log": log}))][:1] == ["disk_full"]


def test_an_exit_by_signal_is_weaker_than_any_words() -> None:
    found = diagnose(evidence_of({"exit": -6, "log": "what():  std::bad_alloc"}))
    assert [each.id for each in found] == ["oom_cpu_alloc", "native_abort"]


def test_the_same_words_mean_another_thing_on_another_machine() -> None:
    words = {"error": "RuntimeError", "text": "CUDA error: out of memory"}
    first = {
        (platform, card): diagnose(evidence_of({**words, "platform": platform, "card": card}))[0].id
        for platform in ("linux", "wsl")
        for card in (0.4, 0.99)
    }
    assert first == {
        ("linux", 0.4): "oom_driver_pinned",
        ("linux", 0.99): "oom_driver_pinned",
        ("wsl", 0.4): "pinned_memory_wsl",
        ("wsl", 0.99): "oom_driver_pinned",
    }


def test_what_another_process_raised_is_what_happened() -> None:
    text = (
        "Caught OSError in DataLoader worker process 0.\n"
        "Original Traceback (most recent call last):\n"
        '  File "/x.py", line 3, in fetch\nOSError: [Errno 28] No space left on device'
    )
    found = diagnose(Evidence(errors=(ErrorSeen(type="OSError", text=text),)))
    assert found[0].id == "disk_full"


def test_nothing_is_known_of_nothing() -> None:
    assert diagnose(Evidence()) == []
    assert diagnose(Evidence(exit_code=1)) == []
    assert diagnose(Evidence(exit_code=1, spec={"name": 3}, plan={"peak_bytes": "much"})) == []


# ---------------------------------------------------------------- logs of any kind


def test_a_log_is_read_as_it_was_seen() -> None:
    log = "\x1b[31mred\x1b[0m\r\n 10%|#  | 1/9 [00:01<00:08, 1.0it/s]\rnext\x00\n[rank1]: last"
    assert logs.cleaned(log) == ["red", "next", "last"]


def test_a_chain_is_read_with_its_links() -> None:
    log = """Traceback (most recent call last):
  File "/a.py", line 1, in <module>
    f()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/a.py", line 3, in <module>
acme.errors.Broken: no x
in it

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/a.py", line 5, in <module>
RuntimeError
2026-11-22 22:15:03,412 engine: said later
"""
    (chain,) = logs.read(log).chains
    assert [(e.type, e.text, e.link) for e in chain.errors] == [
        ("KeyError", "'x'", "context"),
        ("Broken", "no x\nin it", "cause"),
        ("RuntimeError", "", ""),
    ]
    assert logs.read(log).lines == ("2026-11-22 22:15:03,412 engine: said later",)


def pieces() -> Iterator[str]:
    yield from blocks("noise.txt")
    yield from (mix.text for mix in mixed())


@given(st.lists(st.one_of(st.sampled_from(list(pieces())), st.text(max_size=80)), max_size=6))
def test_any_log_can_be_read(parts: list[str]) -> None:
    text = "\n".join(parts)
    seen = logs.read(text[len(text) // 3 :])
    assert all(line.strip() for line in seen.lines)
    assert all(chain.errors for chain in seen.chains)
