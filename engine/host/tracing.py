"""Forms of models, kept in the home: traced by the idle worker, or while a run is at work by one
of low priority beside it.

A form depends on the layout and on the versions that traced it, not on batch, length or rank, so
one file serves every plan of that kind for good; one of rows that fit into a sliding window, until
a plan has longer ones.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

import engine
from engine import paths
from engine.contract import messages as m
from engine.contract.spec import Spec
from engine.contract.toml import to_raw
from engine.contract.validate import check
from engine.host.beside import Beside
from engine.host.connection import Answer, Refused
from engine.host.lending import lent
from engine.host.pool import Pool
from engine.host.settings import Settings
from engine.host.threads import apart
from engine.host.worker import Worker
from engine.planning import catalogue, facts, form
from engine.planning.layer_names import no_layer
from engine.planning.model_config import config_of, layout_of
from engine.planning.model_folder import Problem
from engine.store.files import write_atomic

log = logging.getLogger(__name__)

_TRACE_SECONDS = 300.0
"""A trace takes a second or two; so long even where a run takes every core."""
_VERSIONS = ("torch", "transformers", "peft", "trl")


Lend = Callable[[Spec], AbstractAsyncContextManager[Worker]]


class Tracer:
    """Gives forms, one at a time."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._beside = Beside(settings, pool.folder, pool.log)
        self._settings = settings
        self._lock = asyncio.Lock()

    def close(self) -> None:
        """Let the worker go that traces beside runs."""
        self._beside.close()

    async def answer(
        self, request: m.Trace, *, is_busy: Callable[[], bool], computes: Callable[[], bool]
    ) -> Answer:
        """Do what a client wants. Raises :class:`Refused`, ``OSError``.

        While something ``computes`` a worker beside it traces, if RAM is left for it. While the
        host ``is_busy``, a worker of the pool that has traced does not wait for more.
        """
        began = time.monotonic()
        spec, complaints = check(request.spec)
        if spec is None:
            raise Refused("The spec is not sound.", complaints=complaints)
        try:
            found = await apart(config_of, spec.model.path, spec.model.revision)
        except Problem as problem:
            complaint = m.Complaint(
                field="model.path", problem=problem.problem, remedy=problem.remedy
            )
            raise Refused(str(problem), complaints=[complaint]) from problem
        if spec.lora and found and (misfit := no_layer(spec.lora, found[0])):
            raise Refused(str(misfit), complaints=[misfit])
        async with self._lock:
            lend = (
                partial(lent, self._beside, keep=lambda: True)
                if computes()
                else partial(lent, self._pool, keep=lambda: not is_busy())
            )
            data = await self._form(spec, request, found, lend)
        return Answer({**data, "seconds": time.monotonic() - began})

    async def _form(self, spec: Spec, request: m.Trace, found: Any, lend: Lend) -> dict[str, Any]:
        config, source = found or (None, "hub")
        if config is not None:
            kept = await apart(_kept, _place(spec, config, request))
            if kept is not None and kept.holds_for(spec.training.max_length):
                kept = msgspec.to_builtins(kept)
                return {"form": kept, "config": config, "source": source, "cached": True}
        if request.only_kept:
            raise Refused("No such step was traced here yet.")
        async with lend(spec) as worker:
            traced = await self._ask(worker, spec, config, request)
        if not traced.form:
            raise Refused(f"{traced.problem} {_meant(spec.model.path)}".rstrip())
        await apart(_keep, _place(spec, traced.config, request), traced.form)
        return {"form": traced.form, "config": traced.config, "source": source, "cached": False}

    async def _ask(
        self, worker: Worker, spec: Spec, config: dict[str, Any] | None, request: m.Trace
    ) -> m.Traced:
        """Raises TimeoutError, or Refused if the worker ends."""
        heard: asyncio.Future[m.Traced] = asyncio.get_running_loop().create_future()

        def on_message(message: m.Message) -> None:
            if isinstance(message, m.Traced) and not heard.done():
                heard.set_result(message)

        def on_ended(_: object) -> None:
            if not heard.done():
                sentence = f"The worker ended while it traced the model. See {self._pool.log}."
                heard.set_exception(Refused(sentence))

        worker.listener = on_message
        worker.ended.add_done_callback(on_ended)
        job = {
            "spec": to_raw(spec), "config": config, "device": request.device,
            "precision": request.precision,
        }  # fmt: skip
        worker.send(m.Job(kind="trace", spec=job))
        try:
            return await asyncio.wait_for(heard, self._settings.ready_seconds + _TRACE_SECONDS)
        finally:
            worker.listener = None
            worker.ended.remove_done_callback(on_ended)


def _meant(path: str) -> str:
    """Models of the catalogue whose names are much like this one."""
    known = {entry.id.lower(): entry.id for entry in catalogue.load()}
    name = path.lower().rpartition("/")[2]
    longer = [each for each in known if name and each.endswith(name)]
    close = difflib.get_close_matches(path.lower(), known, n=2, cutoff=0.85)
    found = [known[each] for each in dict.fromkeys([*longer, *close])][:2]
    return f"Did you mean {' or '.join(found)}?" if found else ""


def _place(spec: Spec, config: dict[str, Any], request: m.Trace) -> Path:
    """The file of a form: whatever could change it is in the name."""
    layout = layout_of(spec, config, request.device, request.precision)
    installed = facts.installed()
    versions = {name: installed.get(name, "") for name in _VERSIONS}
    known = [form.FORMAT, engine.__version__, msgspec.to_builtins(layout), versions]
    digest = hashlib.sha256(msgspec.json.encode(known, order="sorted")).hexdigest()
    return paths.home() / "forms" / f"{digest}.json"


def _kept(place: Path) -> form.Form | None:
    """That of an earlier trace; None if there is none that can be read."""
    try:
        return msgspec.json.decode(place.read_bytes(), type=form.Form)
    except (OSError, msgspec.DecodeError):
        return None


def _keep(place: Path, traced: dict[str, Any]) -> None:
    kept = _kept(place)
    if kept is not None and kept.longest is None:
        return  # Another has asked for longer rows in the meantime.
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(place, msgspec.json.encode(traced))
