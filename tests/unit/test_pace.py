"""The watch over the pace: what goes wrong is found with its right name, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contract.lifecycle import Phase
from engine.contract.messages import Finding, PhaseChanged, Record, Step, Telemetry
from engine.contract.validate import check
from engine.diagnosis.pace.change import Evidence
from engine.diagnosis.pace.cures import lighter, say_lighter
from engine.diagnosis.pace.robust import greatest_jump, middle_of, rising, spread
from engine.diagnosis.pace.tempo import Tempo
from engine.diagnosis.pace.turn import CODES
from engine.diagnosis.pace.watch import PaceWatch
from engine.diagnosis.pace.words import Machine
from tests.unit.pace_traces import GIB, MIB, Trace, Trouble, make

RIGHT: dict[str, set[str]] = {
    "spill": {"spill"},
    "throttled": {"throttled"},
    "starved": {"starved"},
    "drift": {"slow_creep", "ram_creep", "card_creep"},
}
WITHIN: dict[str, int] = {"spill": 40, "throttled": 60, "starved": 60, "drift": 350}
"""Steps after its beginning, and for what creeps after it came to 15 %."""
SPEC = {"training": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}}


def watch(**machine: Any) -> PaceWatch:
    return PaceWatch(Machine(**{"platform": "always", "ram_bytes": 32 * GIB, **machine}), SPEC)


def told(trace: Trace) -> list[tuple[int, Finding]]:
    """What is found in an attempt, each with the step at which it is told."""
    watching, step, found = watch(platform=trace.platform), 0, []
    for record in trace.records:
        step = record.step if isinstance(record, Step) else step
        found += [(step, finding) for finding in watching.note(record)]
    return found


def is_found(trace: Trace) -> bool:
    """Only the right thing is told, not too early and in time."""
    begun = [(step, f.code) for step, f in told(trace) if not f.code.endswith("_over")]
    right, last = RIGHT[trace.trouble], trace.onset + WITHIN[trace.trouble]
    early = trace.onset if trace.trouble != "drift" else 0
    return bool(begun) and all(
        code in right and step >= early for step, code in begun
    ) and begun[0][0] <= last  # fmt: skip


# ---------------------------------------------------------------- on hundreds of attempts


# Kept to 5 % and 1 % of as many as FETTLE_TRACES says; a hundred of each take a minute.
TRACES = int(os.environ.get("FETTLE_TRACES", "25"))


@pytest.mark.parametrize("trouble", RIGHT)
def test_of_troubled_attempts_95_in_a_hundred_are_found(trouble: Trouble) -> None:
    missed = [seed for seed in range(TRACES) if not is_found(make(seed, trouble))]
    assert len(missed) <= 0.05 * TRACES, missed


def test_of_healthy_attempts_99_in_a_hundred_are_left_alone() -> None:
    seeds = range(4 * TRACES)
    false = {seed: codes for seed in seeds if (codes := [f.code for _, f in told(make(seed, ""))])}
    assert len(false) <= 0.01 * len(seeds), false


# ---------------------------------------------------------------- one attempt, in numbers


class Run:
    """Steps of a second each, with a sample of telemetry in each."""

    def __init__(self, **machine: Any) -> None:
        self.watch = watch(**machine)
        self.step, self.at = 0, 1_000_000.0
        self.found: list[Finding] = []
        self.pause(Phase.FIRST_STEP)

    def note(self, record: Record) -> None:
        self.found += self.watch.note(record)

    def pause(self, phase: Phase) -> None:
        self.note(PhaseChanged(at=self.at, phase=phase))

    def train(self, steps: int, seconds: float = 1.0, **fields: Any) -> None:
        """``fields`` of either kind; a step has 1 000 tokens unless it says otherwise."""
        for _ in range(steps):
            for tick in range(max(round(seconds), 1)):
                at = self.at + tick * seconds / max(round(seconds), 1)
                self.note(Telemetry(at=at, **_only(Telemetry, CARD | fields)))
            self.step, self.at = self.step + 1, self.at + seconds
            values = {"tokens": 1000, "wait_ms": 1.0, **fields}
            # No two steps are the same.
            uneven = seconds * (1 + 0.01 * (self.step % 3))
            self.note(
                Step(
                    at=self.at, step=self.step, loss=1.0, learning_rate=1e-4,
                    step_ms=1000 * uneven, **_only(Step, values),
                )
            )  # fmt: skip

    @property
    def codes(self) -> list[str]:
        return [finding.code for finding in self.found]


CARD = {
    "vram_used_bytes": 8 * GIB, "vram_total_bytes": 11 * GIB, "gpu_busy_percent": 95.0,
    "gpu_clock_mhz": 1800.0, "gpu_temperature_celsius": 70.0, "gpu_power_watts": 200.0,
    "cpu_percent": 100.0, "ram_used_bytes": 4 * GIB, "gpu_throttle": ["power"],
}  # fmt: skip


def _only(kind: type[Record], fields: dict[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in fields if name in kind.__struct_fields__}


SPILLED = {"vram_used_bytes": 10.95 * GIB, "shared_used_bytes": 1.4 * GIB, "gpu_busy_percent": 9.0}


def test_a_spill_is_told_with_its_size_its_step_its_cost_and_its_cure() -> None:
    run = Run(platform="possible")
    run.train(499, shared_used_bytes=0.1 * GIB)
    run.train(20, seconds=5.0, **SPILLED)
    (found,) = run.found
    assert found.title == (
        "1.3 GiB of the card's memory spilled into RAM since step 500, 5.0 times slower."
    )
    assert found.step == 500
    assert "11.0 GiB are full" in found.cause
    assert "Shared memory 102 MiB → 1.4 GiB" in found.why
    assert "card busy 95 % → 9 %" in found.why
    assert found.patch == {
        "training.per_device_train_batch_size": 2, "training.gradient_accumulation_steps": 4
    }  # fmt: skip
    assert "batch 4 → 2 and accumulation 2 → 4" in found.remedy


def test_what_is_over_is_told_once_with_what_it_cost() -> None:
    run = Run(platform="possible")
    run.train(100, shared_used_bytes=0.1 * GIB)
    run.train(60, seconds=5.0, **SPILLED)
    run.train(200, shared_used_bytes=0.1 * GIB)
    assert run.codes == ["spill", "spill_over"]
    over = run.found[1]
    assert over.severity == "info"
    assert over.step is not None
    assert 160 < over.step < 180
    assert over.cause == "It lasted 5 min, of which 4 min were lost."


def test_without_a_counter_what_torch_holds_beyond_the_card_is_the_spill() -> None:
    run = Run()
    run.train(100, vram_reserved_bytes=7 * GIB)
    run.train(20, seconds=4.0, vram_used_bytes=10.9 * GIB, vram_reserved_bytes=12 * GIB)
    assert run.codes == ["spill"]
    # 5 GiB more are held, 2.9 GiB more are used.
    assert "2.1 GiB" in run.found[0].title


def test_a_spill_from_the_first_step_on_is_seen_without_a_before() -> None:
    run = Run()
    run.train(60, vram_used_bytes=10.9 * GIB, vram_reserved_bytes=12.4 * GIB)
    assert run.codes == ["spill"]
    assert "1.5 GiB" in run.found[0].title
    run.train(60, vram_used_bytes=9 * GIB, vram_reserved_bytes=8 * GIB)
    assert run.codes == ["spill", "spill_over"]


def test_on_linux_a_full_card_is_no_spill() -> None:
    run = Run(platform="never")
    run.train(100)
    run.train(80, seconds=4.0, vram_used_bytes=10.95 * GIB)
    assert run.codes == ["slower"]
    assert run.found[0].severity == "info"


def test_heat_is_told_with_clock_and_temperature() -> None:
    run = Run()
    run.train(200)
    hot = {"gpu_clock_mhz": 1200.0, "gpu_temperature_celsius": 88.0, "gpu_throttle": ["heat"]}
    run.train(40, seconds=1.5, **hot)
    (found,) = run.found
    assert found.code == "throttled"
    assert "It is too hot" in found.cause
    assert "Clock 1800 MHz → 1200 MHz, temperature 70 °C → 88 °C" in found.why
    assert "1.5 times" in found.title


def test_the_power_cap_that_is_always_there_is_no_throttling() -> None:
    run = Run()
    run.train(400, gpu_throttle=["power"])
    assert run.codes == []


def test_waiting_for_data_from_the_beginning_is_told() -> None:
    run = Run()
    run.train(60, wait_ms=400.0)
    (found,) = run.found
    assert (found.code, found.step) == ("starved", 35)
    assert "For 40 % of each step" in found.cause
    run.train(60)
    assert run.codes == ["starved", "starved_over"]


def test_data_that_becomes_slow_is_told_once_though_it_shows_twice() -> None:
    run = Run()
    run.train(100)
    run.train(100, seconds=3.0, wait_ms=2000.0, gpu_busy_percent=30.0)
    assert run.codes == ["starved"]
    assert "3.0 times" in run.found[0].title
    assert "Wait for data 0.00 s → 2.00 s" in run.found[0].why


def test_another_program_on_the_card_is_told_as_such_and_only_after_minutes() -> None:
    run = Run(platform="never")
    run.train(100, vram_process_bytes=7 * GIB)
    game = {"vram_process_bytes": 7 * GIB, "vram_used_bytes": 9.5 * GIB}
    run.train(100, seconds=2.0, **game)
    assert run.codes == []
    run.train(60, seconds=2.0, **game)
    assert run.codes == ["card_shared"]
    assert "1.5 GiB more" in run.found[0].cause


def test_memory_that_leaks_is_told_with_the_hour_at_which_it_is_full() -> None:
    run = Run()
    for minute in range(40):
        run.train(60, ram_used_bytes=round((4 + minute * 0.05) * GIB))
    (found,) = run.found
    assert found.code == "ram_creep"
    assert "3.0 GiB an hour" in found.title
    assert "32.0 GiB are full in" in found.cause


def test_steps_that_creep_are_told() -> None:
    run = Run()
    for tenth in range(60):
        run.train(20, seconds=1.0 + 0.01 * tenth)
    assert run.codes == ["slow_creep"]
    assert "little by little" in run.found[0].title


def test_longer_samples_are_no_slow_down() -> None:
    run = Run()
    for n in range(300):
        run.train(1, seconds=0.5 + n % 7 * 0.4, tokens=500 + n % 7 * 400)
    for _ in range(60):
        run.train(1, seconds=2.9, tokens=2900)
    assert run.codes == []


@pytest.mark.parametrize("phase", [Phase.SAVING, Phase.EVALUATING])
def test_pauses_and_the_step_after_them_do_not_count(phase: Phase) -> None:
    run = Run()
    for n in range(80):
        run.train(4)
        run.pause(phase)
        for second in range(5):
            run.note(Telemetry(at=run.at + second, gpu_busy_percent=0.0, vram_total_bytes=GIB))
        run.at += 5
        run.pause(Phase.TRAINING)
        run.train(1, seconds=2.5 if n else 1.0)
    assert run.codes == []


def test_a_save_after_each_step_does_not_blind_the_watch() -> None:
    run = Run()
    for n in range(200):
        run.train(1, seconds=1.0 if n < 120 else 3.0, wait_ms=1.0 if n < 120 else 2000.0)
        run.pause(Phase.SAVING)
        run.pause(Phase.TRAINING)
    assert run.codes[:1] == ["starved"]


def test_a_few_wild_steps_are_nothing() -> None:
    run = Run()
    for n in range(60):
        run.train(9)
        run.train(1, seconds=6.0 + n % 5)
    assert run.codes == []


def test_a_swing_around_the_bar_is_one_slow_down() -> None:
    run = Run()
    run.train(100)
    for _ in range(30):
        run.train(6, seconds=2.0, wait_ms=1000.0)
        run.train(2, seconds=1.15)
    assert run.codes == ["starved"]


# ---------------------------------------------------------------- whatever comes


numbers = st.one_of(st.none(), st.floats(0, 1e13))


@st.composite
def records(draw: st.DrawFn) -> Iterator[Record]:
    at = draw(st.floats(-1e3, 1e10))
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return PhaseChanged(at=at, phase=draw(st.sampled_from(list(Phase))))
    if kind < 4:
        return Telemetry(
            at=at, vram_used_bytes=draw(numbers), vram_total_bytes=draw(numbers),
            vram_process_bytes=draw(numbers), gpu_busy_percent=draw(numbers),
            gpu_clock_mhz=draw(numbers), ram_used_bytes=draw(numbers), cpu_percent=draw(numbers),
            gpu_throttle=draw(st.sampled_from([None, [], ["heat"], ["heat", "power"]])),
            shared_used_bytes=draw(numbers), gpu_power_watts=draw(numbers),
        )  # fmt: skip
    return Step(
        at=at, step=draw(st.integers(0, 1000)), loss=None, learning_rate=0.0,
        step_ms=draw(st.floats(-1, 1e9)), tokens=draw(st.integers(0, 1 << 30)),
        padded_tokens=draw(st.one_of(st.none(), st.integers(0, 1 << 30))),
        wait_ms=draw(numbers), vram_reserved_bytes=draw(numbers),
        vram_allocated_bytes=draw(numbers),
    )  # fmt: skip


@settings(max_examples=60)
@given(st.lists(records(), min_size=40, max_size=120), st.sampled_from(["never", "always"]))
def test_no_record_breaks_the_watch(some: list[Record], platform: str) -> None:
    """It runs in the host, on which a night depends."""
    watching = watch(platform=platform)
    for record in some:
        for finding in watching.note(record):
            assert finding.code.removesuffix("_over") in CODES


def test_every_finding_has_words() -> None:
    seen: dict[str, Finding] = {}
    for trouble in RIGHT:
        for seed in range(8):
            seen |= {finding.code: finding for _, finding in told(make(seed, trouble))}  # type: ignore[arg-type]
    for finding in seen.values():
        assert finding.title.endswith(".")
        assert finding.cause.endswith(".")
        assert "  " not in f"{finding.title}{finding.cause}{finding.remedy}{finding.why}"
        assert "None" not in f"{finding.title}{finding.cause}{finding.remedy}{finding.why}"


# ---------------------------------------------------------------- parts


def test_one_wild_step_weighs_no_more_than_a_slow_one() -> None:
    evidence = Evidence(0.05, 0.75)
    for _ in range(6):
        evidence.add(True)
    assert not evidence.is_enough
    for _ in range(2):
        evidence.add(True)
    assert evidence.is_enough
    assert evidence.count == 8
    for _ in range(30):
        evidence.add(False)
    assert (evidence.weight, evidence.count) == (0.0, 0)


def test_the_tempo_knows_what_a_token_costs() -> None:
    tempo = Tempo()
    for n in range(160):
        tokens = 1000 + n * 37 % 3000
        tempo.learn(tokens, 0.5 + tokens / 2000)
    tempo.learn(2000, 30.0)
    assert tempo.expected(2000) == pytest.approx(1.5, rel=0.02)
    assert tempo.expected(6000) == pytest.approx(3.5, rel=0.05)
    assert tempo.excess(2000, 3.0) == pytest.approx(0.69, abs=0.03)


def test_statistics_are_not_moved_by_wild_values() -> None:
    assert spread([1.0, 2.0, 3.0, 4.0, 1e9], 3.0) == pytest.approx(1.48, abs=0.01)
    assert middle_of([None, 3.0, 1.0, None, 2.0]) == 2.0
    assert middle_of([None]) is None
    assert (rising([1, 2, 3, 4]), rising([4, 3, 2, 1]), rising([1])) == (1.0, -1.0, 0.0)
    assert greatest_jump([1.0, 3.0, 2.0, 2.5]) == 2.0


@pytest.mark.parametrize(
    ("training", "patch"),
    [
        ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}, (4, 2)),
        ({"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}, (1, 6)),
        ({}, (1, 8)),
    ],
)
def test_a_lighter_batch_is_the_same_training(
    training: dict[str, int], patch: tuple[int, int]
) -> None:
    spec = {"training": training}
    assert tuple(lighter(spec).values()) == patch
    assert "the same training" in say_lighter(spec)


def test_without_a_batch_to_halve_checkpointing_is_what_is_left() -> None:
    bare = {"training": {"per_device_train_batch_size": 1, "gradient_checkpointing": "none"}}
    assert lighter(bare) == {"training.gradient_checkpointing": "full"}
    bare["training"]["gradient_checkpointing"] = "full"
    assert lighter(bare) == {}
    assert "max_length" in say_lighter(bare)


def test_a_cure_is_a_sound_spec() -> None:
    raw: dict[str, Any] = {
        "name": "x", "model": {"path": "m"}, "dataset": {"path": "d.json"}, **SPEC
    }  # fmt: skip
    for field, value in lighter(raw).items():
        table, name = field.split(".")
        raw[table][name] = value
    spec, complaints = check(raw)
    assert spec
    assert not complaints
    assert MIB < GIB
