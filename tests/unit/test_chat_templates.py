"""Chat templates as files: found, refused in a sentence, and kept for good."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.contract.template_names import BUNDLED
from engine.contract.toml import absolute_paths
from engine.host.checks import complaints_about
from engine.planning import chat_templates, template_syntax
from engine.planning.chat_templates import TemplateProblem


def test_what_is_chosen_is_read(tmp_path: Path) -> None:
    mine = tmp_path / "mine.jinja"
    mine.write_bytes(b"\xef\xbb\xbf{{ x }}\r\n")
    assert chat_templates.read("") is None
    assert chat_templates.read("auto") is None
    assert chat_templates.read("zephyr") == chat_templates.text_of("zephyr")
    assert chat_templates.read(str(mine)) == "{{ x }}\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "There is no file"),
        (b"\n ", "is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * (chat_templates.MOST_BYTES + 1), "more than 256 KiB"),
    ],
)
def test_what_cannot_be_one_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    mine = tmp_path / "mine.jinja"
    if content is not None:
        mine.write_bytes(content)
    with pytest.raises(TemplateProblem, match=words):
        chat_templates.read(str(mine))
    raw = {"name": "n", "model": {"path": "org/m"}, "lora": {},
           "dataset": {"path": "/nowhere.json", "chat_template": str(mine)}}  # fmt: skip
    told = [c for c in complaints_about(raw)[1] if c.field == "dataset.chat_template"]
    assert words in told[0].problem
    assert told[0].remedy


def test_a_folder_and_an_impossible_path_are_refused(tmp_path: Path) -> None:
    for chosen in (str(tmp_path) + "/", "/" + "x" * 5000 + "/y.jinja"):
        assert chat_templates.complaints(chosen)
    assert "which folder" in chat_templates.complaints("mine.jinja")[0].problem


def test_a_file_beside_a_spec_is_found(tmp_path: Path) -> None:
    raw = {"dataset": {"path": "d.json", "chat_template": "t/mine.jinja"}}
    found = absolute_paths(raw, tmp_path)["dataset"]
    assert found == {
        "path": str(tmp_path / "d.json"), "chat_template": str(tmp_path / "t" / "mine.jinja"),
    }  # fmt: skip
    named = {"dataset": {"path": "d.json", "chat_template": "chatml"}}
    assert absolute_paths(named, tmp_path)["dataset"]["chat_template"] == "chatml"


def test_what_is_kept_is_never_changed(fettle_home: Path) -> None:
    first = chat_templates.keep("{{ one }}", "../my own.jinja")
    again = chat_templates.keep("{{ one }}", first.name)
    other = chat_templates.keep("{{ two }}", first.name)
    assert first == again != other
    assert first.parent == other.parent == fettle_home / "templates"
    assert first.name.startswith("my-own-")
    assert (first.read_text(), other.read_text()) == ("{{ one }}", "{{ two }}")
    assert chat_templates.read(str(first)) == "{{ one }}"


def test_names_of_other_programs_lead_to_ours() -> None:
    names = ("llama3", "qwen_25", "phi_35", "mistral_v1", "default", "tinyllama", "no_such")
    found = [chat_templates.known_as(name) for name in names]
    assert found == ["llama-3", "qwen", "phi-3", "mistral", "plain", "zephyr", ""]


def test_an_end_that_a_model_lacks_is_found_without_loading_it(tmp_path: Path) -> None:
    assert chat_templates.unknown_end("chatml", None) is None
    assert chat_templates.unknown_end("chatml", tmp_path) is None
    (tmp_path / "tokenizer.json").write_text('{"added_tokens": [{"content": "<|im_end|>"}]}')
    ends = {name: chat_templates.unknown_end(name, tmp_path) for name in BUNDLED}
    assert (ends["chatml"], ends["plain"], ends["llama-3"]) == ("", "", "<|eot_id|>")
    assert chat_templates.unknown_end("auto", tmp_path) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{% for m in messages %}\n{{ m }}\n{% endfro %}", "Line 3: Encountered unknown tag"),
        ("{{ messages | tojsn }}", "Line 1: No filter named 'tojsn'"),
        ("{{ " + "(" * 9000, "too deep"),
    ],
)
def test_a_template_that_cannot_be_read_is_refused_without_torch(
    tmp_path: Path, text: str, told: str
) -> None:
    pytest.importorskip("jinja2")
    path = tmp_path / "bad.jinja"
    path.write_text(text, encoding="utf-8")
    (found,) = chat_templates.complaints(str(path))
    assert found.field == "dataset.chat_template"
    assert f"{path}: " in found.problem
    assert told in found.problem
    assert "Mend the file" in found.remedy


def test_what_transformers_adds_to_the_language_is_no_mistake() -> None:
    marked = (
        "{% for m in messages %}{% if m.role == 'x' %}{% continue %}{% endif %}"
        "{% generation %}{{ m.content | tojson }}{% endgeneration %}{% endfor %}"
        "{{ raise_exception('no') }}{{ strftime_now('%Y') }}"
    )
    assert template_syntax.mistake_in(marked) == ""
    for name in BUNDLED:
        assert template_syntax.mistake_in(chat_templates.text_of(name)) == ""


def test_without_jinja2_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert template_syntax.mistake_in("{% endfro %} {# and no jinja2 #}") == ""
