"""A token that is put wherever tokens lie comes out nowhere: not in a run's folder, not in a log,
not in a report, not over the wire."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from engine.client import Client, Refused
from engine.contract.messages import Finding, encode
from tests.e2e.cli_driver import ROOT, Fettle
from tests.e2e.host_driver import HostUnderTest, records_to_done, start_run

ENV, FILE, KEYRING, URL = ("canary-in-env-5f3a", "canary-in-file-77e1", "canary-in-keyring-90d",
                           "canary-in-url-c41b")  # fmt: skip
CANARIES = (ENV, FILE, KEYRING, URL)
LEAKY = [sys.executable, "-m", "tests.e2e.leaky_worker"]


@pytest.fixture
def places(hosts: HostUnderTest, tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has tokens everywhere."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "token").write_text(FILE)
    keyring = tmp_path / "share" / "python_keyring"
    keyring.mkdir(parents=True)
    (keyring / "keyring_pass.cfg").write_text(f"[fettle]\nhub = {KEYRING}\n")
    hosts.environment["FETTLE_WORKER_COMMAND"] = json.dumps(LEAKY)
    environment = {
        "HF_TOKEN": ENV,
        "HF_HOME": str(tmp_path / "hub"),
        "XDG_DATA_HOME": str(tmp_path / "share"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    hosts.environment |= environment
    return environment


def found_in(data: bytes) -> list[str]:
    return [canary for canary in CANARIES if canary.encode() in data]


def leaks_below(folder: Path) -> dict[str, list[str]]:
    """Files with a canary in them, archives unpacked."""
    leaks = {}
    for path in filter(Path.is_file, folder.rglob("*")):
        data = path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                data += b"".join(archive.read(name) for name in archive.namelist())
        if names := found_in(data):
            leaks[str(path)] = names
    return leaks


@pytest.mark.parametrize("leak", ["any words", "own words"])
def test_no_token_comes_out(hosts: HostUnderTest, places: dict[str, str], leak: str) -> None:
    hosts.start(LEAK=leak)
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    records = records_to_done(run)
    assert found_in(b"".join(encode(record) for record in records)) == []
    failed, said = [r for r in records if isinstance(r, Finding)][::-1]
    assert failed.severity == "error"
    assert "[removed]" in failed.detail
    assert said.title == "Logged in with [removed] [removed]"
    fettle = Fettle(hosts.home, **hosts.environment)
    made = fettle("report", run, "--out", hosts.home / "given.zip", "--with-data")
    assert made.code == 0, made.err
    shown = [fettle(*words) for words in (["show", run], ["follow", run], ["doctor", "--report"])]
    printed = "".join(result.out + result.err for result in shown).encode()
    assert found_in(printed) == []
    log = (hosts.home / "runs" / run / "worker.log").read_text()
    assert "login with [removed]" in log
    assert "Authorization: Bearer [removed]" in log
    assert "UserWarning: token [removed]" in log
    assert (hosts.home / "given.zip").stat().st_size > 1000
    assert leaks_below(hosts.home) == {}


def test_a_token_in_a_spec_goes_nowhere(hosts: HostUnderTest, places: dict[str, str]) -> None:
    hosts.start()
    client = hosts.connect()
    spec = hosts.home / "spec.toml"
    text = f'name = "x"\n[model]\npath = "https://ada:{URL}@mirror.example/m"\n'
    spec.write_text(f'{text}[dataset]\npath = "{hosts.data}"\n[lora]\n')
    fettle = Fettle(hosts.home, **hosts.environment)
    for words in (["train", spec], ["plan", spec], ["spec", "--check", spec]):
        refused = fettle(*words)
        assert refused.code == 2
        assert "looks like a token" in refused.err
        assert found_in((refused.out + refused.err).encode()) == []
    assert fettle.runs_on_disk() == []
    place = f"https://ada:{URL}@mirror.example/m"
    for more in ({}, {"training": {"max_length": place}, "dataset": {"path": f"/{place}"}}):
        assert found_in(refused_by(client, {**hosts.spec(), **more}, place)) == []
    spec.unlink()
    assert leaks_below(hosts.home) == {}


def refused_by(client: Client, spec: dict[str, Any], path: str) -> bytes:
    with pytest.raises(Refused) as refused:
        start_run(client, {**spec, "model": {"path": path}})
    return f"{refused.value} {refused.value.complaints}".encode()
