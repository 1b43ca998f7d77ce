"""Data that is far larger than the memory it may take: preview, reading, tokenising, cancel, and
what is found in it after that.

    python tests/bench/big_data.py [--gigabytes 10] [--data ../shared/data] [--tokenised 1.0]
                                   [--model FOLDER] [--list] [--out FILE]

A JSONL of that size (with ``--list`` a JSON list) is generated and removed at the end; of it the
first ``--tokenised`` gigabytes become tokens, through the real command line and host, whose
processes' memory is watched. Exit code 1 if a goal that does not depend on the machine is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from after_tokens import after_tokens
from measure import PYTHON, ROOT, fettle, machine, private_home
from tokenising import in_turn, library, texts_of

GB = 10**9
PREVIEW_SECONDS, READ_MB, RSS_MB, SHARE, CANCEL_SECONDS = 1.0, 150, 600, 0.9, 1.0
AFTER_SECONDS = 14.0
"""CPU seconds of figures and findings for a gigabyte, once it is tokens."""


# ---------------------------------------------------------------- data


def conversations(folder: Path | None) -> list[dict[str, str]]:
    """Real rows where there are some, else words."""
    if folder and (folder / "alpaca_en_demo.json").exists():
        rows: list[dict[str, str]] = json.loads(
            (folder / "alpaca_en_demo.json").read_text(encoding="utf-8")
        )
        return rows
    text = "the river ran over stones and a small red boat went by under the old bridge"
    words = text.split()
    return [
        {"instruction": f"Tell {words[i % 15]} {i}", "input": "",
         "output": " ".join(words[(i * 7 + k * k) % 15] for k in range(20 + i * 13 % 280))}
        for i in range(1000)
    ]  # fmt: skip


def generate(path: Path, size: int, rows: list[dict[str, str]], *, is_list: bool) -> int:
    """Write a file of about ``size`` bytes, each row its own; gives the number of rows."""
    between = b",\n" if is_list else b"\n"
    written = number = 0
    with path.open("wb", buffering=1 << 22) as file:
        file.write(b"[\n" if is_list else b"")
        while written < size:
            row = {**rows[number % len(rows)], "id": number}
            row["instruction"] = f"{number}. {row['instruction']}"
            data = json.dumps(row, ensure_ascii=False).encode()
            written += file.write(between + data if number else data)
            number += 1
        file.write(b"\n]" if is_list else b"\n")
    return number


# ---------------------------------------------------------------- memory


class Watch:
    """The most memory that each kind of process took, of all that have this home."""

    def __init__(self, home: Path) -> None:
        self._home = str(home)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most: dict[str, dict[str, int]] = {}
        self.cpu: dict[int, float] = {}
        """Seconds that each helper has used."""

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        kinds: dict[int, str] = {}
        while not self._ended.wait(0.25):
            for process in psutil.process_iter():
                try:
                    if process.pid not in kinds:
                        ours = process.environ().get("FETTLE_HOME") == self._home
                        kinds[process.pid] = _kind(process.cmdline()) if ours else ""
                    if kind := kinds[process.pid]:
                        self._note(kind, process)
                except psutil.Error:
                    continue

    def _note(self, kind: str, process: psutil.Process) -> None:
        memory = process.memory_info()
        most = self.most.setdefault(kind, {"rss_mb": 0, "anonymous_mb": 0})
        most["rss_mb"] = max(most["rss_mb"], memory.rss >> 20)
        most["anonymous_mb"] = max(most["anonymous_mb"], (memory.rss - memory.shared) >> 20)
        if kind == "tokenise":
            times = process.cpu_times()
            self.cpu[process.pid] = times.user + times.system


def _kind(command: list[str]) -> str:
    found = [name for name in ("host", "work", "tokenise") if name in command]
    return found[0] if found else "command line" if "engine.cli" in command else "other"


# ---------------------------------------------------------------- what is measured


def previewed(path: Path) -> dict[str, Any]:
    """Of a new process, whose cache of the file is as it is."""
    code = (
        "import sys, time; from engine.formats import preview\n"
        "began = time.perf_counter(); found = preview(sys.argv[1])\n"
        "seconds = time.perf_counter() - began\n"
        "import json; print(json.dumps([seconds, found['format'], found['row_estimate'] "
        "or found['row_count']]))"
    )
    done = subprocess.run(
        [PYTHON, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, name, rows = json.loads(done.stdout)
    return {"seconds": round(seconds, 3), "format": name, "rows_told": rows}


def _read(path: str, first: int, step: int) -> tuple[int, float, float, float]:
    """Every ``step``-th run of the file as examples, as the helpers share them: how many, the CPU
    seconds, and from and up to when."""
    from engine.contract.spec import DatasetSpec
    from engine.formats.reading import open_dataset

    dataset = open_dataset(DatasetSpec(path=path), "sft")
    began, used = time.monotonic(), time.process_time()
    count = 0
    for number, unit in enumerate(dataset.units()):
        if number % step == first:
            count += sum(1 for _ in dataset.examples(unit))
    return count, time.process_time() - used, began, time.monotonic()


def read(path: Path, cores: int) -> dict[str, Any]:
    """How quickly rows become examples, on all cores and without a tokenizer, once the processes
    have started. Each of them reads the whole file, and makes its share of the examples."""
    began = time.monotonic()
    with get_context("spawn").Pool(cores) as pool:
        found = pool.starmap(_read, [(str(path), first, cores) for first in range(cores)], 1)
    ready = min(start for _, _, start, _ in found)
    seconds = max(end for *_, end in found) - ready
    cpu = max(used for _, used, *_ in found)
    size = path.stat().st_size / 1e6
    return {
        "rows": sum(count for count, *_ in found), "mb_per_second": round(size / seconds, 1),
        "mb_per_cpu_second_of_each": round(size / cpu, 1), "seconds": round(seconds, 1),
        "start_seconds": round(ready - began, 1),
    }  # fmt: skip


def tokenised(path: Path, model: Path) -> dict[str, Any]:
    """What ``fettle data`` says, and how long it took."""
    began = time.monotonic()
    told = fettle("data", str(path), "--model", str(model), "--json", timeout=7200)
    seconds = time.monotonic() - began
    found = [json.loads(line) for line in told.splitlines()]
    report = next(each for each in found if each.get("type") == "dataset_report")
    return {
        "seconds": round(seconds, 1), "making_seconds": round(report["seconds"], 1),
        "rows": report["rows"], "is_kept": report.get("is_kept", False),
    }  # fmt: skip


def cancelled(path: Path, model: Path, home: Path) -> dict[str, Any]:
    """Ctrl+C while helpers are at work: until the command and they are gone, and what is left."""
    command = subprocess.Popen(
        [PYTHON, "-m", "engine.cli", "data", str(path), "--model", str(model)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while len(helpers := _helpers(home)) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(3)
    began = time.monotonic()
    command.send_signal(signal.SIGINT)
    told = command.communicate(timeout=60)[0]
    left = time.monotonic() - began
    while any(_lives(helper) for helper in helpers):
        time.sleep(0.01)
    gone = time.monotonic() - began
    time.sleep(1)
    folder = home / "encoded"
    return {
        "command_seconds": round(left, 3), "helpers_gone_seconds": round(gone, 3),
        "helpers": len(helpers), "code": command.returncode, "told": told.strip(),
        "folders_left": [path.name for path in folder.iterdir()] if folder.exists() else [],
    }  # fmt: skip


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _helpers(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FETTLE_HOME") == str(home):
                found += [process] if _kind(process.cmdline()) == "tokenise" else []
        except psutil.Error:
            continue
    return found


# ---------------------------------------------------------------- all of it


@contextmanager
def scratch(size: int) -> Iterator[Path]:
    """A folder that is removed; refuses where the disk has no room for three times the data."""
    folder = Path(tempfile.mkdtemp(prefix="fettle-big-"))
    try:
        if shutil.disk_usage(folder).free < 3 * size:
            raise SystemExit(f"The disk has no room for {3 * size / GB:.0f} GB.")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def look(home: Path, wanted: argparse.Namespace) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    rows = conversations(wanted.data)
    name = "big.json" if wanted.list else "big.jsonl"
    report: dict[str, Any] = {"cores": cores, "gigabytes": wanted.gigabytes, "kind": name}
    model = wanted.model or home / "model"
    if wanted.model is None:
        from engine.worker.sample_model import write_sample_model

        write_sample_model(model, family="qwen")
    with scratch(int(wanted.gigabytes * GB)) as folder:
        big = folder / name
        report["rows"] = generate(big, int(wanted.gigabytes * GB), rows, is_list=wanted.list)
        for key, part in (("preview", lambda: previewed(big)), ("read", lambda: read(big, cores))):
            report[key] = part()
            print(key, report[key], flush=True)
        if wanted.tokenised < wanted.gigabytes:
            big.unlink()
            report["tokenised_rows"] = generate(
                big, int(wanted.tokenised * GB), rows, is_list=wanted.list
            )
        texts = texts_of(big, model, 5000)
        report["library"] = library(model, texts, home, cores)
        for key, shows in (("shown", True), ("trained", False)):
            found = in_turn(big, model, texts, shows=shows)
            report.setdefault("share_of_library_in_turn", {})[key] = found
            print("in turn", key, found, flush=True)
        per_row = sum(map(len, texts)) / len(texts)
        with Watch(home) as watch:
            report["cancelled"] = cancelled(big, model, home)
            print("cancelled", report["cancelled"], flush=True)
            watch.cpu.clear()
            first = tokenised(big, model)
            report["library_again"] = library(model, texts, home, cores)
            report["tokenised"], report["again"] = first, tokenised(big, model)
            report["after_tokens"] = after_tokens(big, model, home)
            print("after tokens", report["after_tokens"], flush=True)
        report["memory"], report["helpers"] = watch.most, len(watch.cpu)
    rate = first["rows"] * per_row / first["making_seconds"]
    both = [report[key]["characters_per_second"] for key in ("library", "library_again")]
    report["tokenised"]["characters_per_second"] = round(rate)
    report["share_of_library"] = round(rate / (sum(both) / 2), 3)
    # Where others are at work too, only this can be compared: what a second of a core is worth.
    characters = first["rows"] * per_row
    used = [report[key]["characters_per_cpu_second"] for key in ("library", "library_again")]
    worth = characters / max(sum(watch.cpu.values()), 1e-9)
    report["share_of_library_by_cpu"] = round(worth / (sum(used) / 2), 3)
    return report


def goals(report: dict[str, Any]) -> dict[str, bool]:
    """Which are met; the first five do not depend on how quick the machine is."""
    cancelled = report["cancelled"]
    return {
        "second start tokenises nothing": report["again"]["is_kept"],
        "cancel leaves nothing": not cancelled["folders_left"] and cancelled["code"] == 10,
        "memory": all(most["rss_mb"] <= RSS_MB for most in report["memory"].values()),
        "rows told": abs(report["preview"]["rows_told"] / report["rows"] - 1) < 0.05,
        "preview": report["preview"]["seconds"] < PREVIEW_SECONDS,
        "cancel": cancelled["helpers_gone_seconds"] < CANCEL_SECONDS,
        "read": report["read"]["mb_per_second"] >= READ_MB,
        "after tokens": report["after_tokens"]["seconds_a_gb"] < AFTER_SECONDS,
        "tokenising": all(
            found["median"] >= SHARE for found in report["share_of_library_in_turn"].values()
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--tokenised", type=float, default=1.0)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # As in the processes that make tokens.
    # Started in the background of a script, this and what it starts would be deaf to Ctrl+C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with private_home() as home:
        report = look(home, wanted)
    report["goals"] = goals(report)
    report["machine"] = machine()
    if wanted.out:
        wanted.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    return 0 if all(list(report["goals"].values())[:4]) else 1


if __name__ == "__main__":
    sys.exit(main())
