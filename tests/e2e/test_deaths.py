"""Workers that die in every way there is, without a word: the host says what it was."""

from __future__ import annotations

import pytest

from engine.contract.lifecycle import State
from engine.contract.messages import Done, Finding
from engine.host.oom_kills import count
from tests.e2e.deaths import DEATHS
from tests.e2e.host_driver import HostUnderTest, records_to_done, resume_run, start_run, summary_of

# Where the system counts what it ends for want of memory, it is known not to have been that.
_KILLED = "host_oom_killer" if count() is None else "killed_from_outside"
WHAT_IT_WAS = {
    "segfault": ("worker_lost", "native_crash"),
    "abort": ("worker_lost", "native_abort"),
    "sigkill": ("worker_lost", _KILLED),
    "sigterm": ("worker_lost", "asked_to_end"),
    "sigbus": ("worker_lost", "native_crash"),
    "exit 137": ("worker_lost", _KILLED),
    "exit 7": ("worker_lost", ""),
    "import": ("broken_install", "broken_install"),
    "library": ("broken_install", "broken_install"),
    "disk full": ("disk_full", "disk_full"),
    "ram": ("out_of_ram", "out_of_ram"),
    "bad model file": ("ckpt_safetensors_bad", "ckpt_safetensors_bad"),
    "cuda oom": ("out_of_memory", "oom_cuda_alloc"),
    "device assert": ("device_side_assert", "device_side_assert"),
    "no kernel": ("arch_no_kernel", "arch_no_kernel"),
    "bitsandbytes": ("bnb_missing_dep", "bnb_missing_dep"),
    "loader": ("dl_worker_died", "dl_worker_died"),
    "compiler": ("triton_no_cc", "triton_no_cc"),
    "gated": ("missing_model", "hf_gated"),
    "offline": ("missing_model", "hf_offline"),
    "terminate": ("out_of_ram", "oom_cpu_alloc"),
    "tells a token": ("worker_lost", ""),
    "nobody knows": ("worker_lost", ""),
}


def test_there_are_many_deaths() -> None:
    assert len(WHAT_IT_WAS) >= 20
    assert set(WHAT_IT_WAS) == set(DEATHS)


@pytest.mark.parametrize("death", WHAT_IT_WAS)
def test_the_host_says_what_a_worker_died_of(hosts: HostUnderTest, death: str) -> None:
    hosts.fake("death", at=7, ms=1)
    hosts.start(FAKE_DEATH=death)
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    records = records_to_done(run)
    (found,) = [record for record in records if isinstance(record, Finding)]
    assert (found.code, found.problem) == WHAT_IT_WAS[death]
    assert (found.severity, found.step) == ("error", 7)
    assert found.title
    assert found.cause
    assert found.remedy
    assert "fake worker" in found.detail
    assert bool(found.why) == bool(found.problem)
    done = records[-1]
    assert isinstance(done, Done)
    assert (done.outcome, done.synthesised) == ("failed", True)
    assert summary_of(client, run).state == State.FAILED


def test_an_out_of_memory_has_a_patch_that_keeps_the_result(hosts: HostUnderTest) -> None:
    hosts.fake("death", at=7, ms=1)
    hosts.start(FAKE_DEATH="cuda oom")
    run = start_run(hosts.connect(), hosts.spec())
    (found,) = [record for record in records_to_done(run) if isinstance(record, Finding)]
    assert found.patch == {
        "training.per_device_train_batch_size": 1,
        "training.gradient_accumulation_steps": 8,
    }
    assert not found.changes_result
    assert "The result stays the same." in found.remedy


def test_a_token_in_what_a_worker_left_is_not_told_on(hosts: HostUnderTest) -> None:
    hosts.fake("death", at=7, ms=1)
    hosts.start(FAKE_DEATH="tells a token", HF_TOKEN="canary-of-a-fake-worker")
    run = start_run(hosts.connect(), hosts.spec())
    (found,) = [record for record in records_to_done(run) if isinstance(record, Finding)]
    assert "no login with [removed]" in found.detail


def test_an_older_attempts_words_are_not_held_against_a_new_one(hosts: HostUnderTest) -> None:
    hosts.fake("death", at=7, ms=1)
    hosts.start(FAKE_DEATH="disk full")
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    seq = records_to_done(run)[-1].seq
    client.close()
    hosts.processes[-1].terminate()
    hosts.processes[-1].wait()
    hosts.start(FAKE_DEATH="exit 7")
    resume_run(hosts.connect(), run)
    (found,) = [record for record in records_to_done(run, seq) if isinstance(record, Finding)]
    assert (found.code, found.problem) == ("worker_lost", "")
    assert "No space left" not in found.detail
