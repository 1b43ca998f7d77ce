"""What the host does on requests about datasets."""

from __future__ import annotations

from functools import partial

import msgspec

from engine.contract import messages as m
from engine.contract.validate import check
from engine.formats import DatasetError, preview
from engine.formats.previewing import SHOWN
from engine.host.checks import look_over_data
from engine.host.connection import Answer, Connection, Refused
from engine.host.inspecting import make_name, show_samples
from engine.host.parts import Parts
from engine.host.threads import apart
from engine.planning import chat_templates


async def preview_dataset(
    parts: Parts, connection: Connection, request: m.PreviewDataset
) -> Answer:
    try:
        return Answer(
            await apart(
                preview, request.path, request.format, SHOWN, request.columns, request.roles
            )
        )
    except DatasetError as error:
        raise Refused(str(error.complaint), complaints=[error.complaint]) from error


async def inspect(parts: Parts, connection: Connection, request: m.Inspect) -> Answer:
    looked = await apart(look_over_data, request.spec, parts.book.store)
    spec = looked.spec
    if spec is None:
        raise Refused("This data cannot be looked at.", complaints=looked.complaints)
    name = make_name()
    work = partial(
        parts.inspector.work, name, spec, connection.send,
        is_busy=parts.is_busy, computes=parts.computes,
    )  # fmt: skip
    return Answer({"inspection": name}, then=lambda: connection.attend(work()))


async def stop_inspection(
    parts: Parts, connection: Connection, request: m.StopInspection
) -> Answer:
    if not parts.inspector.stop(request.inspection):
        raise Refused(f"{request.inspection} has ended already.", "not_found")
    return Answer()


async def try_template(parts: Parts, connection: Connection, request: m.TryTemplate) -> Answer:
    spec, complaints = await apart(check, request.spec)
    if spec is None:
        raise Refused("This template cannot be tried.", complaints=complaints)
    tried = await parts.inspector.try_template(
        spec, request, is_busy=parts.is_busy, computes=parts.computes
    )
    fields = msgspec.structs.asdict(tried)
    return Answer(msgspec.to_builtins(fields))


async def keep_template(parts: Parts, connection: Connection, request: m.KeepTemplate) -> Answer:
    size = len(request.text.encode())
    if not request.text.strip() or size > chat_templates.MOST_BYTES:
        raise Refused("The template is empty, or far too long.", "bad_input")
    path = await apart(chat_templates.keep, request.text, request.name)
    return Answer({"path": str(path)})


async def samples(parts: Parts, connection: Connection, request: m.ShowSamples) -> Answer:
    return await show_samples(request)
