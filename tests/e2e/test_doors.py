"""Nobody but the user gets in: no port is open, and no other user may connect."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engine import paths
from engine.contract.messages import Stop
from tests.e2e.host_driver import (
    ROOT,
    HostUnderTest,
    start_run,
    until,
    wait_for_state,
    wait_for_step,
)

_NOBODY = 65534


def test_no_process_of_fettle_listens_on_a_port(hosts: HostUnderTest) -> None:
    hosts.fake("slow", steps=5000)
    process = hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    wait_for_step(client, run, 1)
    command = [sys.executable, "-m", "app.main", "--run", run]
    window = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **hosts.environment})
    try:
        seen = psutil.Process(window.pid)
        until(lambda: seen.net_connections(kind="unix"), "the window is connected")
        host = psutil.Process(process.pid)
        family = [host, *host.children(recursive=True), seen]
        assert len(family) > 2
        assert [found for each in family for found in each.net_connections(kind="inet")] == []
    finally:
        window.terminate()
        window.wait(30)
    client.request(Stop(id=0, run=run, now=True))
    wait_for_state(client, run)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be another"
)
def test_another_user_is_not_let_in(hosts: HostUnderTest) -> None:
    hosts.start()
    hosts.connect()
    # Even where the home itself can be entered.
    hosts.home.chmod(0o755)
    address = Path(str(paths.socket_address()))
    look = (
        "import os, socket, sys\n"
        f"os.setgroups([]); os.setgid({_NOBODY}); os.setuid({_NOBODY})\n"
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
        "except PermissionError: print('refused')\n"
        "try: open(sys.argv[2]).read()\n"
        "except PermissionError: print('refused')\n"
    )
    command = [sys.executable, "-S", "-c", look, str(address), str(address.parent / "token")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["refused", "refused"], done.stderr


def test_the_window_can_be_imported_without_torch() -> None:
    code = "import app.main, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
