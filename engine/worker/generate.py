"""The job ``generate``: answers of a model, with or without an adapter, always the likeliest."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from engine.contract.lifecycle import Phase
from engine.contract.messages import Done, Job
from engine.contract.spec import ModelSpec
from engine.worker.chat import ChatRenderer
from engine.worker.endings import end_of, ends_of
from engine.worker.failures import JobError
from engine.worker.loading import explained, load_tokenizer
from engine.worker.report import Report

MAX_NEW_TOKENS = 256


def run(job: Job, report: Report) -> Done:
    """Answer ``prompts`` of the job's spec (``model``, ``adapter``, ``max_new_tokens``)."""
    asked = job.spec
    prompts = asked.get("prompts", [])
    if not isinstance(asked.get("model"), str) or not isinstance(prompts, list):
        raise JobError("bad_input", "generate needs `model` (text) and `prompts` (list of texts).")
    report.enter(Phase.LOADING_MODEL)
    model, tokenizer = _load(asked["model"], asked.get("adapter"))
    answers = []
    for prompt in prompts:
        report.raise_if_ending()
        limit = int(asked.get("max_new_tokens", MAX_NEW_TOKENS))
        answers.append(answer(model, tokenizer, str(prompt), limit))
        report.progress(len(answers), len(prompts), "answers")
    return Done(at=time.time(), outcome="finished", step=0, data={"answers": answers})


def _load(path: str, adapter: str | None) -> tuple[Any, PreTrainedTokenizerBase]:
    cuda = torch.cuda.is_available()
    with explained(path):
        model: Any = AutoModelForCausalLM.from_pretrained(
            path,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="auto" if cuda else torch.float32,
            device_map={"": 0 if cuda else "cpu"},
        )
    words = path
    if adapter is not None:
        with explained(adapter):
            model = PeftModel.from_pretrained(model, adapter)
        # A run saves its tokenizer, whose chat template it may have had to choose.
        words = adapter if (Path(adapter) / "tokenizer_config.json").exists() else path
    model.eval()
    return model, load_tokenizer(ModelSpec(path=words))


def answer(model: Any, tokenizer: PreTrainedTokenizerBase, prompt: str, limit: int) -> str:
    """The likeliest continuation, at most ``limit`` tokens; a question if the model can chat."""
    chat = bool(tokenizer.chat_template)
    if chat:
        prompt = ChatRenderer(tokenizer).prompt([{"role": "user", "content": prompt}])
    inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=not chat).to(model.device)
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        made = model.generate(
            **inputs, max_new_tokens=limit, do_sample=False, pad_token_id=tokenizer.pad_token_id,
            eos_token_id=_ends(model, tokenizer),
        )  # fmt: skip
    new = made[0, inputs["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True)).strip()


def _ends(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int] | None:
    """Where an answer stops: also at what the template ends it with, which the generation config
    of an adapter's base model need not name."""
    end = end_of(tokenizer)
    return [*ends_of(model, tokenizer), *([end.id] if end else [])] or None
