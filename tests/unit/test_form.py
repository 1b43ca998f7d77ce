"""The closed form of a step's memory: formulas, and which of them hold where."""

from __future__ import annotations

import msgspec
import pytest

from engine.planning.form import Form, Point, Segment, peak, value


def _form(*segments: Segment) -> Form:
    names = ("parameters", "trainable", "adapter_file", "ram", "forward_flops", "backward_flops",
             "saved_bytes_moved")  # fmt: skip
    zero: dict[str, tuple[float, ...]] = dict.fromkeys(names, ())
    return Form(layers=2, segments=list(segments), **zero)  # type: ignore[arg-type]


def test_monomials_are_those_of_the_coefficients() -> None:
    point = Point(batch=3, length=10, rank=4)
    assert point.monomials() == (1, 3, 30, 300, 4, 120, 10, 100, 27)
    assert Point(batch=64, length=4096).monomials()[8] == 4096
    assert value((7, 0, 2), point) == 67
    assert value((), point) == 0


def test_the_peak_is_the_greatest_segment_that_holds() -> None:
    form = _form(
        Segment(
            name="forward", moment="train", parts={"weights": (100,), "activations": (0, 0, 2)}
        ),
        Segment(name="loss", moment="train", parts={"weights": (130,)}, accumulates=True),
        Segment(name="backward", moment="train", parts={"weights": (10_000,)}, min_batch=2),
        Segment(name="masked", moment="train", parts={"weights": (500,)}, min_length=100),
        Segment(name="export", moment="export", parts={"weights": (9,), "logits": (0,)}),
    )  # fmt: skip
    assert peak(form, Point(batch=1, length=10)).segment == "loss"
    assert peak(form, Point(batch=1, length=10, accumulates=False)).parts == {
        "weights": 100, "activations": 20,
    }  # fmt: skip
    assert peak(form, Point(batch=2, length=10)).segment == "backward"
    assert peak(form, Point(batch=1, length=100)).segment == "masked"
    assert peak(form, Point(batch=1, length=99)).total == 298
    assert peak(form, Point(batch=1, length=10), "export").parts == {"weights": 9}
    with pytest.raises(ValueError, match="no segment of resume"):
        peak(form, Point(batch=1, length=10), "resume")


def test_a_form_survives_json() -> None:
    form = _form(Segment(name="f", moment="train", parts={"weights": (1.5, 2.0)}, max_batch=1))
    assert msgspec.json.decode(msgspec.json.encode(form), type=Form) == form
