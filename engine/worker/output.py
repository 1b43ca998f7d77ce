"""The result of a run: adapter or model, tokenizer, how it was made, a script to repeat it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path, PurePath
from typing import Any

import msgspec
import psutil
from peft import PeftModel
from safetensors import SafetensorError

from engine.contract.spec import Spec
from engine.contract.template_names import is_auto
from engine.contract.toml import write as write_toml
from engine.store.files import (
    HELD_SECONDS,
    disk_sentence,
    is_full,
    rename,
    sync_file,
    sync_folder,
)
from engine.store.staging import CheckpointError, NoRoom
from engine.worker.endings import NewEnd
from engine.worker.recipe import script

FOLDER = "output"
_BEFORE = f".{FOLDER}-before"
_STAGING = re.compile(rf"\.{FOLDER}-(\d+)")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the run, for the README."""

    steps: int
    train_loss: float | None
    eval_loss: float | None
    train_samples: int
    eval_samples: int
    data: str
    versions: dict[str, str]
    may_pack: bool = True
    """The model keeps samples of a row apart."""
    end: NewEnd | None = None
    """What it learnt to end answers with."""


def write(run_folder: Path, spec: Spec, model: Any, tokenizer: Any, facts: Facts) -> Path:
    """Write the result beside, then put it in place; gives its folder.

    Raises :class:`engine.store.staging.CheckpointError` if the disk does not take it, its kind
    :class:`engine.store.staging.NoRoom` if that is full.
    """
    staging = run_folder / f".{FOLDER}-{os.getpid()}"
    try:
        clear(run_folder)
        staging.mkdir(parents=True)
        _fill(staging, spec, model, tokenizer, facts)
        return _put_in_place(staging, run_folder / FOLDER)
    except OSError as error:
        raise _refusal(error, staging) from error
    except SafetensorError as error:
        raise _refusal(_disk_error(error), staging) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def clear(run_folder: Path) -> None:
    """Remove what a worker left that was ended while it wrote the result: it may be as large as the
    model. What a living one writes stays, and so does a result that was to be replaced."""
    found = [(path, _STAGING.fullmatch(path.name)) for path in run_folder.glob(f".{FOLDER}-*")]
    written = {path: int(match[1]) for path, match in found if match}
    at_work = {path for path, pid in written.items() if _is_at_work(path, pid)}
    for path in written.keys() - at_work:
        shutil.rmtree(path, ignore_errors=True)
    before, final = run_folder / _BEFORE, run_folder / FOLDER
    if at_work or not before.is_dir():
        return
    if final.exists():
        shutil.rmtree(before, ignore_errors=True)
        return
    with contextlib.suppress(OSError):  # The next one tries it again.
        rename(before, final)


def _is_at_work(staging: Path, pid: int) -> bool:
    """Whether another process writes there: one that has the number of a dead one began later."""
    if pid == os.getpid():
        return False
    try:
        return bool(psutil.Process(pid).create_time() <= staging.stat().st_mtime)
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
    except (psutil.Error, OSError):
        return True


def _refusal(error: OSError, folder: Path) -> CheckpointError:
    kind = NoRoom if is_full(error) else CheckpointError
    return kind(disk_sentence(error, folder))


def _disk_error(error: SafetensorError) -> OSError:
    """What the system said, which safetensors wraps as text."""
    found = _OS_ERROR.search(str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else OSError(str(error))


def _fill(staging: Path, spec: Spec, model: Any, tokenizer: Any, facts: Facts) -> None:
    if isinstance(model, PeftModel):
        # Trained embeddings are in modules_to_save; "auto" would add untrained ones, or ask the
        # hub whether the vocabulary has grown.
        model.save_pretrained(staging, safe_serialization=True, save_embedding_layers=False)
    else:
        model.save_pretrained(staging)
    tokenizer.save_pretrained(staging)
    _tidy(staging)
    (staging / "README.md").write_text(readme(spec, facts), encoding="utf-8")
    (staging / "train.py").write_text(script(spec, may_pack=facts.may_pack), encoding="utf-8")


def _tidy(folder: Path) -> None:
    """Make identical runs give identical files, and take out what holds for this machine only."""
    adapter, tokenizer = folder / "adapter_config.json", folder / "tokenizer_config.json"
    if adapter.exists():
        config = json.loads(adapter.read_text(encoding="utf-8"))
        # PEFT holds the names in a set, whose order is another one in every process.
        if isinstance(config.get("target_modules"), list):
            config["target_modules"].sort()
        _write_json(adapter, config, sort_keys=True)
    if tokenizer.exists():
        config = json.loads(tokenizer.read_text(encoding="utf-8"))
        config.pop("local_files_only", None)
        _write_json(tokenizer, config, sort_keys=False)


def _write_json(path: Path, config: dict[str, Any], *, sort_keys: bool) -> None:
    text = json.dumps(config, indent=2, ensure_ascii=False, sort_keys=sort_keys)
    path.write_text(text + "\n", encoding="utf-8")


def _put_in_place(staging: Path, final: Path) -> Path:
    for path in staging.rglob("*"):
        if path.is_file():
            sync_file(path)
    sync_folder(staging)
    if final.exists():
        _replace(staging, final)
    else:
        rename(staging, final, patience_s=HELD_SECONDS)
    sync_folder(final.parent)
    return final


def _replace(staging: Path, final: Path) -> None:
    """The new result instead of the one before, which stays if that fails."""
    before = final.with_name(_BEFORE)
    shutil.rmtree(before, ignore_errors=True)
    rename(final, before, patience_s=HELD_SECONDS)
    try:
        rename(staging, final, patience_s=HELD_SECONDS)
    except OSError:
        rename(before, final)
        raise
    shutil.rmtree(before, ignore_errors=True)


def readme(spec: Spec, facts: Facts) -> str:
    """How the result was made, for whoever finds it."""
    kind = "adapter" if spec.lora else "model"
    versions = "\n".join(f"- {name} {version}" for name, version in facts.versions.items())
    front = f"---\nbase_model: {spec.model.path}\n"
    front += "library_name: peft\n---\n" if spec.lora else "library_name: transformers\n---\n"
    about = _about_template(spec) + _about_end(spec, facts.end)
    return f"""{front}
# {spec.name}

This {kind} was made with Fettle: {spec.kind}, method `{spec.method}`, {facts.steps} steps on
{facts.train_samples} samples.

| | |
|---|---|
| Training loss, last step | {_shown(facts.train_loss)} |
| Loss on {facts.eval_samples} held-back samples | {_shown(facts.eval_loss)} |
| Fingerprint of the training data | `{facts.data[:16]}` |

`train.py` repeats the recipe with nothing but TRL and PEFT.{about}

## The spec

```toml
{write_toml(spec, comments=False).strip()}
```

## Versions

{versions}
"""


def _about_template(spec: Spec) -> str:
    if is_auto(spec.dataset.chat_template) or spec.method != "sft":
        return ""
    return (
        f" Chats with it need the chat template that it was trained with (`"
        f"{PurePath(spec.dataset.chat_template).name}`): it is in `chat_template.jinja`, and "
        "loaded with the tokenizer of this folder."
    )


def _about_end(spec: Spec, end: NewEnd | None) -> str:
    if end is None:
        return ""
    how = f" An adapter cannot say so itself: generate with `eos_token_id={end.id}`."
    return f" Answers end with `{end.token}`.{how if spec.lora else ''}"


def _shown(loss: float | None) -> str:
    return "not measured" if loss is None else f"{loss:.6f}"
