"""The framing: whatever arrives, in whatever pieces, the messages in it come out."""

from __future__ import annotations

import itertools
import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contract import messages
from engine.contract.messages import ALL_TYPES, Finding, Heartbeat, Hello, Message, Refusal, Reply
from engine.contract.wire import MAX_LINE, FrameTooLong, Garbage, LineReader, frame

text = st.text(max_size=30)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
any_message = st.one_of(
    st.builds(Reply, to=st.integers(0, 2**31), data=st.dictionaries(text, plain, max_size=4)),
    st.builds(Refusal, to=st.integers(0, 9), sentence=text, code=text),
    st.builds(Hello, id=st.integers(0, 2**31), version=text, token=text),
    st.builds(
        Finding,
        at=st.floats(0, 2e9),
        severity=st.sampled_from(get_args(messages.Severity)),
        code=text,
        title=text,
        detail=text,
    ),
)
noise = st.binary(min_size=1, max_size=60).filter(lambda line: b"\n" not in line and line.strip())


def test_what_is_told_of_garbage_does_not_hold_it() -> None:
    secret = "patient Jane"
    lines = [f"{secret} at midnight", json.dumps({"type": secret}), json.dumps({secret: 1})]
    for line in lines:
        (found,) = LineReader().feed(f"{line}\n".encode())
        assert isinstance(found, Garbage)
        assert secret not in f"{found} {found!r}"
        assert f"{len(line)} bytes, SHA-256 " in str(found)


def is_garbage(line: bytes) -> bool:
    return isinstance(LineReader().feed(line + b"\n")[0], Garbage)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


def read(chunks: list[bytes]) -> tuple[list[Message | Garbage], LineReader]:
    reader = LineReader()
    return [found for chunk in chunks for found in reader.feed(chunk)], reader


@given(sent=st.lists(any_message, max_size=6), places=st.lists(st.integers(0), max_size=8))
def test_what_is_sent_arrives_however_it_is_cut(sent: list[Message], places: list[int]) -> None:
    received, reader = read(cut(b"".join(map(frame, sent)), places))
    assert received == sent
    assert reader.garbage_count == 0


@given(
    sent=st.lists(st.one_of(any_message, noise.filter(is_garbage)), max_size=8),
    places=st.lists(st.integers(0), max_size=8),
)
def test_noise_between_messages_costs_nothing_but_itself(
    sent: list[Message | bytes], places: list[int]
) -> None:
    stream = b"".join(s + b"\n" if isinstance(s, bytes) else frame(s) for s in sent)
    received, reader = read(cut(stream, places))
    assert [m for m in received if not isinstance(m, Garbage)] == [
        m for m in sent if not isinstance(m, bytes)
    ]
    assert reader.garbage_count == sum(isinstance(m, bytes) for m in sent)


@given(chunks=st.lists(st.binary(max_size=200), max_size=10))
def test_no_bytes_at_all_can_break_the_reader(chunks: list[bytes]) -> None:
    reader = LineReader()
    for chunk in chunks:
        reader.feed(chunk)
    reader.feed(b"\n")
    assert reader.feed(frame(Heartbeat(at=1.0))) == [Heartbeat(at=1.0)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"warning: something", "malformed"),
        (b'{"type":"heartbeat"}', "missing required field `at`"),
        (b'{"type":"from_the_future","at":1}', "Invalid value"),
        (b'{"type":"heartbeat","at":NaN}', "malformed"),
        (b"[1, 2]", "Expected `object`"),
        (b'{"type":"reply","to":1,"data":{"a":"\xff"}}', "UTF-8"),
        (b'{"type":"reply","to":1,"data":{"a":' + b"[" * 100_000, "nested too deeply"),
        (b"x" * (MAX_LINE + 1), "longer than a line may be"),
    ],
)
def test_a_line_that_is_no_message_is_handed_out_with_the_reason(line: bytes, reason: str) -> None:
    (found,), reader = read([line + b"\n"])
    assert isinstance(found, Garbage)
    assert reason in found.reason
    assert found.size == len(line)
    assert reader.garbage_count == 1


def test_empty_lines_are_nothing() -> None:
    assert read([b"\n \r\n\t\n"])[0] == []


def test_a_windows_line_end_does_no_harm() -> None:
    assert read([frame(Heartbeat(at=2.0))[:-1] + b"\r\n"])[0] == [Heartbeat(at=2.0)]


def test_an_endless_line_is_reported_once_and_takes_no_memory() -> None:
    reader = LineReader()
    found = [f for _ in range(40) for f in reader.feed(b"x" * (MAX_LINE // 8))]
    assert [f.reason for f in found if isinstance(f, Garbage)] == ["longer than a line may be"]
    assert sum(map(len, reader._parts)) <= MAX_LINE
    assert reader.feed(b"end of it\n") == []
    assert reader.feed(frame(Heartbeat(at=3.0))) == [Heartbeat(at=3.0)]
    assert reader.garbage_count == 1


def test_unknown_fields_are_let_pass() -> None:
    line = b'{"type":"heartbeat","at":4.0,"mood":"good"}\n'
    assert read([line])[0] == [Heartbeat(at=4.0)]


def test_the_longest_line_is_accepted_and_one_byte_more_refused() -> None:
    empty = len(frame(Refusal(to=1, sentence=""))) - 1
    longest = Refusal(to=1, sentence="x" * (MAX_LINE - empty))
    assert len(frame(longest)) == MAX_LINE + 1
    assert read([frame(longest)])[0] == [longest]
    with pytest.raises(FrameTooLong, match=f"Refusal of {MAX_LINE + 1} bytes"):
        frame(Refusal(to=1, sentence="x" * (MAX_LINE - empty + 1)))


def test_a_name_that_is_not_utf8_does_not_end_the_connection() -> None:
    raw = Reply(to=1, data={"path": "/tmp/\udcff", "more": ["\udc80", {"\udcfe": 1}, True]})
    assert read([frame(raw)])[0] == [
        Reply(to=1, data={"path": "/tmp/?", "more": ["?", {"?": 1}, True]})
    ]


def test_nan_never_reaches_the_wire() -> None:
    assert b"NaN" not in frame(Heartbeat(at=float("nan")))


@pytest.mark.parametrize("kind", ALL_TYPES)
def test_every_message_says_its_type_in_snake_case(kind: type[Message]) -> None:
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str)
    assert tag == tag.lower()
    assert tag.replace("_", "") == kind.__name__.lower()


@pytest.mark.parametrize("kind", ALL_TYPES)
def test_every_message_survives_the_way(kind: type[Message]) -> None:
    message = _filled(kind)
    assert read([frame(message)])[0] == [message]
    assert json.loads(frame(message))["type"] == kind.__struct_config__.tag


def test_every_message_of_the_file_is_known_to_the_decoder() -> None:
    bases = {Message, messages.Request, messages.Record}
    written = {
        thing
        for thing in vars(messages).values()
        if isinstance(thing, type) and issubclass(thing, Message)
    }
    assert written - bases == set(ALL_TYPES)


def _filled(kind: type[Message]) -> Message:
    """An instance with every required field set to something that its type allows."""
    values = {
        field.name: _sample(field.type) for field in msgspec.structs.fields(kind) if field.required
    }
    return kind(**values)


def _sample(hint: Any) -> Any:
    kind = msgspec.inspect.type_info(hint)
    if isinstance(kind, msgspec.inspect.UnionType):
        kind = kind.types[0]
    if isinstance(kind, msgspec.inspect.LiteralType):
        return kind.values[0]
    if isinstance(kind, msgspec.inspect.EnumType):
        return next(iter(kind.cls))
    if isinstance(kind, msgspec.inspect.StructType):
        return kind.cls(**{f.name: _sample(f.type) for f in msgspec.structs.fields(kind.cls)})
    samples: dict[type, Any] = {
        msgspec.inspect.IntType: 7,
        msgspec.inspect.FloatType: 1.5,
        msgspec.inspect.StrType: "text",
        msgspec.inspect.BoolType: True,
        msgspec.inspect.DictType: {},
        msgspec.inspect.ListType: [],
        msgspec.inspect.NoneType: None,
    }
    return samples[type(kind)]
