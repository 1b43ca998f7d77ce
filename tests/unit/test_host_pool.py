"""The idle worker while it is lent to a trace."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.unit.test_host_duties import House, run_async

READY = json.dumps({"type": "ready", "pid": 1, "import_seconds": 0, "versions": {}})


def _yes() -> bool:
    return True


def _no() -> bool:
    return False


def house_of(home: Path) -> House:
    return House(home, "/bin/sh", "-c", f"echo '{READY}'; exec sleep 100")


def test_no_other_is_made_while_one_is_lent_and_it_is_the_idle_one_again(tmp_path: Path) -> None:
    async def work() -> None:
        pool = house_of(tmp_path).pool
        pool.ask()
        await pool.keep()
        first = await pool.lend()
        await pool.keep()
        await pool.give_back(first, keep=_yes)
        await pool.keep()
        assert await pool.take() is first
        first.kill()
        await first.ended

    run_async(work)


def test_after_one_that_failed_another_is_made(tmp_path: Path) -> None:
    async def work() -> None:
        pool = house_of(tmp_path).pool
        pool.ask()
        first = await pool.lend()
        first.kill()
        await pool.give_back(first, keep=_no)
        await first.ended
        await pool.keep()
        second = await pool.take()
        assert second is not first
        assert not second.ended.done()
        second.kill()
        await second.ended

    run_async(work)


def test_a_loan_that_is_cancelled_is_no_loan(tmp_path: Path) -> None:
    async def work() -> None:
        pool = house_of(tmp_path).pool
        pool.ask()
        async with pool._lock:
            loan = asyncio.create_task(pool.lend())
            await asyncio.sleep(0)
            loan.cancel()
            with pytest.raises(asyncio.CancelledError):
                await loan
        await pool.keep()
        assert pool._idle is not None, "one that was never lent is still waited for"
        await pool.close()

    run_async(work)


def test_a_worker_is_taken_back_even_if_whoever_brings_it_is_cancelled(tmp_path: Path) -> None:
    async def work() -> None:
        pool = house_of(tmp_path).pool
        worker = await pool.lend()
        async with pool._lock:
            bringing = asyncio.create_task(pool.give_back(worker, keep=_yes))
            await asyncio.sleep(0)
            bringing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await bringing
        assert await pool.take() is worker
        worker.kill()
        await worker.ended

    run_async(work)
