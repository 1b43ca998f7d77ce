"""transformers offers the same whether it looked for it quickly or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.worker.quick_transformers import quicker

ROOT = Path(__file__).parents[2]

_OFFERS = """
import hashlib, sys
from pathlib import Path
if sys.argv[1] == "quick":
    from engine.worker import quick_transformers
    quick_transformers.install()
import transformers
from transformers.utils import import_utils
assert hasattr(import_utils.create_import_structure_from_path, "cache_info")
models = Path(transformers.__file__).parent / "models"
found = [
    import_utils.define_import_structure(models, prefix="models"),
    import_utils.define_import_structure(str(models / "__init__.py")),
    import_utils.define_import_structure(str(models / "llama" / "__init__.py")),
]
told = [
    sorted((sorted(needs), sorted((n, sorted(names)) for n, names in modules.items()))
           for needs, modules in each.items())
    for each in found
]
print(import_utils.create_import_structure_from_path.cache_info().maxsize)
print(len(dir(transformers)), hashlib.sha256(repr((dir(transformers), told)).encode()).hexdigest())
"""


def _offers(how: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _OFFERS, how],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout.split("\n")[:2]


def test_what_it_offers_is_the_same() -> None:
    (limit, plain), (no_limit, quick) = _offers("plain"), _offers("quick")
    assert quick == plain
    assert int(plain.split()[0]) > 1000
    # Without the first there is nothing to mend any more; without the second it is not mended.
    assert (limit, no_limit) == ("128", "None")


def test_a_worker_imports_it_so() -> None:
    code = (
        "from engine.worker.main import import_libraries; import_libraries()\n"
        "from transformers.utils import import_utils\n"
        "print(import_utils.create_import_structure_from_path.cache_info().maxsize)\n"
        "print(hasattr(import_utils.fetch__all__, '__wrapped__'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["None", "True"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "import os\n",
        '__all__ = ["A"]',
        'import os\n__all__ = ["A", "B"]\n',
        '__all__ = ["A"]\nx = "__all__"\n',
        '__all__ = ["A"]\n\n__all__ = [\n    "B",\n    "C",\n]\nlast = 1\n',
        'def f():\n    __all__ = ["A"]\n',
        'import os\r\n__all__ = [\r\n    "A",\r\n]\r\n',
    ],
)
def test_it_finds_the_same_names(text: str) -> None:
    from transformers.utils.import_utils import fetch__all__

    plain = getattr(fetch__all__, "__wrapped__", fetch__all__)
    assert quicker(plain)(text) == plain(text)
