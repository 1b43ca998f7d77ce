"""What must not leave the computer is taken out of texts, and nothing else."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import own_secrets
from engine.contract.lifecycle import State
from engine.contract.masking import MASK, has_secret, masked
from engine.contract.messages import Finding, StateChanged
from engine.contract.redaction import ROW, Hidden, pieces_of, redacted, redacted_value
from engine.contract.toml import EXAMPLE, to_raw
from engine.contract.validate import check
from engine.diagnosis.bundle import ROOT, Contents, files_of
from engine.diagnosis.dataless import LEFT_OUT, by_shape, notes_without_data, without_quotes
from engine.discreet import discreet

HUB = "hf_" + "aB3" * 12

# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"token={HUB}.", "token=[removed]."),
        (f"Authorization: Bearer {HUB}", "Authorization: Bearer [removed]"),
        ("{'authorization': 'Bearer abc.def'}", "{'authorization': 'Bearer [removed]'}"),
        ("https://ada:secret1@mirror.example/x", "https://[removed]@mirror.example/x"),
        (
            "https://x.org/f?X-Amz-Signature=ab12&y=1",
            "https://x.org/f?X-Amz-Signature=[removed]&y=1",
        ),
        ("https:/ada:secret1@mirror.example/x", "https:/[removed]@mirror.example/x"),
        ("GET /x?token=abcdef", "GET /x?token=[removed]"),
        ("WANDB_API_KEY=0123456789abcdef0123", "WANDB_API_KEY=[removed]"),
        ('{"api_key": "sk_live_12345678"}', '{"api_key": "[removed]"}'),
        ("sk-proj-" + "a1" * 20, MASK),
        ("ghp_" + "a1" * 15, MASK),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nx", "[removed]\nx"),
    ],
)
def test_what_looks_like_a_token_is_masked(text: str, kept: str) -> None:
    assert masked(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "{'loss': '1.84', 'num_tokens': '81920', 'learning_rate': 0.0002}",
        "bos_token_id: 128000, eos_token='<|eot_id|>', pad_token = '<|finetune_right_pad_id|>'",
        "https://huggingface.co/meta-llama/Llama-3.1-8B/resolve/main/config.json",
        "TOKENIZERS_PARALLELISM=false, HF_TOKEN=None",
        "model.layers.0.self_attn.q_proj: mask the key and query",
        "the password is not set",
        "ada@example.org wrote a@b, file:/a@b, C:/x:y@z",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert masked(text) == text
    assert not has_secret(text)


def test_a_known_token_is_masked_whatever_it_looks_like() -> None:
    assert masked("x correct-horse y", ["correct-horse"]) == "x [removed] y"
    assert masked("short", ["short"]) == "short"


def test_masking_is_quick_on_anything() -> None:
    began = time.process_time()
    for text in ("A" * 100_000, "a." * 50_000, "://" * 30_000, "TOKEN_" * 20_000, "eyJ" * 30_000):
        masked(text)
    assert time.process_time() - began < 5


def test_own_tokens_are_found_where_libraries_look(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("file-token-0123456789\n")
    (tmp_path / "stored_tokens").write_text("[laptop]\nhf_token = stored-token-0123456789\n")
    found = own_secrets.find(
        {"HF_HOME": str(tmp_path), "HF_TOKEN": "env-token-0123", "TOKENIZERS_PARALLELISM": "false",
         "WANDB_API_KEY": "key-0123456789", "HF_TOKEN_PATH": str(tmp_path / "none")}
    )  # fmt: skip
    assert set(found) == {
        "file-token-0123456789", "stored-token-0123456789", "env-token-0123", "key-0123456789"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("OPENAI_KEY", "abcd1234efgh", {"abcd1234efgh"}),
        ("DB_PASS", "abcd1234efgh", {"abcd1234efgh"}),
        ("PGPASSWORD", "abcd1234efgh", {"abcd1234efgh"}),
        ("MYSQL_PWD", "abcd1234efgh", {"abcd1234efgh"}),
        ("GITHUB_PAT", "abcd1234efgh", {"abcd1234efgh"}),
        ("NPM_AUTH", "abcd1234efgh", {"abcd1234efgh"}),
        (
            "PIP_INDEX_URL",
            "https://ada:s3cret%2Fword@pypi.example/simple",
            {"s3cret%2Fword", "s3cret/word"},
        ),
        (
            "PIP_EXTRA_INDEX_URL",
            "https://pypi.org/simple https://glpat0123456789abcdef@x.example/simple",
            {"glpat0123456789abcdef"},
        ),
        ("DATABASE_URL", "postgres://ada:postgres@db/x", set()),
        ("DB_PASS", "short", set()),
        ("PROXY_AUTH", "Required", set()),
        ("SSH_AUTH_SOCK", "/run/user/1000/agent.socket", set()),
        ("SSH_AUTH_SOCK", r"\\.\pipe\openssh-agent", set()),
        ("XAUTHORITY", "/home/ada/.Xauthority", set()),
        ("SSL_KEY", "~/keys/server.pem", set()),
        ("SSL_KEY", r"C:\keys\server.pem", set()),
        ("PWD", "/home/ada/fettle", set()),
        ("MONKEY", "abcd1234efgh", set()),
        ("GIT_SSH_URL", "ssh://git@github.com/ada/x", set()),
        ("HF_ENDPOINT", "https://huggingface.co/a:b@c", set()),
    ],
)
def test_secrets_have_many_names_and_not_all_values_are_some(
    name: str, value: str, secrets: set[str], tmp_path: Path
) -> None:
    assert set(own_secrets.find({name: value, "HF_HOME": str(tmp_path)})) == secrets


def test_a_record_is_masked_and_stays_a_record() -> None:
    finding = Finding(at=1.0, severity="error", code="x", title=HUB, detail=f"a {HUB} b", why=HUB)
    assert HUB not in str(discreet(finding))
    assert discreet(finding).detail == "a [removed] b"
    state = discreet(StateChanged(at=1.0, state=State.FAILED, sentence=HUB))
    assert state.state is State.FAILED
    assert state.sentence == MASK


@pytest.mark.parametrize("field", ["model.path", "dataset.path", "name", "lora.target_modules"])
def test_a_spec_with_a_token_is_refused_without_saying_it(field: str) -> None:
    raw = to_raw(EXAMPLE)
    table, _, name = field.rpartition(".")
    value = f"https://{HUB}@huggingface.co/x"
    (raw[table] if table else raw)[name] = [value] if name == "target_modules" else value
    spec, complaints = check(raw)
    assert spec is None
    assert [complaint.field for complaint in complaints] == [field]
    assert HUB not in str(complaints)


def test_a_token_in_the_wrong_place_is_not_said_again() -> None:
    raw = to_raw(EXAMPLE)
    raw["training"]["max_length"] = HUB
    raw[HUB] = 1
    _, complaints = check(raw)
    assert len(complaints) == 2
    assert HUB[:20] not in str(complaints)


# ---------------------------------------------------------------- people and places

HIDDEN = Hidden(folders=("/srv/people/ada",), names=("ada", "ada-laptop", "root"))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('File "/home/ada/fettle/x.py", line 3', 'File "~/fettle/x.py", line 3'),
        ("/srv/people/ada/runs/1", "~/runs/1"),
        (r"C:\Users\Ada Lovelace\fettle\x.py", r"~\fettle\x.py"),
        (r'"C:\\Users\\Ada\\x"', r'"~\\x"'),
        ("/mnt/c/Users/Ada/models", "~/models"),
        ("/Users/grace/x and /root/y", "~/x and ~/y"),
        ("ada@ada-laptop:/data/ada/x", "[name]@[name]:/data/[name]/x"),
        ("adamw_8bit on Canada", "adamw_8bit on Canada"),
        ("the root of the tree", "the root of the tree"),
    ],
)
def test_people_and_their_folders_are_hidden(text: str, kept: str) -> None:
    assert redacted(text, HIDDEN) == kept


# ---------------------------------------------------------------- rows of data

CAT = "My card number is 4242 and my cat is called Whiskers."
DATA = [
    {"messages": [{"role": "user", "content": CAT}]},
    {"text": "Ünïcode rows with\nseveral lines that nobody else should ever come to read."},
    {"text": "short"},
]
ROWS = Hidden(rows=pieces_of(DATA))


@pytest.mark.parametrize(
    "line",
    [
        f"KeyError: '{CAT}'",
        f"... {CAT[15:]} {CAT[15:]} {CAT}",
        json.dumps(DATA[1]),
        "row 2: Ünïcode rows with   several lines that nobody else should",
    ],
)
def test_a_row_of_data_is_not_shown(line: str) -> None:
    shown = redacted(line, ROWS)
    assert ROW in shown
    for word in ("Whiskers", "4242", "nobody else"):
        assert word not in shown


def test_other_lines_stay_as_they_are() -> None:
    text = "  File x\n    a  =  b\nTraceback (most recent call last):\n short"
    assert redacted(text, ROWS) == text


@given(
    st.text(alphabet=st.characters(codec="ascii", exclude_characters="\\"), max_size=300), st.data()
)
def test_any_long_stretch_of_a_row_is_found(row: str, data: st.DataObject) -> None:
    even = " ".join(row.split())
    if len(even) < 48:
        return
    begin = data.draw(st.integers(0, len(even) - 48))
    stretch = even[begin : begin + 48]
    assert stretch not in redacted(f"said: {stretch}", Hidden(rows=pieces_of([{"text": row}])))


def test_a_json_value_stays_one() -> None:
    value = {"a": ["/home/ada/x", 3, None, {HUB: True}], "b": 1.5}
    assert redacted_value(value, HIDDEN) == {"a": ["~/x", 3, None, {MASK: True}], "b": 1.5}


# ---------------------------------------------------------------- the report

CONTENTS = Contents(
    run="r",
    version="0.3",
    run_file={"spec": {"model": {"path": "/home/ada/m"}}},
    spec={"model": {"path": "/home/ada/m2"}},
    events=f'{{"type":"finding","detail":"a\\n{CAT[:40]} {HUB}"}}\ntorn {{',
    metrics='{"type":"step","loss":1.5}\n',
    worker_log=f"x {HUB}\nKeyError: {DATA[0]}",
    host_log="ada-laptop",
    machine={"store": "/home/ada/runs", "has_hub_token": True},
    doctor="Ready.",
)


def test_a_report_has_its_parts_and_nothing_private() -> None:
    hidden = msgspec.structs.replace(HIDDEN, rows=pieces_of(DATA))
    files = files_of(CONTENTS, hidden)
    assert sorted(name.removeprefix(f"{ROOT}/") for name in files) == [
        "README.txt", "doctor.txt", "events.jsonl", "host.log", "machine.json", "metrics.jsonl",
        "run.json", "spec.json", "worker.log",
    ]  # fmt: skip
    whole = b"\n".join(files.values()).decode()
    for word in (HUB, "ada", "4242", "Whiskers"):
        assert word not in whole
    first, _ = files[f"{ROOT}/events.jsonl"].splitlines()
    assert json.loads(first)["detail"] == f"{LEFT_OUT}\n"
    assert files[f"{ROOT}/worker.log"].decode() == f"{LEFT_OUT}\nKeyError {LEFT_OUT}\n"
    assert b"Rows of the data are not in here." in files[f"{ROOT}/README.txt"]


def test_data_is_in_a_report_only_if_asked_for() -> None:
    files = files_of(msgspec.structs.replace(CONTENTS, data=DATA[:1]), HIDDEN)
    assert b"Whiskers" in files[f"{ROOT}/data.jsonl"]
    assert b"first rows" in files[f"{ROOT}/README.txt"]
    assert b"not in here" not in files[f"{ROOT}/README.txt"]
    assert b"KeyError: " in files[f"{ROOT}/worker.log"]


def test_of_an_error_its_place_and_kind_are_kept_and_its_words_are_not() -> None:
    text = (
        "Traceback (most recent call last):\n"
        f'  File "{sys.prefix}/site-packages/trl/a.py", line 12, in step\n'
        "    loss = model(batch)\n"
        "           ^^^^^^^^^^^^\n"
        f"ValueError: {CAT}\n"
        f"    {CAT}\n"
        "During handling of the above exception, another exception occurred:\n"
        f"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB. {CAT}\n"
    )
    shown = by_shape(text).splitlines()
    assert shown[:4] == text.splitlines()[:4]
    assert shown[4:] == [
        f"ValueError {LEFT_OUT}",
        LEFT_OUT,
        "During handling of the above exception, another exception occurred:",
        f"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {LEFT_OUT}",
    ]


def test_a_row_that_looks_like_a_traceback_keeps_none_of_its_lines() -> None:
    text = f'  File "diary.py", line 1, in write\n    {CAT}\nValueError: {CAT}\n'
    assert by_shape(text).splitlines()[1:] == [LEFT_OUT, f"ValueError {LEFT_OUT}"]


@given(st.text(max_size=80))
def test_nothing_of_what_a_finding_quotes_is_kept(row: str) -> None:
    assert without_quotes(f"It said “{row}”.") == "It said “…”."
    said = without_quotes(f"The last error says “KeyError: {row!r}” here.")
    assert said == "The last error says “…” here."


@pytest.mark.parametrize("prefix", ["", "b", "rb", "f", "r", "B", "u"])
@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_quote_with_a_prefix_is_none_less(prefix: str, quote: str) -> None:
    said = f"Worker 5: line 1 skipped: {prefix}{quote}{CAT}{quote}"
    assert without_quotes(said) == f"Worker 5: line 1 skipped: {quote}…{quote}"
    cut = f"Worker 5: line 1 skipped: {prefix}{quote}{CAT}"
    assert "Whiskers" not in without_quotes(cut)
    assert without_quotes(f"It holds “{CAT}") == "It holds “…"


TRACE = f'''Traceback (most recent call last):
  File "{sys.prefix}/x.py", line 3, in f
    g()
'''
HEAD = "2026-11-22 22:15:03,412 WARNING engine.host.worker:"


@pytest.mark.parametrize(
    ("notes", "kept"),
    [
        (f"{HEAD} It holds “a\n{CAT}\nb” here.\n", f"{HEAD} It holds “…” here.\n"),
        (f"{HEAD} It holds 'a\n{CAT}\nb' here.\n", f"{HEAD} It holds '…' here.\n"),
        (f"{HEAD} It holds 'a\n{CAT}\n{HEAD} Gone\n", f"{HEAD} It holds '…\n{HEAD} Gone\n"),
        (f"{CAT}' here.\n{HEAD} Gone\n", f"{LEFT_OUT}\n{HEAD} Gone\n"),
        (f"{HEAD} It broke\n{CAT}\n", f"{HEAD} It broke\n{LEFT_OUT}\n"),
        (
            f"{HEAD} It broke\n{TRACE}ValueError: {CAT}\n",
            f"{HEAD} It broke\n{TRACE}ValueError {LEFT_OUT}\n",
        ),
        (f"{HEAD} Worker 5 started\n", f"{HEAD} Worker 5 started\n"),
    ],
)
def test_the_hosts_notes_quote_nothing_over_several_lines(notes: str, kept: str) -> None:
    assert notes_without_data(notes) == kept


def test_a_card_has_no_serial_number_in_a_report() -> None:
    serial = "GPU-6d1f0a4c-13ab-9f00-8e21-0123456789ab"
    machine = {"gpus": [{"index": 0, "uuid": serial}]}
    contents = msgspec.structs.replace(CONTENTS, machine=machine, doctor=f"Hidden: {serial}.")
    whole = b"\n".join(files_of(contents, HIDDEN).values()).decode()
    assert "6d1f0a4c" not in whole
    assert "GPU-[removed]" in whole


def test_the_models_own_words_stay() -> None:
    said = "Fettle's own words, and the model's: they stay."
    assert without_quotes(said) == said
