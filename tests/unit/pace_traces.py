"""Made-up attempts, step by step and second by second, for tests of the pace: healthy ones with all
that makes ordinary steps uneven, and ones in which something goes wrong from a known step on.

Nothing here knows how anything is found: it describes machines. All numbers come from the seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from engine.contract.lifecycle import Phase
from engine.contract.messages import PhaseChanged, Record, Step, Telemetry

Trouble = Literal["", "spill", "throttled", "starved", "drift"]
GIB, MIB = 1 << 30, 1 << 20
_LEAKS = {"time": "", "ram": "ram", "card": "card", "both": "ram"}


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt and what is wrong with it."""

    seed: int
    trouble: Trouble
    onset: int
    """The first step of the trouble; for what creeps, the one by which it is worth a word."""
    platform: Literal["never", "possible", "always"]
    records: list[Record]
    about: dict[str, Any]


def make(seed: int, trouble: Trouble) -> Trace:
    """The attempt of a seed."""
    return _Attempt(seed, trouble).trace()


class _Attempt:
    def __init__(self, seed: int, trouble: Trouble) -> None:
        self.seed, self.trouble = seed, trouble
        self.dice = random.Random(f"{seed}-{trouble}")
        self.records: list[Record] = []
        self.at, self.step = 1_790_000_000.0 + seed, 0
        self.began = self.at
        self._choose_machine()
        self._choose_data()
        self._choose_disturbances()
        self._choose_trouble()

    # ------------------------------------------------------------ what it is

    def _choose_machine(self) -> None:
        dice = self.dice
        kinds = ("windows", "wsl") if self.trouble == "spill" else ("linux", "windows", "wsl")
        self.kind = dice.choice(kinds)
        self.vram = dice.choice((6, 8, 11, 12, 16, 24)) * GIB
        top = 0.98 if self.kind == "linux" else 0.955
        self.used = dice.uniform(0.45, top - 0.03) * self.vram
        self.others = dice.uniform(0.1, 1.2) * GIB
        self.others = min(self.others, 0.3 * self.used)
        self.room = top * self.vram - self.used
        self.busy = dice.choice((dice.uniform(88, 99), dice.uniform(45, 88)))
        self.cpu = dice.uniform(60, 130)
        self.clock = dice.uniform(1300, 2700)
        self.temperature = dice.uniform(58, 79)
        self.power = dice.uniform(80, 400)
        self.tells = {
            "busy": self.kind != "wsl" or dice.random() < 0.5,
            "process": self.kind == "linux",
            "clock": dice.random() < 0.85,
            "reasons": dice.random() < 0.8,
            "temperature": dice.random() < 0.95,
            "power": dice.random() < 0.9,
            "shared": self.kind == "windows" and dice.random() < 0.8,
            "wait": dice.random() < 0.8,
            "padded": dice.random() < 0.7,
            "torch": dice.random() < 0.95,
        }
        self.ram = dice.uniform(2, 14) * GIB
        self.fills = (dice.uniform(0.05, 1.2) * GIB, dice.uniform(20, 300))

        if self.trouble == "starved" and not self.tells["wait"]:
            # Where nobody tells of it at all, nobody can know.
            self.tells["busy"] = True

    def _choose_data(self) -> None:
        dice = self.dice
        self.seconds = math.exp(dice.uniform(math.log(0.25), math.log(5)))
        if self.trouble == "drift":
            self.seconds = dice.uniform(1.0, 4.0)
        self.is_packed = dice.random() < 0.35
        self.rows = dice.choice((4, 8, 16, 32))
        self.length_sigma = dice.uniform(0.2, 0.8)
        self.fixed = dice.uniform(0.0, 0.6)
        self.curved = dice.uniform(0.0, 0.25)
        self.noise = dice.uniform(0.006, 0.05)
        self.spikes = dice.uniform(0.0, 0.02)
        self.steps = dice.randint(280, 520)

    def _choose_disturbances(self) -> None:
        dice = self.dice
        self.eval_every = dice.choice((0, 0, 25, 50, 100))
        self.save_seconds = dice.choice((0, 60, 120, 300))
        self.saved_at = self.at
        self.warm_loss, self.warm_time = dice.uniform(0.0, 0.05), dice.uniform(60, 200)
        self.first_factor = dice.uniform(3, 60)
        self.compiles = dice.uniform(0, 0.08)
        self.burst_gap = dice.choice((math.inf, dice.uniform(90, 600)))
        self.burst_end, self.burst_factor, self.burst_bytes = 0.0, 1.0, 0.0
        self.next_burst = self.at + dice.expovariate(1 / self.burst_gap) if (
            self.burst_gap < math.inf) else math.inf  # fmt: skip

    def _choose_trouble(self) -> None:
        dice = self.dice
        self.about: dict[str, Any] = {"kind": self.kind, "tells": self.tells}
        self.onset = dice.randint(70, self.steps - 140)
        if self.trouble:
            self.steps = self.onset + dice.randint(70, 120)
        factors = {"spill": (1.6, 25), "throttled": (1.3, 4), "starved": (1.35, 6)}
        low, high = factors.get(self.trouble, (1, 1))
        self.factor = math.exp(dice.uniform(math.log(low), math.log(high))) if high > 1 else 1.0
        self.ramp_steps = dice.choice((0, 0, 3, 10))
        self.spill_bytes = dice.uniform(0.4, 5) * GIB
        self.spill_hides = dice.random() < 0.3
        self.spill_way = dice.choice(("own", "others"))
        self.heat = dice.choice(("heat", "heat", "power", "power_supply"))
        self.swings = dice.random() < 0.3
        if self.trouble == "throttled" and not self.tells["clock"]:
            # Nobody can know of it who is told neither the clock nor a reason beyond the usual.
            self.tells["reasons"], self.heat = True, dice.choice(("heat", "power_supply"))
        if self.trouble == "drift":
            self._choose_drift()

    def _choose_drift(self) -> None:
        dice = self.dice
        self.leaks = dice.choice(("time", "ram", "both", "card"))
        self.steps = dice.randint(600, 900)
        begin = dice.randint(0, 60)
        self.drift_begin = begin
        # From 15 % on, reached somewhere in the first half, it is worth a word.
        self.onset = dice.randint(begin + 140, self.steps // 2)
        self.drift_a_step = 0.15 / (self.onset - begin)
        self.leak_an_hour = dice.uniform(3, 12) * GIB
        self.about |= {"leaks": self.leaks}
        if self.leaks == "card":
            # Room to leak into: a card that is full spills, which is another trouble.
            self.vram, self.used = 48 * GIB, dice.uniform(8, 24) * GIB
            self.tells["torch"] = True
        if self.leaks not in ("time", "both"):
            # Memory is looked at by the quarter of an hour.
            seconds = 1020 + max(0.6 * GIB / self.leak_an_hour * 3600 - 900, 0)
            self.onset = round(seconds / self.seconds)
            self.steps = max(self.steps, self.onset + 400)

    # ------------------------------------------------------------ how it goes

    def trace(self) -> Trace:
        self._phase(Phase.FIRST_STEP)
        for step in range(1, self.steps + 1):
            self.step = step
            self._train()
            if self.eval_every and self.step % self.eval_every == 0:
                self._pause(Phase.EVALUATING, self.dice.uniform(2, 25), busy=70)
            if self.save_seconds and self.at - self.saved_at >= self.save_seconds:
                self._pause(Phase.SAVING, self.dice.uniform(0.3, 6), busy=5)
                self.saved_at = self.at
        platforms = {"linux": "never", "windows": "possible", "wsl": "always"}
        self.about |= {"factor": self.factor, "seconds": self.seconds, "noise": self.noise}
        return Trace(
            seed=self.seed, trouble=self.trouble, onset=self.onset,
            platform=platforms[self.kind],  # type: ignore[arg-type]
            records=self.records, about=self.about,
        )  # fmt: skip

    def _phase(self, phase: Phase) -> None:
        self.records.append(PhaseChanged(at=self.at, phase=phase))
        self.is_cold = True

    def _pause(self, phase: Phase, seconds: float, busy: float) -> None:
        self._phase(phase)
        self._pass(seconds, busy=busy, cpu=100, wait_share=0.0)
        self._phase(Phase.TRAINING)

    def _train(self) -> None:
        tokens, padded = self._tokens()
        usual = self.seconds * self._work(padded) * self._ordinary_factor()
        severity = self._severity()
        wait = usual * self.dice.uniform(0.0, 0.01) if self.trouble != "starved" else 0.0
        seconds = usual * self._slow_factor(severity) + wait
        if self.trouble == "starved":
            wait = usual * (self.factor - 1) * severity * self.dice.lognormvariate(0, 0.3)
            seconds = usual + wait
        self._pass(seconds, busy=self._busy(severity), cpu=self._cpu(severity),
                   wait_share=wait / seconds)  # fmt: skip
        self.is_cold = False
        self._tell_step(tokens, padded, seconds, wait, severity)

    def _tokens(self) -> tuple[int, int]:
        if self.is_packed:
            tokens = round(self.rows * 2000 * self.dice.uniform(0.985, 1.0))
            return tokens, self.rows * 2000
        lengths = [
            min(2000, round(600 * self.dice.lognormvariate(0, self.length_sigma)))
            for _ in range(self.rows)
        ]
        pairs = zip(lengths[::2], lengths[1::2], strict=True)
        return sum(lengths), sum(2 * max(pair) for pair in pairs)

    def _work(self, padded: int) -> float:
        """A step's work, 1 for an ordinary one: a fixed part, one that grows with tokens, and
        attention's, which grows faster."""
        size = padded / (self.rows * (2000 if self.is_packed else 750))
        return self.fixed + (1 - self.fixed) * ((1 - self.curved) * size + self.curved * size**2)

    def _ordinary_factor(self) -> float:
        dice, passed = self.dice, self.at - self.began
        factor = dice.lognormvariate(0, self.noise)
        factor *= 1 + self.warm_loss * (1 - math.exp(-passed / self.warm_time))
        if self.step == 1:
            factor *= self.first_factor
        elif self.step < 40 and dice.random() < self.compiles:
            factor *= dice.uniform(2, 10)
        if dice.random() < self.spikes:
            factor *= dice.uniform(1.2, 4)
        if self.is_cold:
            factor *= dice.uniform(1.0, 1.8)
        return factor * self._burst()

    def _burst(self) -> float:
        """Somebody at the computer: seconds to a minute at a time."""
        if self.at >= self.next_burst:
            self.burst_end = self.at + self.dice.uniform(3, 50)
            self.burst_factor = self.dice.uniform(1.03, 1.6)
            self.burst_bytes = min(self.dice.uniform(50, 700) * MIB, self.room)
            self.next_burst = self.burst_end + self.dice.expovariate(1 / self.burst_gap)
        if self.at < self.burst_end:
            return self.burst_factor * self.dice.uniform(0.9, 1.1)
        self.burst_bytes = 0.0
        return 1.0

    # ------------------------------------------------------------ what goes wrong

    def _severity(self) -> float:
        """0 before the trouble, 1 with all of it."""
        if self.trouble in ("", "drift") or self.step < self.onset:
            return 0.0
        return min(1.0, (self.step - self.onset + 1) / (self.ramp_steps + 1))

    def _slow_factor(self, severity: float) -> float:
        if self.trouble == "drift":
            grown = max(self.step - self.drift_begin, 0) * self.drift_a_step
            return 1 + grown if self.leaks in ("time", "both") else 1.0
        full = self.factor
        if self.trouble == "spill" and severity:
            full *= self.dice.lognormvariate(0, 0.2)
        if self.trouble == "throttled" and self.swings and math.sin(self.at / 3) > 0.5:
            full = 1 + (full - 1) * 0.3
        return max(1 + (full - 1) * severity, 0.9)

    def _busy(self, severity: float) -> float:
        busy = self.busy
        if self.trouble == "spill" and not self.spill_hides:
            busy *= 1 - severity * min(0.85, 0.35 + 0.1 * self.factor)
        return busy

    def _cpu(self, severity: float) -> float:
        return self.cpu + (60 * severity if self.trouble in ("starved", "spill") else 0)

    # ------------------------------------------------------------ what is told

    def _pass(self, seconds: float, *, busy: float, cpu: float, wait_share: float) -> None:
        end = self.at + seconds
        if self.is_cold and self.step <= 1:
            busy *= 0.3
        while math.floor(self.at) + 1 <= end:
            self.at = math.floor(self.at) + 1.0
            if self.dice.random() > 0.01:
                self._tell_sample(busy * (1 - wait_share), cpu)
        self.at = end

    def _tell_sample(self, busy: float, cpu: float) -> None:
        dice, severity, passed = self.dice, self._severity(), self.at - self.began
        tells, gauss = self.tells, dice.gauss
        fields: dict[str, Any] = {}
        if tells["busy"]:
            fields["gpu_busy_percent"] = min(100.0, max(0.0, gauss(busy, 4)))
        if tells["temperature"]:
            heat = 14 if self.trouble == "throttled" and self.heat == "heat" else 0
            warm = 1 - math.exp(-passed / self.warm_time)
            top = min(self.temperature + heat * severity, 94)
            fields["gpu_temperature_celsius"] = round(35 + (top - 35) * warm + gauss(0, 0.7))
        fields |= self._clock_fields(severity)
        ram = self.ram + self.fills[0] * (1 - math.exp(-passed / self.fills[1])) + self._leak("ram")
        self.records.append(
            Telemetry(
                at=self.at, ram_used_bytes=round(ram + gauss(0, 8 * MIB)),
                cpu_percent=max(0.0, gauss(cpu, 6)), vram_total_bytes=self.vram,
                **self._memory_fields(severity), **fields,
            )
        )  # fmt: skip

    def _leak(self, what: str) -> float:
        if self.trouble != "drift" or what not in _LEAKS[self.leaks]:
            return 0.0
        return self.leak_an_hour * (self.at - self.began) / 3600

    def _clock_fields(self, severity: float) -> dict[str, Any]:
        throttled = self.trouble == "throttled" and severity > 0
        slow = 1 + (self.factor - 1) * severity if throttled else 1.0
        if throttled and self.swings and math.sin(self.at / 3) > 0.5:
            slow = 1 + (slow - 1) * 0.3
        fields: dict[str, Any] = {}
        warm = 1 - 0.8 * self.warm_loss * (1 - math.exp(-(self.at - self.began) / self.warm_time))
        if self.tells["clock"]:
            fields["gpu_clock_mhz"] = round(self.clock * warm / slow * self.dice.gauss(1, 0.008))
        if self.tells["power"]:
            fields["gpu_power_watts"] = self.power / slow**0.7 * self.dice.gauss(1, 0.03)
        if self.tells["reasons"]:
            reasons = ["power"] if self.dice.random() < 0.7 else []
            if throttled and slow > 1.1 and self.dice.random() < 0.95:
                reasons = list(dict.fromkeys([*reasons, self.heat]))
            fields["gpu_throttle"] = reasons
        return fields

    def _spills(self) -> bool:
        return self.trouble == "spill" and self.step >= self.onset

    def _memory_fields(self, severity: float) -> dict[str, Any]:
        used = self.used + self.burst_bytes + self._leak("card")
        shared = 90 * MIB + self.dice.gauss(0, 2 * MIB)
        if self._spills():
            used = self.vram * (0.995 - 0.012 * self.dice.random())
            shared += self.spill_bytes * severity
        fields: dict[str, Any] = {"vram_used_bytes": round(min(used, 0.999 * self.vram))}
        if self.tells["shared"]:
            fields["shared_used_bytes"] = round(shared)
        if self.tells["process"]:
            fields["vram_process_bytes"] = round(used - self.others - self.burst_bytes)
        elif self.kind == "wsl" and self.dice.random() < 0.5:
            fields["vram_process_bytes"] = 1 << 34
        return fields

    def _tell_step(
        self, tokens: int, padded: int, seconds: float, wait: float, severity: float
    ) -> None:
        held = self.used - self.others - 0.4 * GIB + self._leak("card")
        if self._spills() and self.spill_way == "own":
            held += (self.vram - self.used) + self.spill_bytes * severity
        torch = {
            "vram_reserved_bytes": round(max(held, GIB)),
            "vram_allocated_bytes": round(max(0.9 * held, 0.9 * GIB)),
        }
        self.records.append(
            Step(
                at=self.at, step=self.step, loss=1.2, learning_rate=1e-4, grad_norm=0.7,
                step_ms=1000 * seconds, tokens=tokens,
                padded_tokens=padded if self.tells["padded"] else None,
                wait_ms=1000 * wait if self.tells["wait"] else None,
                **(torch if self.tells["torch"] else {}),
            )
        )  # fmt: skip


def traces(trouble: Trouble, seeds: range) -> Iterator[Trace]:
    """One a seed."""
    return (make(seed, trouble) for seed in seeds)
