"""What a card really says when it goes wrong is recognised, whatever this torch calls it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engine.diagnosis import Evidence, diagnose

pytestmark = pytest.mark.gpu

WAYS = {
    "oom_cuda_alloc": "torch.empty(1 << 46, dtype=torch.uint8, device='cuda')",
    "device_side_assert": "torch.nn.functional.embedding(torch.tensor([[9]]).cuda(), "
    "torch.zeros(4, 4).cuda()).sum().item()",
    "same_device": "torch.zeros(2, 2).cuda() @ torch.zeros(2, 2)",
}


@pytest.mark.parametrize("problem", WAYS)
def test_what_the_card_says_is_known(problem: str) -> None:
    died = subprocess.run(
        [sys.executable, "-c", f"import torch\n{WAYS[problem]}"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    found = diagnose(Evidence(exit_code=died.returncode, log=died.stderr))
    assert [each.id for each in found][:1] == [problem], died.stderr
