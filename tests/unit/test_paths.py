"""Where things lie on this machine."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from engine import paths


def test_fettle_home_moves_everything(fettle_home: Path) -> None:
    assert paths.home() == fettle_home
    for path in (paths.store(), paths.host_folder(), paths.token_file()):
        assert path.is_relative_to(fettle_home)


def test_without_it_the_platforms_data_folder_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FETTLE_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    if sys.platform == "linux":
        assert paths.home() == Path("/somewhere/fettle")
    assert paths.home().name == "fettle"


def test_the_home_is_read_as_a_person_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_HOME", "~/x/../fettle-state")
    assert paths.home() == Path.home().resolve() / "fettle-state"


@pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")
class TestUnixSocket:
    def test_it_lies_in_the_private_folder_where_its_path_fits(self, fettle_home: Path) -> None:
        assert paths.socket_address() == str(paths.host_folder() / "host.sock")

    def test_it_moves_to_a_short_folder_where_it_does_not(
        self, monkeypatch: pytest.MonkeyPatch, fettle_home: Path
    ) -> None:
        monkeypatch.setenv("FETTLE_HOME", str(fettle_home / ("x" * 90)))
        address = paths.socket_address()
        assert len(os.fsencode(address)) <= 100
        assert Path(address).parent.name.startswith(f"fettle-{os.getuid()}-")

    def test_two_long_homes_have_two_addresses(
        self, monkeypatch: pytest.MonkeyPatch, fettle_home: Path
    ) -> None:
        addresses = set()
        for name in "ab":
            monkeypatch.setenv("FETTLE_HOME", str(fettle_home / (name * 90)))
            addresses.add(paths.socket_address())
        assert len(addresses) == 2

    def test_who_asks_makes_no_difference(
        self, monkeypatch: pytest.MonkeyPatch, fettle_home: Path
    ) -> None:
        """A desktop session, an ssh login and a cron job have other temporary folders."""
        monkeypatch.setenv("FETTLE_HOME", str(fettle_home / ("x" * 90)))
        addresses = set()
        for folder in ("/run/user/1000", "/var/tmp"):
            monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
            monkeypatch.setenv("TMPDIR", folder)
            addresses.add(paths.socket_address())
        assert len(addresses) == 1


def test_on_windows_it_is_a_pipe_named_after_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    here = paths.socket_address()
    assert here.startswith(r"\\.\pipe\fettle-")
    monkeypatch.setenv("FETTLE_HOME", "/elsewhere")
    assert paths.socket_address() != here


def test_the_bundled_resources_are_there() -> None:
    assert (paths.RESOURCES / "samples").is_dir()


@pytest.mark.skipif(sys.platform == "win32", reason="rights are those of the user's folder")
def test_a_new_home_is_its_owners_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_HOME", str(tmp_path / "above" / "home"))
    made = paths.make_home()
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    made.chmod(0o750)
    assert stat.S_IMODE(paths.make_home().stat().st_mode) == 0o750
