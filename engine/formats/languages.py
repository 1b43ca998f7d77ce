"""In which language a text is, told by its script and its most common words: a light estimate.

It is meant for shares of a dataset, not for single texts: of short ones, lists, code and numbers it
says nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_SCRIPTS = (
    ("HANGUL", "Korean"), ("CJK", "Chinese"), ("HIRAGANA", "Japanese"), ("KATAKANA", "Japanese"),
    ("CYRILLIC", "Russian"), ("ARABIC", "Arabic"), ("HEBREW", "Hebrew"), ("GREEK", "Greek"),
    ("THAI", "Thai"), ("DEVANAGARI", "Hindi"), ("BENGALI", "Bengali"), ("TAMIL", "Tamil"),
    ("LATIN", "Latin"),
)  # fmt: skip
"""How the names of a script's letters begin, and the language that is mostly written in it."""
_WEIGHT = {"Chinese": 3, "Japanese": 2, "Korean": 2}
"""Letters that a sign stands for, so that a few English names do not make a text English."""
_KANA_SHARE = 0.1
"""Of Chinese signs and kana together; less is a quotation."""
_MARKS = {"Russian": (("Ukrainian", "іїєґІЇЄҐ"),), "Arabic": (("Persian", "پچژگ"),)}
"""Letters that a neighbour's alphabet lacks."""
LOOKED_AT = 1200
"""Characters of a text."""
_FEWEST_LETTERS = 12
_FEWEST_WORDS = 4
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")

_COMMON = {
    "English": "the of and to in is that it for was on are with as his they be this have from or "
    "had by but what some we can were all your when use how an each which their will about if you "
    "not there been has its would i my do me he she her at so our more no",
    "German": "der die und das den von zu mit sich des auf für ist im dem nicht ein eine als auch "
    "es an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen so "
    "zum war haben nur oder aber vor zur bis mehr durch man ich wir sein kann",
    "French": "le de la les et des en un une du que est pour qui dans sur pas au plus par je avec "
    "ne se ce il sont ou mais nous vous elle ils cette être aux comme leur ont été fait son sa ses "
    "à d'un l'on c'est qu'il",
    "Spanish": "el la de que y en un ser se no los por con su para como estar las del una al lo es "
    "más pero sus le ya este sí porque esta son entre cuando muy sin sobre también me hasta hay "
    "donde quien desde todo nos",
    "Portuguese": "o de que e do da em um para é com não uma os no se na por mais as dos como mas "
    "foi ao ele das tem à seu sua ou ser quando muito há nos já está eu também só pelo pela até "
    "isso ela entre era são você",
    "Italian": "di che e la il un a per in una è non sono con si da come del le ma della nel al "
    "ho lo se più dei gli anche questo i alla ha delle dal su nella essere o ci quando cui tra "
    "degli molto perché",
    "Dutch": "de van het een en in is dat op te zijn met voor niet aan er om ook als dan maar bij "
    "of uit nog worden door naar heeft hij ze wordt tot je was over kan wel geen dit hebben we "
    "meer deze zo",
    "Polish": "w i na z do się nie to jest że o jak od za po ale są przez co dla tym tak już być "
    "może był oraz który która które czy tylko jego ich lub przy",
    "Turkish": "ve bir bu için ile de da çok en daha olarak gibi olan ne kadar sonra ise ya ben "
    "o var değil her mi ama şey biz",
    "Indonesian": "yang dan di dari untuk dengan pada ini itu dalam tidak adalah akan ke oleh juga "
    "atau ada anda sebagai dapat lebih saya kami karena seperti bisa telah",
    "Vietnamese": "và của là có cho không được trong với một các những này đã người từ khi để đến "
    "như về cũng tôi bạn ra thì nhiều",
    "Swedish": "och att det som en på är av för med den till inte om ett han men var jag de från "
    "kan vi har eller hade ska där nu när hon",
}
_WORDS = {name: frozenset(words.split()) for name, words in _COMMON.items()}
_BOTH = (
    "a am an as at come con dans den des die do du for hat he her in is long lo man me met mi no "
    "nos o of on or over pour sin so son sure ten to tot use van war was we were"
)
_ALSO_ENGLISH = frozenset(_BOTH.split())
"""Common words of other languages that are English as well: a list of English words without any of
its own common ones is not German for a hat and a war in it."""
_FEWEST_KINDS = 2
"""Different words of a language that a text must have."""
_SHARE = 0.12
"""Of the words of an ordinary text far more are among those of its language."""
_LEAD = 1.25
"""So much more than the next language has."""


def language_of(text: str) -> str | None:
    """Its name in English, such as ``German``; None where the text does not tell."""
    text = text[:LOOKED_AT]
    script = _script(text)
    return _latin(text) if script == "Latin" else script


def _script(text: str) -> str | None:
    if text.isascii():
        letters = sum(letter.isalpha() for letter in text)
        return "Latin" if letters >= _FEWEST_LETTERS else None
    found: Counter[str] = Counter()
    for letter, number in Counter(text).items():
        if letter.isalpha() and (script := _script_of(letter)):
            found[script] += number * _WEIGHT.get(script, 1)
    if sum(found.values()) < _FEWEST_LETTERS:
        return None
    if found["Japanese"] >= _KANA_SHARE * (found["Japanese"] + found["Chinese"]):
        found["Japanese"] += found.pop("Chinese", 0)
    script = found.most_common(1)[0][0]
    for name, marks in _MARKS.get(script, ()):
        if any(mark in text for mark in marks):
            return name
    return script


def _script_of(letter: str) -> str | None:
    if letter.isascii():
        return "Latin"
    name = unicodedata.name(letter, "")
    return next((script for begin, script in _SCRIPTS if name.startswith(begin)), None)


def _latin(text: str) -> str | None:
    words = _WORD.findall(text.lower())
    if len(words) < _FEWEST_WORDS:
        return None
    hits = {name: sum(word in known for word in words) for name, known in _WORDS.items()}
    (best, most), (_, next_most) = Counter(hits).most_common(2)
    if most < max(2, _SHARE * len(words)) or most < _LEAD * next_most:
        return None
    kinds = set(words) & _WORDS[best]
    own = kinds if best == "English" else kinds - _ALSO_ENGLISH
    return best if len(own) >= _FEWEST_KINDS else None
