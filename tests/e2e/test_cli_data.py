"""``fettle data``: the real host and worker look a dataset over."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import msgspec
import pytest

from engine.cli.output import Exit
from engine.client import Client, connect
from engine.contract.messages import KeepTemplate, TryTemplate
from tests.e2e.cli_driver import Fettle

write_sample_model = pytest.importorskip("engine.worker.sample_model").write_sample_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROWS = [{"instruction": f"Say {i}.", "output": f"Well then, {i} it is."} for i in range(40)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([*ROWS, ROWS[3], {"instruction": "Hm?", "output": ""}]))
    return path


def test_a_dataset_is_looked_over_and_then_trained_on_without_new_tokens(
    fettle_home: Path, tmp_path: Path, rows: Path
) -> None:
    fettle = Fettle(fettle_home, FETTLE_IDLE_SECONDS="60")
    model = write_sample_model(tmp_path / "model")
    looked = fettle("data", str(rows), "--model", str(model), "--row", "4", "--json", timeout=200)
    assert looked.code == Exit.FINISHED, looked.err
    (report,) = looked.of_type("dataset_report")
    assert (report["rows"], report["duplicates"]) == (42, 1)
    found = {finding["code"]: finding["rows"] for finding in report["findings"]}
    assert found == {"empty_answers": [41], "duplicates": [40]}
    (sample,) = looked.of_type("sample")
    assert (sample["row"], json.loads(sample["raw"])) == (3, ROWS[3])
    learnt = [sample["text"][b:e] for b, e, _, is_learnt in sample["tokens"] if is_learnt]
    assert "".join(learnt).startswith("Well then, 3 it is.")
    again = fettle("data", str(rows), "--model", str(model), "--search", "say 17", timeout=200)
    assert "Tokens made  earlier" in again.out
    assert "⟦Well then, 17 it is." in again.out
    other = fettle("data", str(rows), "--model", str(model), "--chat-template", "alpaca",
                   "--loss-on", "everything", "--row", "4", timeout=200)  # fmt: skip
    assert "### Instruction:\nSay 3.\n\n### Response:\nWell then, 3 it is." in other.out
    assert "⟦Below is an instruction" in other.out.replace("<|begin_of_text|>", "")
    with connect() as client:
        _try_template(client, model, rows, fettle_home)
    kept = list((fettle_home / "encoded").iterdir())
    spec = tmp_path / "run.toml"
    spec.write_text(
        f'name = "t"\n[model]\npath = "{model}"\n[dataset]\npath = "{rows}"\n[lora]\nr = 4\n'
        "[training]\nmax_steps = 2\nmax_length = 64\n"
    )
    short = fettle("data", str(rows), "--model", str(model), "--max-length", "0")
    assert (short.code, "training.max_length" in short.err) == (2, True)
    unnamed = tmp_path / "unnamed.toml"
    unnamed.write_text(spec.read_text().partition("\n")[2])
    assert "Tokens made  earlier" in fettle("data", str(unnamed), timeout=200).out
    assert "name" in fettle("train", str(unnamed)).err
    assert fettle("train", str(spec), "--json", timeout=200).last["outcome"] == "finished"
    assert sorted((fettle_home / "encoded").iterdir()) == sorted(kept)


def _try_template(client: Client, model: Path, rows: Path, home: Path) -> None:
    """One that is being edited is tried, and then kept, by the engine."""
    spec = {"name": "t", "model": {"path": str(model)}, "dataset": {"path": str(rows)}, "lora": {}}
    asked = TryTemplate(id=0, spec=spec, row=json.dumps(ROWS[3]), format="alpaca")
    written = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    found = client.request(msgspec.structs.replace(asked, template=written))
    assert found["problem"] == ""
    assert found["sample"]["text"].startswith("Say 3.")
    broken = client.request(msgspec.structs.replace(asked, template="\n{{ m.content }"))
    assert (broken["line"], broken["sample"]) == (2, None)
    path = client.request(KeepTemplate(id=0, text=written, name="mine"))["path"]
    assert Path(path).parent == home / "templates"
    assert Path(path).read_text() == written


def test_without_a_model_the_first_rows_are_shown(fettle_home: Path, rows: Path) -> None:
    shown = Fettle(fettle_home)("data", str(rows))
    assert shown.code == Exit.FINISHED
    assert "alpaca (100% sure). 42 rows." in shown.out


def test_what_cannot_be_learnt_from_is_refused_with_its_place(
    fettle_home: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"instruction": "a", "output": "b"}\n{"instruction": "a"}\n')
    refused = Fettle(fettle_home)("data", str(bad), "--model", str(tmp_path / "none"))
    assert refused.code == Exit.BAD_INPUT
    assert "bad.jsonl, row 2 (line 2)" in refused.err


def test_the_preview_comes_before_any_token(fettle_home: Path, tmp_path: Path, rows: Path) -> None:
    fettle = Fettle(fettle_home, FETTLE_IDLE_SECONDS="60")
    alone = fettle("data", str(rows), "--json").lines
    model = write_sample_model(tmp_path / "model")
    looked = fettle("data", str(rows), "--model", str(model), "--json", timeout=200)
    assert looked.lines[0] == alone[0]
    first = [alone[0][key] for key in ("type", "format", "row_count")]
    assert first == ["preview", "alpaca", 42]
    shown = fettle("data", str(rows), "--model", str(model), timeout=200).out
    told = ("42 rows.", '{"instruction": "Say 0."', "Tokens ")
    assert sorted(told, key=shown.index) == list(told)
    missing = fettle("data", str(rows), "--model", str(model), "--row", "43", timeout=200)
    assert missing.code == Exit.BAD_INPUT
    assert "--row: There is no row 43: rows.json has 42. Write" in missing.err
    none = fettle("data", str(rows), "--model", str(model), "--search", "zebra", timeout=200)
    assert none.code == Exit.FINISHED
    assert "No sample has the words 'zebra'." in none.out


def test_data_that_teaches_nothing_is_told_and_no_run_of_it_takes_a_step(
    fettle_home: Path, tmp_path: Path
) -> None:
    fettle = Fettle(fettle_home, FETTLE_IDLE_SECONDS="60")
    model = write_sample_model(tmp_path / "model")
    data, spec = tmp_path / "rows.jsonl", tmp_path / "run.toml"
    spec.write_text(
        f'name = "t"\n[model]\npath = "{model}"\n[dataset]\npath = "{data}"\n[lora]\nr = 4\n'
        "[training]\nmax_steps = 2\nmax_length = 64\n"
    )
    data.write_text("\n".join(json.dumps({**row, "output": ""}) for row in ROWS))
    looked = fettle("data", str(spec), timeout=200)
    assert looked.code == Exit.WOULD_DIE, looked.err
    assert "0 trained on, 0 held back" in looked.out
    assert looked.out.count("trained on") == 2  # And of no tokens.
    refused = fettle("train", str(spec), timeout=200)
    assert refused.code == Exit.BAD_INPUT
    assert "40 of 40 rows have an empty answer, the first is row 1 (line 1)" in refused.err
    assert not list(fettle.store.glob("*"))
    long = {**ROWS[0], "instruction": "why " * 400}
    data.write_text("\n".join([json.dumps(long)] * 12))
    assert fettle("data", str(spec), timeout=200).code == Exit.WOULD_DIE
    failed = fettle("train", str(spec), "--json", timeout=200)
    assert failed.code == Exit.FAILED
    assert failed.last["step"] == 0
    (run,) = fettle.store.glob("*")
    assert not {"checkpoints", "output"} & {part.name for part in run.iterdir()}
    told = [each for each in failed.of_type("finding") if each["severity"] == "error"]
    assert told[-1]["title"] == "There is nothing to train on."
    assert told[-1]["remedy"]


def test_left_in_the_middle_nothing_half_done_is_kept(fettle_home: Path, tmp_path: Path) -> None:
    fettle = Fettle(fettle_home, FETTLE_IDLE_SECONDS="60")
    model = write_sample_model(tmp_path / "model")
    large = tmp_path / "large.jsonl"
    line = json.dumps({"instruction": "Say it again and again. " * 8, "output": "Well. " * 40})
    large.write_text(f"{line}\n" * 60_000)
    with fettle.start("data", str(large), "--model", str(model), "--json") as process:
        assert process.stdout is not None
        for told in process.stdout:
            if json.loads(told).get("done", 0) > 0:
                break
        assert list((fettle_home / "encoded").iterdir())
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.stdout.read()
        assert process.wait(timeout=20) == Exit.STOPPED
    while list((fettle_home / "encoded").iterdir()):
        assert time.monotonic() < began + 20, "What was half done is still there."
        time.sleep(0.05)
    assert fettle("data", str(large)).code == Exit.FINISHED


def test_one_row_can_be_looked_at(fettle_home: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text('{"instruction": "Say hi.", "output": "Well then."}\n')
    model = write_sample_model(tmp_path / "model")
    fettle = Fettle(fettle_home, FETTLE_IDLE_SECONDS="60")
    looked = fettle("data", str(one), "--model", str(model), "--json", timeout=200)
    assert looked.code == Exit.FINISHED, looked.err
    assert any(line["type"] == "dataset_report" for line in looked.lines)
