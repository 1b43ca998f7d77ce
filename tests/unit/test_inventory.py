"""Which models are found on this machine, and which folders and ids are refused, in which words."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.planning import hub_cache, inventory

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache."""
    for name in ("HF_HOME", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def write_weights(path: Path, size: int = 64) -> None:
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * size)


def write_model(folder: Path, *, shards: int = 1, **config: Any) -> Path:
    folder.mkdir(parents=True)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]} | config
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    if shards == 1:
        write_weights(folder / "model.safetensors")
        return folder
    names = [f"model-{n}.safetensors" for n in range(shards)]
    for name in names:
        write_weights(folder / name)
    index = {"weight_map": {f"w{n}": name for n, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_cached(cache: Path, id: str, commit: str = COMMIT, **more: Any) -> Path:
    place = cache / ("models--" + id.replace("/", "--"))
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    return write_model(place / "snapshots" / commit, **more)


def only(path: str | Path) -> str:
    """The one complaint about a model."""
    complaints = inventory.check_model(str(path))
    assert len(complaints) == 1, complaints
    assert complaints[0].field == "model.path"
    assert complaints[0].remedy
    return str(complaints[0])


# ---------------------------------------------------------------- listing


def test_a_cached_model_goes_by_its_id(cache: Path) -> None:
    snapshot = write_cached(cache, "org/one", shards=3)
    size = sum(p.stat().st_size for p in snapshot.glob("*.safetensors"))
    assert inventory.list_models() == [
        {"path": "org/one", "name": "org/one", "source": "cache", "bytes": size, "family": "llama"}
    ]


def test_cache_links_are_followed_and_broken_ones_are_not_whole(cache: Path) -> None:
    snapshot = write_cached(cache, "org/one")
    blob = cache / "models--org--one" / "blob"
    (snapshot / "model.safetensors").rename(blob)
    try:
        (snapshot / "model.safetensors").symlink_to(blob)
    except OSError:
        pytest.skip("this user may not make links")
    assert [m["path"] for m in inventory.list_models()] == ["org/one"]
    blob.unlink()
    assert inventory.list_models() == []


@pytest.mark.parametrize("lost", ["config.json", "model-1.safetensors"])
def test_a_half_downloaded_model_is_not_listed(cache: Path, lost: str) -> None:
    (write_cached(cache, "org/one", shards=2) / lost).unlink()
    assert inventory.list_models() == []


def test_an_older_whole_snapshot_goes_by_its_folder(cache: Path) -> None:
    old = write_cached(cache, "org/one")
    (cache / "models--org--one" / "refs" / "main").write_text("f" * 40)
    assert [m["path"] for m in inventory.list_models()] == [str(old)]


def test_models_that_write_no_text_and_datasets_are_left_out(cache: Path) -> None:
    write_cached(cache, "org/bert", model_type="bert", architectures=["BertForMaskedLM"])
    (cache / "datasets--org--data" / "snapshots" / COMMIT).mkdir(parents=True)
    assert inventory.list_models() == []


def test_folders_are_searched_two_levels_deep(tmp_path: Path) -> None:
    top = tmp_path / "models"
    places = [write_model(top / "a"), write_model(top / "b" / "c")]
    write_model(top / "d" / "e" / "f")
    write_model(top / ".hidden")
    found = inventory.list_models([str(top), str(top / "a"), str(tmp_path / "missing")])
    assert [m["path"] for m in found] == [str(place) for place in places]
    assert {m["source"] for m in found} == {"folder"}


def test_a_folder_that_is_a_model_is_found_itself(tmp_path: Path) -> None:
    place = write_model(tmp_path / "m", model_type="qwen3", architectures=["Qwen3ForCausalLM"])
    (model,) = inventory.list_models([str(place)])
    assert (model["name"], model["family"]) == ("m", "qwen3")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({}, str(Path("~/.cache/huggingface/hub").expanduser())),
    ],
)
def test_the_cache_is_where_the_hub_library_puts_it(environ: dict[str, str], expected: str) -> None:
    assert hub_cache.folder(environ) == Path(expected)


# ---------------------------------------------------------------- checking


def test_a_whole_folder_is_fine(tmp_path: Path) -> None:
    assert inventory.check_model(str(write_model(tmp_path / "m", shards=2))) == []


def test_no_config(tmp_path: Path) -> None:
    write_model(tmp_path / "inside")
    said = only(tmp_path)
    assert "no config.json" in said
    assert "inside" in said


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "adapter" in only(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [("{broken", "not valid JSON"), ("[]", "no settings"), ("{}", "model_type")],
)
def test_a_broken_config(tmp_path: Path, text: str, words: str) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "config.json").write_text(text)
    assert words in only(folder)


@pytest.mark.parametrize(
    ("instead", "words"),
    [
        (None, "no weights"),
        ("pytorch_model.bin", "pickle"),
        ("model.gguf", "GGUF"),
    ],
)
def test_weights_that_cannot_be_used(tmp_path: Path, instead: str | None, words: str) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    if instead:
        (folder / instead).write_bytes(b"x")
    said = only(folder)
    assert words in said
    assert "safetensors" in said


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", shards=3)
    (folder / "model-1.safetensors").unlink()
    said = only(folder)
    assert "1 of 3" in said
    assert "model-1.safetensors" in said


@pytest.mark.parametrize("length", [0, 4, 20, -1])
def test_a_cut_off_weight_file_is_seen(tmp_path: Path, length: int) -> None:
    folder = write_model(tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    assert "cut short" in only(folder)


def test_a_missing_tokenizer_is_named_with_all_else(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    (folder / "model.safetensors").unlink()
    said = [str(c) for c in inventory.check_model(str(folder))]
    assert len(said) == 2
    assert "no weights" in said[0]
    assert "no tokenizer" in said[1]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(b"x")
    assert "is a file" in only(tmp_path / "m.safetensors")
    (tmp_path / "m.gguf").write_bytes(b"x")
    assert "GGUF" in only(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    "path",
    ["gpt2", "a/b/c", "/no/such/folder", "./x", "a b/c", "a/../b", "org/", "a\0b", "~nobody"],
)
def test_neither_folder_nor_id(path: str) -> None:
    assert "no folder here and no hub id" in only(path)


def test_a_slip_of_the_pen_is_put_right() -> None:
    assert "Did you mean Qwen/Qwen2.5-0.5B?" in only("qwen2.5-0.5b")
    assert "Did you mean mistralai/Mistral-7B-v0.3?" in only("mistralai/Mistral-7B-v0.3/")


@pytest.mark.parametrize("id", ["org/name", "Qwen/Qwen2.5-0.5B", "a_b/c.d-e_f"])
def test_a_hub_id_is_fine_online(id: str) -> None:
    assert inventory.check_model(id) == []


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_a_model_must_be_in_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert "not in the Hugging Face cache" in only("org/one")
    snapshot = write_cached(cache, "org/one")
    assert inventory.check_model("org/one") == []
    assert inventory.check_model("org/one", revision=COMMIT) == []
    assert len(inventory.check_model("org/one", revision="v2")) == 1
    (snapshot / "model.safetensors").unlink()
    assert "download is not complete" in only("org/one")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_folder_is_a_sentence(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    folder.chmod(0)
    try:
        assert "cannot be read" in only(folder)
        assert inventory.list_models([str(tmp_path)]) == []
    finally:
        folder.chmod(0o700)
