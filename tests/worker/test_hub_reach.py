"""Without the hub a model that is not here is refused in seconds, and nothing else is."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from engine.worker import hub_reach
from engine.worker.failures import JobError
from engine.worker.hub_reach import must_be_reachable

MODEL = "nobody/nothing"


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An endpoint that nobody listens at, and an empty cache."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path)}


def test_a_model_of_a_hub_that_is_not_there_is_refused(nowhere: dict[str, str]) -> None:
    with pytest.raises(JobError, match=r"nobody/nothing is not on this machine, and 127\.0\.0\.1"):
        must_be_reachable(MODEL, nowhere)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_reach, "getproxies", dict)


def test_what_needs_no_hub_is_let_be(
    nowhere: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    must_be_reachable(str(tmp_path), nowhere)
    must_be_reachable(MODEL, nowhere | {"HF_HUB_OFFLINE": "1"})
    (tmp_path / "hub" / "models--nobody--nothing").mkdir(parents=True)
    must_be_reachable(MODEL, nowhere)
    monkeypatch.setattr(hub_reach, "getproxies", lambda: {"https": "http://proxy:3128"})
    must_be_reachable("nobody/else", nowhere)


def test_a_hub_that_is_there_is_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        must_be_reachable(MODEL, {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)})
