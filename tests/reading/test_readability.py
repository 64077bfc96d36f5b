"""The measures are those of their formulas, and syllables are counted as people count them."""

import pytest

from tests.reading import readability
from tests.reading.readability import english_syllables, spanish_syllables

ENGLISH = {
    1: "free go home keep change asked trust news",
    2: "neighbor toolkit letter address promise people every",
    3: "officials webinar together calendar another",
    4: "congregation organizer community information",
}
SPANISH = {
    1: "más fe que con",
    2: "lista quiere guía huella siempre",
    3: "correo personas dirección pregunta máquina",
    4: "seminario calendario materiales",
    5: "organización autoridades",
}


@pytest.mark.parametrize("count", ENGLISH)
def test_english_syllables(count: int) -> None:
    words = ENGLISH[count].split()
    assert {word: english_syllables(word) for word in words} == dict.fromkeys(words, count)


@pytest.mark.parametrize("count", SPANISH)
def test_spanish_syllables(count: int) -> None:
    words = SPANISH[count].split()
    assert {word: spanish_syllables(word) for word in words} == dict.fromkeys(words, count)


def test_the_formulas() -> None:
    english = readability.figures(["People trust people. We go home."], language="en", words=6)
    assert english.ease == pytest.approx(0.39 * 3 + 11.8 * 8 / 6 - 15.59)
    spanish = readability.figures(["La lista es de personas."], language="es", words=5)
    assert spanish.ease == pytest.approx(206.84 - 60 * 8 / 5 - 1.02 * 5)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        (
            "en",
            "The administration of interorganizational communication necessitates authorization.",
        ),
        (
            "es",
            "La administración institucional necesita autorizaciones interorganizacionales.",
        ),
    ],
)
def test_what_nobody_would_read_is_too_hard(language: str, text: str) -> None:
    assert not readability.figures([text], language=language, words=9).easy
