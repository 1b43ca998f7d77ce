"""PySide does not read the source of what is imported beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_IMPORTED = """
import inspect, sys
read, look = [], inspect.getsource
inspect.getsource = lambda module: read.append(module) or look(module)
import app.main
import wave  # Stands for any module that knows nothing of Qt.
print([module.__name__ for module in read if module.__name__ in {"app.window", "wave"}])
print("wave" in sys.modules["shibokensupport.feature"].pyside_feature_dict)
"""


def test_no_source_is_read_for_what_comes_after() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    # The second: PySide still asks; without that there is nothing to mend any more.
    assert done.stdout.split() == ["[]", "True"]
