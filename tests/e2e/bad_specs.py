"""Specs that cannot be trained, each with the field that the answer has to name."""

from __future__ import annotations

SOUND = """\
name = "sound"
[model]
path = "{model}"
[lora]
[dataset]
path = "{data}"
"""

_TOP = 'name = "x"\n'
_TABLES = '[model]\npath = "{model}"\n[dataset]\npath = "{data}"\n'

BAD_SPECS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "name"),
    "not toml": ("this is: yaml", "spec"),
    "json": ('{"name": "x"}', "spec"),
    "binary": (b"\x00\xff\xfe\x80" * 50, "spec"),
    "wrong encoding": ('name = "für"'.encode("latin-1"), "spec"),
    "utf-16": (_TOP.encode("utf-16"), "spec"),
    "key twice": (_TOP + _TOP, "spec"),
    "endless list": (_TOP + "a = " + "[" * 5000, "spec"),
    "no name": (_TABLES, "name"),
    "empty name": ('name = " "\n' + _TABLES, "name"),
    "name of control characters": ('name = "a\\u0007"\n' + _TABLES, "name"),
    "name too long": (f'name = "{"x" * 200}"\n' + _TABLES, "name"),
    "no model": (_TOP + '[dataset]\npath = "{data}"\n', "model"),
    "model is text": (_TOP + 'model = "m"\n[dataset]\npath = "{data}"\n', "model"),
    "no path of model": (_TOP + '[model]\n[dataset]\npath = "{data}"\n', "model.path"),
    "no such model folder": (
        _TOP + '[model]\npath = "./nowhere/model"\n[dataset]\npath = "{data}"\n',
        "model.path",
    ),
    "no dataset": (_TOP + '[model]\npath = "{model}"\n', "dataset"),
    "no such dataset": (
        _TOP + '[model]\npath = "{model}"\n[dataset]\npath = "nowhere.jsonl"\n',
        "dataset.path",
    ),
    "unknown method": (_TOP + 'method = "stf"\n' + _TABLES, "method"),
    "unknown table": (_TOP + _TABLES + "[trainin]\nseed = 1\n", "trainin"),
    "misspelt key": (_TOP + _TABLES + "[training]\nlerning_rate = 1.0\n", "training.lerning_rate"),
    "text for a number": (
        _TOP + _TABLES + '[training]\nlearning_rate = "fast"\n',
        "training.learning_rate",
    ),
    "number for text": (_TOP + _TABLES + "[hardware]\nprofile = 3\n", "hardware.profile"),
    "negative rate": (
        _TOP + _TABLES + "[training]\nlearning_rate = -1\n",
        "training.learning_rate",
    ),
    "nan": (_TOP + _TABLES + "[training]\nlearning_rate = nan\n", "training.learning_rate"),
    "infinite": (_TOP + _TABLES + "[training]\nmax_grad_norm = inf\n", "training.max_grad_norm"),
    "fraction of a step": (_TOP + _TABLES + "[training]\nmax_steps = 1.5\n", "training.max_steps"),
    "no steps": (_TOP + _TABLES + "[training]\nmax_steps = 0\n", "training.max_steps"),
    "batch of none": (
        _TOP + _TABLES + "[training]\nper_device_train_batch_size = 0\n",
        "training.per_device_train_batch_size",
    ),
    "text for a switch": (_TOP + _TABLES + '[training]\npacking = "yes"\n', "training.packing"),
    "seed too large": (_TOP + _TABLES + "[training]\nseed = 4294967296\n", "training.seed"),
    "five bits": (_TOP + _TABLES + "[lora]\n[quantization]\nbits = 5\n", "quantization.bits"),
    "four bits in full": (_TOP + _TABLES + "[quantization]\nbits = 4\n", "quantization.bits"),
    "rank of none": (_TOP + _TABLES + "[lora]\nr = 0\n", "lora.r"),
    "no layers": (_TOP + _TABLES + "[lora]\ntarget_modules = []\n", "lora.target_modules"),
    "rate of embeddings that rest": (
        _TOP + _TABLES + "[lora]\n[training]\nembedding_learning_rate = 1e-5\n",
        "training.embedding_learning_rate",
    ),
    "pretrain on chats": (
        _TOP + 'method = "pretrain"\n' + _TABLES.replace('{data}"', '{data}"\nformat = "messages"'),
        "dataset.format",
    ),
}
"""Name of the case to the file's text and the field. ``{model}`` and ``{data}`` are sound paths."""
