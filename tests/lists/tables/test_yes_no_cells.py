"""Consent cells: only a known yes is a yes among the texts and signs that people write in such a column."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lists.tables import text_matching, yes_no_cells
from lists.tables.yes_no_cells import DOUBT_WORDS, NO, NO_ANSWER, YES

YESES = [
    "yes",
    "Yes",
    "YES!",
    " y ",
    "sí",
    "SI",
    "Si.",
    "s",
    "x",
    "X",
    "✓",
    "✔",
    "☑",
    "☑️",
    "✅",
    "true",
    "TRUE",
    "VERDADERO",
    "verdadero",
    "1",
    "on",
    "agree",
    "I agree",
    "i agree.",
    "de acuerdo",
    "De Acuerdo",
    "acepto",
    "WAHR",
    "VRAI",
    "t",
    "[x]",
    "Yes, please",
    "I agree to receive emails from the campaign.",
    "I agree to receive emails (one a month).",
    "Acepto recibir correos de la campaña",
    "Sí, quiero recibir correos",
    "Estoy de acuerdo con recibir correos",
    "☑ Yes",
]
NOS = [
    "no",
    "No",
    "NO.",
    "false",
    "FALSO",
    "falso",
    "FAUX",
    "FALSCH",
    "0",
    "off",
    "n",
    "☐",
    "✗",
    "✘",
    "❌",
    "⬜",
    "nope",
    "No estoy de acuerdo",
    "no acepto",
    "do not",
    "don't",
    "I do not agree",
    "I don’t agree",
    "f",
    "[ ]",
    "never",
    "nunca",
    "declined",
    "❌ No",
]
NOTHINGS = ["", " ", "n/a", "N/A", "none", "NULL", "-", "—", "ninguno", "\u200b"]
UNKNOWNS = [
    "maybe",
    "yes?",
    "☐ Yes",
    "-1",
    "2",
    "¹",
    "=TRUE()",
    "yes/no",
    "Y/N",
    "asked by phone",
    "Ana",
    "I agree, but not by phone",
    "I don't agree to that",
    "Yes, unless it is weekly",
    "Si cambio de parroquia",
    "Sí, pero no por teléfono",
    "I agree to nothing",
    "Yes, remove me",
    "I want to be removed",
    "¿sí?",
    "!yes",
    "I agree and can unsubscribe at any time",
    "Quiero darme de baja",
    "👍",
    "yes no",
    "1.5",
]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (text, answer)
        for answer, texts in [("yes", YESES), ("no", NOS), ("nothing", NOTHINGS), ("unknown", UNKNOWNS)]
        for text in texts
    ],
)
def test_a_cell_is_a_yes_a_no_empty_or_unknown(text: str, answer: str) -> None:
    assert yes_no_cells.parse_answer(text) == answer


def test_the_lists_do_not_contradict_each_other() -> None:
    assert YES.isdisjoint(NO) and YES.isdisjoint(NO_ANSWER) and NO.isdisjoint(NO_ANSWER)
    assert all(text_matching.normalize(word) == word for word in YES | NO | NO_ANSWER | DOUBT_WORDS)


@given(st.text(max_size=30))
@example("ye\u0301s")
@example("①")
def test_every_text_is_one_of_four_and_only_a_listed_one_is_a_yes(text: str) -> None:
    answer = yes_no_cells.parse_answer(text)
    assert answer in ("yes", "no", "nothing", "unknown")
    if answer == "yes" and text_matching.normalize(text):
        words = text_matching.normalize(text)
        is_listed = words in YES or yes_no_cells.AGREEMENT.match(
            " ".join(text.split()).lstrip(yes_no_cells.SURROUNDING_SIGNS)
        )
        assert is_listed or text.casefold().strip() in yes_no_cells.BOXES


@given(
    begins=st.sampled_from(
        ["", "Yes, ", "I agree to receive mail ", "Sí, ", "Acepto recibir correos ", "de acuerdo "]
    ),
    word=st.sampled_from(
        [
            "no",
            "not",
            "never",
            "don't",
            "don’t",
            "doesn't",
            "can't",
            "cannot",
            "without",
            "nunca",
            "ni",
            "sin",
            "jamás",
            "nicht",
            "kein",
            "pas",
            "não",
            "non",
            "none",
            "nor",
            "n't",
        ]
    ),
    before=st.sampled_from(["", "by phone, ", "mail "]),
    after=st.text(st.characters(codec="ascii", categories=["L", "Zs"]), max_size=20),
)
def test_no_text_with_a_negation_is_a_yes(begins: str, word: str, before: str, after: str) -> None:
    for text in (f"{begins}{before}{word} {after}", f"{begins}{before}{word}", f"{word} {begins}".strip()):
        assert yes_no_cells.parse_answer(text) != "yes"
        assert yes_no_cells.parse_answer(text.upper()) != "yes"


def test_a_text_that_staff_declare_a_yes_is_a_yes() -> None:
    means = {text_matching.normalize("I want the monthly letter; no calls!")}
    assert yes_no_cells.parse_answer("i want the MONTHLY letter; no calls!", yes_means=means) == "yes"
    assert yes_no_cells.parse_answer("I want the monthly letter", yes_means=means) == "unknown"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("No", "no"),
        ("0", "no"),
        ("0.0", "no"),
        ("☐", "no"),
        ("", "nothing"),
        ("yes", "yes"),
        ("x", "yes"),
        ("opted out", "unknown"),
        ("do not", "unknown"),
        ("✗", "unknown"),
        ("never", "unknown"),
    ],
)
def test_where_a_yes_is_a_refusal_a_no_must_be_plain(text: str, answer: str) -> None:
    assert yes_no_cells.parse_boolean(text) == answer
