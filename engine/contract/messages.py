"""Every message of Fettle: this file is the protocol document.

Three conversations use it, all with the framing of :mod:`engine.contract.wire`:

client <-> host
    Requests carry ``id``; each gets one :class:`Reply` or :class:`Refusal` with that number in
    ``to``. :class:`Hello` comes first. After :class:`Follow` and :class:`Watch` the host also sends
    records and :class:`RunChanged` on its own.
host -> worker
    One :class:`Job`, then :class:`StopJob` or :class:`SaveNow` as people ask. The end of the stream
    means that the host is gone: save, and leave.
worker -> host
    :class:`Ready`, then records, with :class:`Done` always last. If the worker ends without one,
    the host makes it (``synthesised``).

A *record* is what a run leaves behind: the same object goes over the wire and into the run folder
(``events.jsonl``: State, PhaseChanged, Evaluated, CheckpointSaved, ResumeCertificate, Finding,
Decision, Done; ``metrics.jsonl``: Step, Telemetry). The host numbers records with ``seq``, one
counter a run over both files, from 1, so that ``since`` is one number. The host is the only writer
of both files. The worker numbers what it sends with ``worker_seq``; when the host dies, the worker
leaves what it had still to say in ``orphan.jsonl``, and the next host adds what is missing.

Compatibility: both sides allow unknown message types and extra fields in known ones. Another
:data:`PROTOCOL` number is refused in a sentence.

Units: bytes, seconds, milliseconds and UNIX time (``at``, seconds) are in the names.
"""

from __future__ import annotations

from typing import Any, Literal, Union

import msgspec

from engine.contract.dataset_report import DatasetReport, RowFinding
from engine.contract.lifecycle import Phase, State

PROTOCOL = 1
"""Major number of this protocol."""

Outcome = Literal["finished", "stopped", "failed"]
Severity = Literal["info", "warning", "error"]
Matters = Literal["no", "last_digits", "yes"]
"""What a difference means for the result: nothing; sums are rounded in other places; the numbers
are others from here on."""
Throttle = Literal["heat", "power", "power_supply", "hardware"]
"""Why a card clocks down: too hot; at its power limit; the supply gives no more; the card protects
itself and does not say from what."""


MemoryPool = Literal["", "vram", "driver", "shared", "ram", "disk"]
"""A kind of memory that can run out, each with its own way out: torch's store on the card; what the
driver gives, such as pinned memory; the card's overflow that Windows keeps in RAM; RAM; disk."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of all messages; ``type`` on the wire is the class name in snake_case."""


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


# ---------------------------------------------------------------- requests: client -> host


class Request(Message, frozen=True, kw_only=True):
    """Something a client wants; the reply carries ``id`` back as ``to``."""

    id: int


class Hello(Request, frozen=True, kw_only=True, tag=_snake):
    """First frame of a connection.

    Reply data: ``version``, ``protocol``, ``pid``, ``busy``, and ``environment``: those settings of
    :data:`engine.environment.NAMES` that the host has, and so its runs.
    """

    protocol: int = PROTOCOL
    version: str
    token: str
    client: str = "cli"
    """``window``, ``cli`` or ``attach``; for the log."""


class Start(Request, frozen=True, kw_only=True, tag=_snake):
    """Check a spec and its data, make a run and queue it.

    Reply data: ``run``, ``folder``, and ``conflicts`` (warnings, which the run keeps as Findings).
    Refused with all complaints, and then no folder is left.
    """

    spec: dict[str, Any]
    plan: dict[str, Any] = {}
    """What a plan for this card foretold, see :func:`engine.planning.planner.expectation`; kept in
    run.json, so that the finished run can be compared with it."""


class Check(Request, frozen=True, kw_only=True, tag=_snake):
    """What :class:`Start` would complain of. Reply data: ``complaints`` (list, may be empty), and
    ``conflicts``, a list of :class:`engine.planning.conflicts.Conflict` objects, problems first;
    problems are among the complaints too."""

    spec: dict[str, Any]


class ListRuns(Request, frozen=True, kw_only=True, tag=_snake):
    """Reply data: ``runs``, a list of :class:`RunSummary` objects, newest first."""


class Show(Request, frozen=True, kw_only=True, tag=_snake):
    """Reply data: ``summary`` (a :class:`RunSummary`), ``spec`` (with all patches of the run's
    Decisions), ``checkpoints`` (list of :class:`CheckpointSaved`), ``versions``, ``failure`` (the
    :class:`Finding` about why the newest attempt failed; None if it did not), ``certificate`` (the
    newest :class:`ResumeCertificate`; None if the run was never resumed), and ``pace``: what the
    time of a step goes into, a :class:`engine.diagnosis.pace.shares.Pace`, empty before the first
    steps."""

    run: str
    """A folder, a unique prefix of its name, or ``last``; so in all requests."""


class Follow(Request, frozen=True, kw_only=True, tag=_snake):
    """Send every record of the run with ``seq > since``, then live ones, no gap and no double.

    Reply data: ``run``, ``folder``, ``summary``, ``seq`` (the newest at this moment). With
    ``columns`` the past of ``metrics.jsonl`` comes as :class:`Columns` (for graphs) instead of one
    record a line. :class:`CaughtUp` marks the border between past and live. For a run at rest the
    last record is its Done; following goes on, so that a resume is seen.
    """

    run: str
    since: int = 0
    columns: bool = False


class Unfollow(Request, frozen=True, kw_only=True, tag=_snake):
    """End a :class:`Follow` of this connection."""

    run: str


class Watch(Request, frozen=True, kw_only=True, tag=_snake):
    """From now on send :class:`RunChanged` and :class:`RunRemoved` of all runs."""


class Stop(Request, frozen=True, kw_only=True, tag=_snake):
    """Stop and save; with ``now`` end the worker at once, losing what came after the last save. A
    run that is ``recovering`` is not resumed then."""

    run: str
    now: bool = False


class Pause(Request, frozen=True, kw_only=True, tag=_snake):
    """Save, end the worker, and so give all of the card's memory back; the run becomes ``paused``,
    keeps its place in line, and nothing else trains meanwhile. :class:`Resume` goes exactly on. The
    reply comes at once, with the ``state`` and the ``sentence`` that stands with it."""

    run: str


class SaveCheckpoint(Request, frozen=True, kw_only=True, tag=_snake):
    """Save at the next step boundary. The reply comes at once, CheckpointSaved when it is done."""

    run: str


class VerifySaves(Request, frozen=True, kw_only=True, tag=_snake):
    """Read every byte of the run's saves again; nothing is changed. Reply data: ``saves``, a list
    of :class:`engine.store.soundness.SaveChecked` objects, oldest step first, and the run's
    ``state`` and ``spec``. Takes as long as reading takes."""

    run: str


class Resume(Request, frozen=True, kw_only=True, tag=_snake):
    """Queue the run again, from its newest verified checkpoint. Reply data: ``run``, ``folder``,
    ``attempt``, ``step`` (where it goes on, 0 if there is no checkpoint), ``passed_over`` (why that
    is not the newest save, in words; empty if it is). A run that is
    ``recovering`` goes on now instead of later, one that is ``paused`` in its old place."""

    run: str
    patch: dict[str, Any] = {}
    """What to change of its spec first, as in :class:`Complaint`; kept as a :class:`Decision`.
    Refused with all complaints about what the spec would become."""


class MakeReport(Request, frozen=True, kw_only=True, tag=_snake):
    """Write an archive about a run that can be given away: without tokens, names of people, and
    rows of data. Reply data: ``path`` (on the engine's machine), ``bytes``."""

    run: str
    path: str = ""
    """Absolute path to write to; empty: the reports folder of the engine's home."""
    with_data: bool = False
    """The first rows of the data go in as well."""


class Remove(Request, frozen=True, kw_only=True, tag=_snake):
    """Delete the folder of a run at rest."""

    run: str


class PreviewDataset(Request, frozen=True, kw_only=True, tag=_snake):
    """Reply data: ``format``, ``confidence`` (0 to 1), ``reason``, ``fits`` (all formats that the
    rows look like, the best first), ``rows`` (first few raw rows, as objects), ``examples`` (the
    same rows as the method will see them), ``row_count`` (None if not counted), ``row_estimate``
    (about how many; None if they are counted or nothing tells), ``bytes``, ``files`` (how many),
    ``columns`` (names in the file), ``suggested`` (a mapping that may be meant where no format
    fits), ``use`` (what sft would make of data that was written for another method; empty for any
    other), ``complaints`` (what a run would be refused for, as far as one second reads)."""

    path: str
    format: str = "auto"
    columns: dict[str, str] = {}
    """As ``dataset.columns`` of a spec."""
    roles: dict[str, str] = {}


class Inspect(Request, frozen=True, kw_only=True, tag=_snake):
    """Tokenise a spec's dataset as its run would, and look it over.

    Reply data: ``inspection``, its name. Then this client alone gets Progress with that name as
    ``run``, and :class:`Inspected` last. It ends with the connection. Refused with all complaints.
    """

    spec: dict[str, Any]


class StopInspection(Request, frozen=True, kw_only=True, tag=_snake):
    """End what :class:`Inspect` began, at once; nothing half done is kept, and nothing follows."""

    inspection: str


class ShowSamples(Request, frozen=True, kw_only=True, tag=_snake):
    """Look at samples of data that was inspected. Reply data: ``samples``, a list of
    :class:`engine.store.encoded_view.Sample`, and ``reason`` why the row is none; with ``search``
    only ``places``, and of how many samples the text was ``searched``. Refused (``not_found``) if
    the tokens are gone: inspect again."""

    data: str
    """From :class:`engine.contract.dataset_report.DatasetReport`."""
    places: list[int] = []
    row: int | None = None
    """Of the dataset, the first being 0, in place of ``places``."""
    name: str = ""
    """What people call that row, for ``reason``; empty for ``Row 12`` among all."""
    first_token: int = 0
    max_length: int | None = None
    """Where samples are cut; None where they are not."""
    search: str = ""


class TryTemplate(Request, frozen=True, kw_only=True, tag=_snake):
    """Write one row of a spec's dataset with a chat template that is being edited. Reply data:
    the fields of :class:`TemplateTried`. Refused with what is wrong with the spec."""

    spec: dict[str, Any]
    template: str | None = None
    """Its text; None for what the spec chooses."""
    row: str = ""
    """As it stands in the file, as JSON; empty for a conversation of Fettle's own."""
    format: str = "auto"
    """Of the row: a key of :data:`engine.formats.registry.FORMATS`."""


class KeepTemplate(Request, frozen=True, kw_only=True, tag=_snake):
    """Write a chat template into Fettle's folder on the engine's machine. Reply data: ``path``, for
    ``dataset.chat_template``. What is kept is never changed."""

    text: str
    name: str = "template"
    """What to call it; the path has it, and what tells the text from others."""


class ListModels(Request, frozen=True, kw_only=True, tag=_snake):
    """Models on the engine's machine. Reply data: ``models``, a list of objects with ``path`` (what
    goes into the spec), ``name``, ``source`` (``cache`` or ``folder``), ``bytes``, ``family``."""

    folders: list[str] = []


class Facts(Request, frozen=True, kw_only=True, tag=_snake):
    """What the engine's machine is. Reply data: ``facts``, see
    :class:`engine.planning.facts.MachineFacts`; beside its fields ``checks``, a list of
    :class:`engine.planning.checkup.Check`, see :func:`engine.planning.doctor.to_wire`."""


class Trace(Request, frozen=True, kw_only=True, tag=_snake):
    """Trace a training step of a spec's model, without weights or data; see
    :mod:`engine.planning.form`.

    Reply data: ``form`` (a :class:`engine.planning.form.Form`), ``config`` (the model's
    ``config.json``), ``source`` (``folder``, ``catalogue``, ``cache`` or ``hub``: where the config
    comes from), ``seconds`` that it took now, ``cached``. The form holds for the spec's
    ``max_length``, and where that is within a sliding window for no longer rows than it. Refused
    where the model's code cannot be traced.
    """

    spec: dict[str, Any]
    device: Literal["cuda", "cpu"] = "cuda"
    """What to trace for; need not be here."""
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    """What ``auto`` comes to on that device."""
    only_kept: bool = False
    """Refuse instead of tracing, where this machine has not traced such a step before."""


class Rehearse(Request, frozen=True, kw_only=True, tag=_snake):
    """Try a spec without making a run: its heaviest steps on its own data, an evaluation, a save
    and a resume, in a worker and a folder that are thrown away.

    Reply data: ``rehearsal``, its name. Then this client alone gets PhaseChanged, Progress, Step,
    Finding and Decision with that name as ``run``, and :class:`Rehearsed` last. It ends with the
    connection. Refused with all complaints, and with ``busy`` while a run trains or waits, or
    another spec is tried: both would share the card, and neither number would be right.
    """

    spec: dict[str, Any]
    planned: dict[str, int] = {}
    """Bytes foretold for a :data:`Pool`, to stand beside what is measured."""


class StopRehearsal(Request, frozen=True, kw_only=True, tag=_snake):
    """End what :class:`Rehearse` began; :class:`Rehearsed` (``stopped``) still comes."""

    rehearsal: str


class ReadOptions(Request, frozen=True, kw_only=True, tag=_snake):
    """What people chose once for all runs of this host. Reply data: ``options``, see
    :class:`engine.store.options.Options`."""


class ChangeOptions(Request, frozen=True, kw_only=True, tag=_snake):
    """Choose otherwise; what is not named stays. Reply data as of :class:`ReadOptions`. Refused
    with all complaints."""

    options: dict[str, Any]


class Warm(Request, frozen=True, kw_only=True, tag=_snake):
    """A run is likely soon: keep one idle worker with its imports done."""


class Leave(Request, frozen=True, kw_only=True, tag=_snake):
    """An idle host ends itself, to make way for another version. Refused while a run is live."""


# ---------------------------------------------------------------- answers: host -> client


class Complaint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing wrong with what a person gave."""

    field: str
    """Dotted name in the spec, such as ``training.learning_rate``, or ``dataset.path`` for data."""
    problem: str
    """What is wrong, in one sentence, with the value or line."""
    remedy: str = ""
    """What to write instead."""
    patch: dict[str, Any] = {}
    """What does it at one click: dotted field of the spec to its new value, None to remove it."""

    def __str__(self) -> str:
        return f"{self.field}: {self.problem} {self.remedy}".rstrip()


class Reply(Message, frozen=True, kw_only=True, tag=_snake):
    """The request was done."""

    to: int
    data: dict[str, Any] = {}


class Refusal(Message, frozen=True, kw_only=True, tag=_snake):
    """The request was not done, and nothing was changed."""

    to: int
    sentence: str
    """What is wrong and what to do, for people."""
    code: str = "bad_input"
    """``bad_input``, ``not_found``, ``wrong_state``, ``version``, ``token``, ``busy``."""
    complaints: list[Complaint] = []


class Columns(Message, frozen=True, kw_only=True, tag=_snake):
    """A piece of a run's past metrics, by column, at most 1 MiB on the wire.

    ``data[name]`` is base64 of little-endian float64, one value a record, NaN where a record has
    none; all columns of one message are equally long, and those without any number are left out.
    Pieces come in ``seq`` order.
    """

    run: str
    kind: Literal["step", "telemetry"]
    data: dict[str, str]
    left: int = 0
    """Records of this kind that are still to come in later pieces, so that room can be made."""


class CaughtUp(Message, frozen=True, kw_only=True, tag=_snake):
    """All records up to ``seq`` have been sent; what follows is live."""

    run: str
    seq: int


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list of runs. Counts are of the newest attempt's point of view."""

    run: str
    """Name of the folder; the run's id."""
    folder: str
    name: str
    state: State
    phase: Phase
    step: int
    max_steps: int
    """0 until known."""
    checkpoints: int
    attempt: int
    method: str
    model: str
    """What the spec says, shortened to the last part of the path."""
    dataset: str
    kind: str
    """``LoRA``, ``QLoRA 4-bit``, ``LoRA 8-bit``, ``Full``: how it is tuned."""
    created_at: float
    ended_at: float | None = None
    train_seconds: float = 0.0
    """Time in workers over all attempts."""
    eta_seconds: float | None = None
    queue_place: int | None = None
    """1 is next."""
    behind: str = ""
    """Name of the run that has the card while this one is queued, or is paused and keeps it free;
    empty if there is none."""
    behind_seconds: float | None = None
    """How long that one is still expected to take."""
    is_behind_paused: bool = False
    """That one is paused: nothing begins until a person continues or stops it."""
    loss: float | None = None
    eval_loss: float | None = None
    loss_curve: list[float] = []
    """At most 60 points over the whole run, for a sparkline."""
    tokens_per_second: float | None = None
    sentence: str = ""
    """Why it stands where it stands, for people; empty when all is well."""
    output: str | None = None
    """Path of the adapter or model, once there is one."""
    bytes: int = 0
    """Size of the checkpoints on disk."""
    resumes_at: float | None = None
    """When a run that is ``recovering`` goes on by itself, UNIX time."""


class RunChanged(Message, frozen=True, kw_only=True, tag=_snake):
    """Newest wins: the summary of a run is now this."""

    summary: RunSummary


class RunRemoved(Message, frozen=True, kw_only=True, tag=_snake):
    """The run's folder is gone."""

    run: str


# ---------------------------------------------------------------- host -> worker


class Job(Message, frozen=True, kw_only=True, tag=_snake):
    """The work of a worker. Exactly one, but for those of kind ``trace``: they may come before."""

    kind: Literal["train", "sample_model", "generate", "rehearse", "trace", "inspect", "template"]
    run: str = ""
    folder: str = ""
    """Run folder (``train``), or where to write (``sample_model``)."""
    log: str = ""
    """File that takes over stdout and stderr of the worker; empty keeps stderr."""
    attempt: int = 1
    checkpoint: str | None = None
    """Verified checkpoint folder to go on from; the worker does not choose."""
    spec: dict[str, Any] = {}
    """A validated spec (``train``) or the arguments of the other kinds."""


class StopJob(Message, frozen=True, kw_only=True, tag=_snake):
    """Save at the next step boundary and end with Done(stopped)."""


class SaveNow(Message, frozen=True, kw_only=True, tag=_snake):
    """Save at the next step boundary and go on."""


# ---------------------------------------------------------------- worker -> host


class Ready(Message, frozen=True, kw_only=True, tag=_snake):
    """Imports are done; a job can start at once."""

    pid: int
    import_seconds: float
    versions: dict[str, str] = {}
    """Package name to version, for run.json."""


class Heartbeat(Message, frozen=True, kw_only=True, tag=_snake):
    """The worker's interpreter runs; whether its job gets on, the count says."""

    at: float
    moves: int = 0
    """How much the job got done that nobody is told of, such as micro-batches: only that it grows
    matters."""


class Progress(Message, frozen=True, kw_only=True, tag=_snake):
    """Progress of a phase without steps, such as tokenising or loading. Newest wins; not kept."""

    run: str = ""
    phase: Phase
    done: int
    total: int
    """0 if unknown."""
    unit: str = ""


class Record(Message, frozen=True, kw_only=True):
    """What a run leaves behind; see the module text."""

    run: str = ""
    seq: int = 0
    """Given by the host; 0 on the way from worker to host."""
    worker_seq: int = 0
    at: float
    attempt: int = 1


class StateChanged(Record, frozen=True, kw_only=True, tag=_snake):
    """The run's state is now this. Only the host sends it."""

    state: State
    sentence: str = ""
    """Why, for people."""
    resumes_at: float | None = None
    """With ``recovering``: when the next attempt begins by itself, UNIX time. No :class:`Done`
    comes before it, since the run has not come to rest."""
    step: int | None = None
    """With ``queued`` by a resume: the step that the run goes on from, as far as its saves are
    known by then. What it had done beyond that is done again."""


class PhaseChanged(Record, frozen=True, kw_only=True, tag=_snake):
    """The worker is now busy with this."""

    phase: Phase
    max_steps: int = 0
    """Sent with ``first step``, when it is known."""
    detail: str = ""


class Step(Record, frozen=True, kw_only=True, tag=_snake):
    """One optimizer step is done."""

    step: int
    """1 after the first."""
    loss: float | None
    """Mean over the step's target tokens; None stands for NaN or infinity."""
    learning_rate: float
    grad_norm: float | None = None
    epoch: float = 0.0
    step_ms: float
    """From the end of the step before (or of a save, eval) to the end of this one."""
    tokens: int = 0
    """Tokens in this step, padding not counted."""
    target_tokens: int = 0
    """Tokens with a label in this step."""
    samples_seen: int = 0
    """The sample cursor after this step."""
    vram_allocated_bytes: int | None = None
    vram_reserved_bytes: int | None = None
    vram_peak_bytes: int | None = None
    """Peak of torch's reserved memory since the run's start."""
    wait_ms: float | None = None
    """Of ``step_ms`` what passed until the step's batches were there."""
    padded_tokens: int | None = None
    """Tokens that were computed: those of ``tokens`` and the padding between them."""


class Telemetry(Record, frozen=True, kw_only=True, tag=_snake):
    """What the host measured, once a second. Every GPU field may be missing."""

    ram_used_bytes: int | None = None
    """Resident memory of the worker's process tree."""
    cpu_percent: float | None = None
    """Of one core."""
    vram_used_bytes: int | None = None
    """On the whole card, by anyone."""
    vram_total_bytes: int | None = None
    vram_process_bytes: int | None = None
    gpu_busy_percent: float | None = None
    gpu_temperature_celsius: float | None = None
    gpu_power_watts: float | None = None
    gpu_power_limit_watts: float | None = None
    gpu_clock_mhz: float | None = None
    """Of the multiprocessors, at this moment."""
    gpu_throttle: list[Throttle] | None = None
    """What keeps the clock down; ``power`` is ordinary on a card at work."""
    shared_used_bytes: int | None = None
    """Memory of the worker's processes that Windows keeps in RAM for the card: what was pinned, and
    what did not fit on the card. Only Windows tells it."""


class Evaluated(Record, frozen=True, kw_only=True, tag=_snake):
    """The evaluation split was measured."""

    step: int
    eval_loss: float
    seconds: float


class CheckpointSaved(Record, frozen=True, kw_only=True, tag=_snake):
    """A checkpoint was written, verified and published."""

    step: int
    folder: str
    """Relative to the run folder, with forward slashes."""
    bytes: int
    seconds: float
    """From the step's end to the verified checkpoint; training goes on meanwhile."""
    stall_seconds: float = 0.0
    """How long training stood still for it."""
    reason: Literal["time", "steps", "asked", "stop", "end", "host_lost", "signal"]


class CertificateLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was compared when a run was resumed."""

    subject: str
    """Stable name, such as ``data``, or the dotted field of a setting that is another."""
    title: str
    """For people, such as ``Data order``."""
    standing: Literal["same", "differs", "unknown"]
    """``unknown``: the save does not say how it was."""
    matters: Matters = "no"
    before: str = ""
    """At the save; empty where it is the same."""
    now: str = ""
    sentence: str
    """What was found, and what it means."""


class ResumeCertificate(Record, frozen=True, kw_only=True, tag=_snake):
    """Whether a resumed run is the run that was saved, said before its first new step."""

    step: int
    """That of the save; the next one is the first new step."""
    verdict: Literal["same", "last_digits", "other", "unknown", "refused"]
    """By what matters most of what differs. ``unknown``: nothing differs, but the save does not
    tell all; ``refused``: the run cannot go on like this, and a Finding says why."""
    title: str
    """The verdict for people."""
    lines: list[CertificateLine]
    loss: float | None = None
    """Of the forward pass that was made at the save and again now; None if there is none."""
    loss_before: float | None = None
    seconds: float = 0.0
    """What the comparison took."""


class Finding(Record, frozen=True, kw_only=True, tag=_snake):
    """Something a person should know: what happened, why, what can be done."""

    severity: Severity
    code: str
    """Stable name, such as ``out_of_memory``."""
    title: str
    """One line: what happened."""
    cause: str = ""
    remedy: str = ""
    detail: str = ""
    """Technical text, folded away: the exception, the last lines."""
    step: int | None = None
    why: str = ""
    """Why Fettle thinks so: the words and facts that fit."""
    patch: dict[str, Any] = {}
    """What mends it at one click, as in :class:`Complaint`: goes into :class:`Resume`."""
    changes_result: bool = False
    """Whether the patch makes another result than the run would have had: to be asked first."""
    effect: str = ""
    """What the patch does to the result, as a sentence."""
    problem: str = ""
    """Id of the known problem, see ``resources/problems``; empty where none was recognised."""
    pool: MemoryPool = ""
    """Which memory ran out; empty where it was not that."""


class Decision(Record, frozen=True, kw_only=True, tag=_snake):
    """Something Fettle chose by itself, and what it costs."""

    title: str
    reason: str
    cost: str = ""
    patch: dict[str, Any] = {}
    """What it changes of the spec, as in :class:`Complaint`, from the run's next worker on. The
    spec of an attempt is that of run.json with the patches of all Decisions so far, see
    :func:`engine.contract.patching.patched`."""


class Done(Record, frozen=True, kw_only=True, tag=_snake):
    """The end of an attempt; always last. In the records of a run it means that the run rests: an
    attempt after which the host goes on by itself ends with StateChanged (``recovering``)."""

    outcome: Outcome
    step: int
    folder: str = ""
    output: str | None = None
    """Absolute path of the adapter or model."""
    sentence: str = ""
    data: dict[str, Any] = {}
    """Results of jobs that are no training."""
    synthesised: bool = False
    """Made by the host because the worker ended without one."""
    exit_code: int | None = None
    """Of the worker, if synthesised; negative is a signal."""


# ---------------------------------------------------------------- rehearsal: host -> client


Pool = Literal["vram", "vram_reserved", "vram_allocated", "tensors", "ram", "pinned", "disk"]
"""A kind of memory: what the whole card holds; what torch holds of it, and uses of that; live
tensors in RAM (where the CPU trains); the worker's resident memory beyond its imports; pinned RAM;
what a checkpoint takes on the disk."""


class PoolPeak(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The most that a rehearsal took of a pool."""

    pool: Pool
    measured_bytes: int
    planned_bytes: int | None = None
    limit_bytes: int | None = None
    """What there is for a run; None if nobody knows."""
    moment: str = ""
    """At which the most was taken: a key of ``by_moment``."""
    by_moment: dict[str, int] = {}
    """The peak while ``load``, ``train``, ``evaluate``, ``save`` or ``resume`` went on."""


class Traced(Message, frozen=True, kw_only=True, tag=_snake):
    """The end of a job of kind ``trace``, which has no :class:`Done`: the worker stays, and takes
    another job."""

    form: dict[str, Any] = {}
    """A :class:`engine.planning.form.Form`; empty if there is none."""
    config: dict[str, Any] = {}
    """The model's config."""
    problem: str = ""
    """Why there is none, in sentences."""


class Inspected(Message, frozen=True, kw_only=True, tag=_snake):
    """The end of a job of kind ``inspect``, which has no :class:`Done`: the worker stays."""

    run: str = ""
    """Name of the inspection, from the reply to :class:`Inspect`."""
    report: DatasetReport | None = None
    complaint: Complaint | None = None
    """Why there is none."""


class TemplateTried(Message, frozen=True, kw_only=True, tag=_snake):
    """The end of a job of kind ``template``; the worker stays."""

    text: str = ""
    """The template."""
    problem: str = ""
    """What is wrong with it, in a sentence; empty if nothing is."""
    line: int | None = None
    """Of the template; the first is 1."""
    sample: dict[str, Any] | None = None
    """The row as :class:`engine.store.encoded_view.Sample`; None where it cannot be written."""
    findings: list[RowFinding] = []
    """What is odd about the template with this model."""


class Rehearsed(Message, frozen=True, kw_only=True, tag=_snake):
    """The end of a rehearsal."""

    run: str
    """Name of the rehearsal, from the reply to :class:`Rehearse`."""
    verdict: Literal["fits", "would_die", "stopped"]
    sentence: str
    """For people: that it fits and with how much room, or where and of what it would have died."""
    pools: list[PoolPeak] = []
    step_seconds: float | None = None
    """Of a step, on average over the run."""
    longest_step_seconds: float | None = None
    """Of the heaviest step, which may be measured more closely and so be slower."""
    total_steps: int = 0
    total_seconds: float | None = None
    """Estimate for the whole run: loading, steps, evaluations and saves."""
    checkpoint_bytes: int | None = None
    heaviest: str = ""
    """The heaviest batch, such as ``4 rows of 2 048 tokens``."""
    heaviest_rows: int = 0
    heaviest_tokens: int = 0
    """Of its longest row, or of each if they lie in line: what a plan has to be made for to be
    compared."""
    device: str = ""
    """``cuda`` or ``cpu``."""
    seconds: float = 0.0
    """How long the rehearsal took."""
    findings: list[Finding] = []
    """All that came up on the way, the reason of a failure last."""


EVENT_TYPES = (
    StateChanged,
    PhaseChanged,
    Evaluated,
    CheckpointSaved,
    ResumeCertificate,
    Finding,
    Decision,
    Done,
)
"""Records kept in ``events.jsonl``; they must arrive."""

METRIC_TYPES = (Step, Telemetry)
"""Records kept in ``metrics.jsonl``."""

NEWEST_WINS = (Heartbeat, Progress, RunChanged)
"""Messages of which only the newest of each kind (and run) matters to a slow reader."""

ALL_TYPES = (
    Hello,
    Start,
    Check,
    ListRuns,
    Show,
    Follow,
    Unfollow,
    Watch,
    Stop,
    Pause,
    SaveCheckpoint,
    VerifySaves,
    Resume,
    MakeReport,
    Remove,
    PreviewDataset,
    Inspect,
    StopInspection,
    ShowSamples,
    TryTemplate,
    KeepTemplate,
    ListModels,
    Facts,
    Trace,
    Rehearse,
    StopRehearsal,
    ReadOptions,
    ChangeOptions,
    Warm,
    Leave,
    Reply,
    Refusal,
    Columns,
    CaughtUp,
    RunChanged,
    RunRemoved,
    Traced,
    Inspected,
    TemplateTried,
    Rehearsed,
    Job,
    StopJob,
    SaveNow,
    Ready,
    Heartbeat,
    Progress,
    *EVENT_TYPES,
    *METRIC_TYPES,
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[ALL_TYPES])


def encode(message: Message) -> bytes:
    """The message as one JSON object, UTF-8, without a line feed."""
    try:
        return _encoder.encode(message)
    except UnicodeEncodeError:
        # A file name or an exception's text that is not UTF-8 must not end the connection.
        return _encoder.encode(_readable(msgspec.to_builtins(message)))


def _readable(value: Any) -> Any:
    """``value`` with what cannot be written as UTF-8 replaced by a question mark."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_readable(key): _readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return value


def decode_line(line: bytes) -> Message:
    """The message in a line.

    Raises ``msgspec.MsgspecError`` (unknown type, wrong shape, no JSON), ``UnicodeDecodeError`` or
    ``RecursionError``; :class:`engine.contract.wire.LineReader` knows them all.
    """
    message: Message = _decoder.decode(line)
    return message
