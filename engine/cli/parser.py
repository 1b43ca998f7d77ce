"""The words of the command line. Imports nothing but argparse, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

import engine

PLATFORMS = ("linux", "windows", "wsl")
METHODS = ("sft", "pretrain")
LOSSES = ("answers", "last_answer", "everything")
PICKS = ("random", "longest", "shortest", "most_cut", "untaught")
FAMILIES = ("llama", "mistral", "qwen", "gemma")
RUN_HELP = "a run's folder, a unique prefix of its name, or: last"

_EPILOG = """\
exit codes: 0 finished, 10 stopped, 20 failed, 2 bad input, 3 a rehearsal found that the run would
die or a plan that it does not fit, 4 verify found a damaged save, 5 the engine is busy with a run,
130 left with Ctrl-C (training goes on)
FETTLE_HOME moves all that Fettle keeps."""


class UsageError(Exception):
    """The command line makes no sense; the text is for people."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}. Try: {self.prog} --help")


def build() -> argparse.ArgumentParser:
    """The parser of ``fettle``. Each command leaves its name in ``command``."""
    parser = _Parser(
        prog="fettle",
        description="Fine-tune language models on the GPU you own.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fettle {engine.__version__}")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line on stdout, the rest on stderr"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common = _Parser(add_help=False)
    # SUPPRESS, so that the command's default does not undo a --json before the command.
    common.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    for add in (_training_commands, _run_commands, _other_commands):
        add(commands, common)
    return parser


def wants_json(argv: list[str] | None) -> bool:
    """Whether ``--json`` was given, even on a line that makes no sense."""
    return "--json" in (sys.argv[1:] if argv is None else argv)


def _command(
    commands: argparse._SubParsersAction[_Parser], common: _Parser, name: str, text: str
) -> _Parser:
    return commands.add_parser(name, help=text, description=_sentence(text), parents=[common])


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _training_commands(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    train = _command(commands, common, "train", "train what a TOML file describes")
    train.add_argument("spec", metavar="SPEC", help="the file; `fettle spec --example` prints one")
    train.add_argument(
        "--set",
        dest="settings",
        metavar="A.B=C",
        action="append",
        default=[],
        help="change a setting of the file, such as training.max_steps=100",
    )
    train.add_argument("--detach", action="store_true", help="start it and return")
    plan = _command(commands, common, "plan", "say whether a TOML file fits into memory, and why")
    _plan_arguments(plan)
    rehearse = _command(
        commands, common, "rehearse", "try the heaviest steps of a TOML file, and leave no trace"
    )
    rehearse.add_argument("spec", metavar="SPEC", help="the file")
    rehearse.add_argument(
        "--set", dest="settings", metavar="A.B=C", action="append", default=[],
        help="change a setting of the file",
    )  # fmt: skip
    _data_arguments(_command(commands, common, "data", "show what a model will see of a dataset"))
    resume = _command(commands, common, "resume", "go on with a run from its newest checkpoint")
    resume.add_argument("run", metavar="RUN", type=run_name, help=RUN_HELP)
    resume.add_argument("--detach", action="store_true", help="queue it and return")
    resume.add_argument(
        "--fix", action="store_true", help="first change what the reason of its failure asks for"
    )
    resume.add_argument(
        "--yes", action="store_true", help="do not ask where a fix changes the result"
    )
    demo = _command(commands, common, "demo", "train a tiny model on bundled data, in a minute")
    demo.add_argument("--headless", action="store_true", help="in the terminal, without a window")


def _mebibytes(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of MiB, such as 200")
    return int(text)


def _plan_arguments(plan: _Parser) -> None:
    plan.add_argument("spec", metavar="SPEC", help="the file; its dataset need not exist")
    plan.add_argument(
        "--set", dest="settings", metavar="A.B=C", action="append", default=[],
        help="change a setting of the file",
    )  # fmt: skip
    plan.add_argument(
        "--profile",
        metavar="P",
        help="a card that need not be here, such as t4; `fettle spec --profiles` lists them",
    )
    plan.add_argument(
        "--platform", choices=PLATFORMS, help="plan as if it ran there; default: this machine's"
    )
    plan.add_argument(
        "--pinned",
        type=_mebibytes,
        metavar="MIB",
        help="pinned memory that a process may have there",
    )
    plan.add_argument(
        "--all", action="store_true", help="work out every change, however long it takes"
    )
    plan.add_argument(
        "--fit", action="store_true", help="find the cheapest change that makes it fit"
    )


def _data_arguments(data: _Parser) -> None:
    data.add_argument(
        "file", metavar="FILE",
        help="a dataset: a file, a folder, a pattern such as 'data/*.jsonl', a hub id; or a spec "
        "(.toml) that names some",
    )  # fmt: skip
    _reading_arguments(data)
    _tokens_arguments(data)
    which = data.add_mutually_exclusive_group()
    which.add_argument(
        "--row",
        metavar="N",
        help="show this row; the first is 1, and 0 in JSON; of several files such as a.jsonl:12",
    )
    which.add_argument("--pick", choices=PICKS, help="show such a sample; default: random")
    which.add_argument("--search", metavar="TEXT", help="show the first sample with these words")


def _reading_arguments(data: _Parser) -> None:
    """How the rows are read."""
    data.add_argument("--format", default="auto", metavar="F", help="default: by its first rows")
    data.add_argument(
        "--columns", metavar="A=B", action="append", default=[],
        help="the file's column B is A, such as instruction=Frage",
    )  # fmt: skip
    data.add_argument(
        "--roles", metavar="A=B", action="append", default=[],
        help="the file calls the role A B, such as user=customer",
    )  # fmt: skip
    data.add_argument(
        "--max-samples", type=int, default=None, metavar="N", help="use only the first N rows"
    )


def _tokens_arguments(data: _Parser) -> None:
    """What becomes of them."""
    data.add_argument(
        "--model", metavar="M", help="a model's folder or hub id; its tokens and template are shown"
    )
    data.add_argument("--method", choices=METHODS, help="default: what the data is for")
    data.add_argument(
        "--max-length", type=int, default=None, metavar="N", help="where samples are cut"
    )
    data.add_argument(
        "--chat-template", metavar="T",
        help="a bundled template such as chatml, or a .jinja file; default: the model's own",
    )  # fmt: skip
    data.add_argument(
        "--loss-on", choices=LOSSES, help="what is learnt of a conversation; default: answers"
    )
    data.add_argument(
        "--set", dest="settings", metavar="A.B=C", action="append", default=[],
        help="change a setting of the spec",
    )  # fmt: skip


def _run_commands(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    _command(commands, common, "runs", "list all runs, newest first")
    show = _command(commands, common, "show", "show where a run stands")
    follow = _command(commands, common, "follow", "show a run's past, and its progress to its end")
    follow.add_argument(
        "--since", type=int, default=0, metavar="SEQ", help="skip records up to this number"
    )
    stop = _command(commands, common, "stop", "save and stop a run")
    stop.add_argument(
        "--now", action="store_true", help="do not save: end it at once, back at its last save"
    )
    pause = _command(
        commands, common, "pause", "save a run and give the whole card back, until it continues"
    )
    go_on = _command(commands, common, "continue", "go on with a paused run, in its old place")
    go_on.add_argument("--detach", action="store_true", help="let it go on and return")
    checkpoint = _command(commands, common, "checkpoint", "save a run now, and go on")
    verify = _command(commands, common, "verify", "read every byte of a run's saves again")
    remove = _command(commands, common, "remove", "delete a run that has ended, with its results")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    report = _command(
        commands, common, "report", "write an archive about a run to give away, without your data"
    )
    report.add_argument("--out", metavar="FILE", help="where to; default: Fettle's reports folder")
    report.add_argument(
        "--with-data", action="store_true", help="put the first rows of the data in as well"
    )
    named = (show, follow, stop, pause, go_on, checkpoint, verify, remove, report)
    for parser in named:
        parser.add_argument("run", metavar="RUN", type=run_name, help=RUN_HELP)


def run_name(text: str) -> str:
    """What names a run, with the path of a run's folder made absolute: the host is elsewhere."""
    folder = Path(text)
    return str(folder.resolve()) if (folder / "run.json").is_file() else text


def _other_commands(commands: argparse._SubParsersAction[_Parser], common: _Parser) -> None:
    spec = _command(commands, common, "spec", "print what a spec can hold, or check one")
    which = spec.add_mutually_exclusive_group(required=True)
    which.add_argument("--example", action="store_true", help="a commented example")
    which.add_argument("--schema", action="store_true", help="the JSON schema")
    which.add_argument("--methods", action="store_true", help="ways to train, and their data")
    which.add_argument("--models", action="store_true", help="well-known models for model.path")
    which.add_argument("--profiles", action="store_true", help="cards for hardware.profile")
    which.add_argument("--check", metavar="FILE", help="say what is wrong with a file")
    which.add_argument("file", metavar="FILE", nargs="?", help="a file to check, as with --check")
    which.add_argument(
        "--import",
        dest="recipe",
        metavar="FILE",
        help="make a spec of a recipe (JSON or TOML) of TRL, transformers, LLaMA-Factory, Axolotl",
    )
    spec.add_argument(
        "--set", dest="settings", metavar="A.B=C", action="append", default=[],
        help="change a setting of the file that is checked",
    )  # fmt: skip
    sample = _command(
        commands, common, "sample-model", "write a tiny, randomly initialised model to try with"
    )
    sample.add_argument("dir", metavar="DIR", help="folder to write it to")
    sample.add_argument("--family", choices=FAMILIES, default="llama", help="default: llama")
    sample.add_argument("--seed", type=int, default=0, help="default: 0")
    options = _command(
        commands, common, "options", "show or choose what holds for all runs of this machine"
    )
    options.add_argument(
        "changes", metavar="NAME=VALUE", nargs="*", help="such as resume_automatically=off"
    )
    doctor = _command(
        commands, common, "doctor", "look this machine over: what is well, and what to do"
    )
    doctor.add_argument("--report", action="store_true", help="plain text for a bug report")
    _command(commands, common, "app", "open the window")
