"""What the host does when people choose something for all runs."""

from __future__ import annotations

import msgspec

from engine.contract import messages as m
from engine.host.connection import Answer, Connection, Refused
from engine.host.parts import Parts
from engine.host.threads import apart
from engine.paths import home
from engine.store import options


async def read_options(parts: Parts, connection: Connection, request: m.ReadOptions) -> Answer:
    found = await apart(options.read, home())
    return Answer({"options": msgspec.to_builtins(found)})


async def change_options(parts: Parts, connection: Connection, request: m.ChangeOptions) -> Answer:
    found, complaints = await apart(options.change, home(), request.options)
    if complaints:
        raise Refused("Nothing was changed.", complaints=complaints)
    return Answer({"options": msgspec.to_builtins(found)})
