"""Languages are told by script and common words, and broken encodings are told and undone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.formats.example import Conversation, PromptCompletion, Text, Turn
from engine.formats.languages import language_of
from engine.formats.mojibake import is_garbled, repaired, repaired_example

SHARED = Path(__file__).parents[3] / "shared" / "data"

SNIPPETS = {
    "English": "The old bridge was built by the people of the village, and it has been there.",
    "German": "Die alte Brücke wurde von den Leuten des Dorfes gebaut und ist noch immer da.",
    "French": "Le vieux pont a été construit par les gens du village, et il est toujours là.",
    "Spanish": "El viejo puente fue construido por la gente del pueblo y todavía está en su lugar.",
    "Portuguese": "A ponte velha foi construída pelo povo da aldeia, e ainda não foi para o rio.",
    "Italian": "Il vecchio ponte è stato costruito dalla gente del paese, e non è ancora caduto.",
    "Dutch": "De oude brug is door de mensen van het dorp gebouwd en staat er nog altijd.",
    "Polish": "Stary most został zbudowany przez ludzi ze wsi i nadal jest tam, gdzie był.",
    "Turkish": "Eski köprü köyün insanları tarafından yapıldı ve bir çok yıl sonra da ne güzel.",
    "Chinese": "这座老桥是村里的人建的，现在还在那里。",
    "Japanese": "この古い橋は村の人々が建てたもので、今でもそこにあります。",
    "Korean": "이 오래된 다리는 마을 사람들이 지었고 아직도 그 자리에 있습니다.",
    "Russian": "Старый мост построили жители деревни, и он всё ещё стоит на своём месте.",
    "Ukrainian": "Старий міст збудували жителі села, і він досі стоїть на своєму місці.",
    "Arabic": "بنى أهل القرية الجسر القديم وما زال قائما في مكانه.",
    "Hindi": "पुराना पुल गाँव के लोगों ने बनाया था और वह अब भी वहीं है।",
    "Greek": "Η παλιά γέφυρα χτίστηκε από τους κατοίκους του χωριού.",
}
SILENT = ["", "42", "a = b + c", "Rome", "1. Anna\n2. Otto\n3. Ida", "🙂🙂🙂", "zxqv " * 30]


@pytest.mark.parametrize("language", SNIPPETS)
def test_a_sentence_tells_its_language(language: str) -> None:
    assert language_of(SNIPPETS[language]) == language


@pytest.mark.parametrize("text", SILENT)
def test_what_is_too_short_or_no_language_tells_none(text: str) -> None:
    assert language_of(text) is None


def test_foreign_names_do_not_make_a_text_foreign() -> None:
    assert language_of("这部电影叫 The Matrix，由 Keanu Reeves 主演，非常好看。") == "Chinese"
    assert language_of("The sign said 禁止 and it was on the wall of the house.") == "English"


def test_a_list_of_english_words_is_in_no_other_language() -> None:
    salad = "refund order hat invoice die man war parcel an in was ticket so"
    assert language_of(salad) in (None, "English")
    assert language_of("refund order hat invoice die man parcel an device so") is None
    assert language_of("customer die account hat payment die support hat") is None


@pytest.mark.parametrize(
    ("name", "language", "least"),
    [("alpaca_en_demo", "English", 0.99), ("alpaca_zh_demo", "Chinese", 0.95)],
)
def test_answers_of_a_real_dataset(name: str, language: str, least: float) -> None:
    path = SHARED / f"{name}.json"
    if not path.exists():
        pytest.skip("shared data is not here")
    found = [language_of(row["output"]) for row in json.loads(path.read_text("utf-8"))]
    told = [each for each in found if each]
    assert len(told) > 0.85 * len(found)
    assert told.count(language) / len(told) >= least
    others = {each for each in told if each != language}
    assert all(told.count(each) / len(told) < 0.04 for each in others)


# ---------------------------------------------------------------- encodings


def misread(text: str, encoding: str) -> str:
    """Saved as UTF-8 and read as this; what Windows leaves open stays as it is."""
    if encoding == "latin-1":
        return text.encode().decode("latin-1")
    return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in text.encode())


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize(
    "text",
    [
        "Grüße über Öl, ßäÄ",
        "“so” – it’s… €5, 20°",
        "café à É È",
        "привет мир",
        "你好世界",
        "so 😀👍",
    ],
)
def test_what_was_misread_is_told_and_undone(text: str, encoding: str) -> None:
    garbled = misread(text, encoding)
    assert is_garbled(garbled)
    assert repaired(garbled) == text
    assert repaired(misread(misread(text, "latin-1"), "latin-1")) == text


@pytest.mark.parametrize(
    "text",
    ["«CAFÉ»", "IRMÔ e AMANHÃ…", "naïve façade São Åse", "„ÄÖÜ“", "ÃÂ", "Ñandú", "Đà Nẵng", "Ång",
     "plain", *SNIPPETS.values()],
)  # fmt: skip
def test_sound_text_is_left_alone(text: str) -> None:
    assert not is_garbled(text)
    assert repaired(text) == text


def test_all_texts_of_an_example_are_repaired() -> None:
    talk = Conversation(
        messages=[Turn(role="user", content="cafÃ©"), Turn(role="assistant", content="well")]
    )
    found = repaired_example(talk)
    assert isinstance(found, Conversation)
    assert [turn.content for turn in found.messages] == ["café", "well"]
    assert repaired_example(PromptCompletion(prompt="Ã¼", completion="Ã¤")) == PromptCompletion(
        prompt="ü", completion="ä"
    )
    assert repaired_example(Text(text="Ã¶")) == Text(text="ö")
    assert repaired_example(found) is found
