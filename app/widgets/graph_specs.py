"""What each graph of a run shows."""

from __future__ import annotations

from app import words
from app.widgets.axes import rate_word
from app.widgets.graph import Curve, GraphSpec

GIB = float(words.GIB)


def _gib(value: float) -> str:
    return words.size(value * GIB)


def _percent(value: float) -> str:
    return f"{value:.0f} %"


LOSS = GraphSpec(
    title="Loss",
    unit="",
    word=words.loss,
    from_zero=False,
    curves=(
        Curve(name="loss", word="raw", color="raw"),
        Curve(name="smoothed", word="smoothed", color="good", width=1.6),
    ),
)
CARD_MEMORY = GraphSpec(
    title="Memory of the card",
    unit="GiB",
    word=_gib,
    curves=(
        Curve(name="vram_used_bytes", word="in use", color="info", fill="info_fill", unit=GIB),
        Curve(name="vram_reserved_bytes", word="reserved", color="violet", unit=GIB),
        Curve(name="vram_allocated_bytes", word="allocated", color="good", unit=GIB),
    ),
)
PROCESS_MEMORY = GraphSpec(
    title="RAM of the process",
    unit="GiB",
    word=_gib,
    curves=(Curve(name="ram_used_bytes", word="", color="info", fill="info_fill", unit=GIB),),
)
STEP_TIME = GraphSpec(
    title="Step time",
    unit="seconds",
    word=words.seconds,
    curves=(Curve(name="step_ms", word="", color="warning", unit=1000.0),),
)
GPU_BUSY = GraphSpec(
    title="GPU busy",
    unit="%",
    word=_percent,
    top=100.0,
    curves=(Curve(name="gpu_busy_percent", word="", color="violet", fill="violet_fill"),),
)
CPU_BUSY = GraphSpec(
    title="CPU busy",
    unit="% of one core",
    word=_percent,
    top=100.0,
    curves=(Curve(name="cpu_percent", word="", color="violet", fill="violet_fill"),),
)
LEARNING_RATE = GraphSpec(
    title="Learning rate",
    unit="",
    word=words.rate,
    axis_word=rate_word,
    curves=(Curve(name="learning_rate", word="", color="info"),),
)
GRAD_NORM = GraphSpec(
    title="Gradient norm",
    unit="",
    word=words.loss,
    curves=(Curve(name="grad_norm", word="", color="orange"),),
)
