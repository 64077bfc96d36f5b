import re
import tomllib
from pathlib import Path

import pytest
from markupsafe import Markup

from lists.contacts import LANGUAGES
from mailer.web import words

FOLDER = Path(__file__).parents[3] / "templates" / "web"


def flat(content, prefix=""):
    """Return {"join.title": "…", "home.why.0": "…"} of a nested section of words."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    phrases = {}
    for key, value in pairs:
        name = f"{prefix}{key}"
        phrases.update({name: value} if isinstance(value, str) else flat(value, f"{name}."))
    return phrases


def read(language):
    phrases = {}
    for file in FOLDER.glob(f"*.{language}.toml"):
        phrases |= flat(tomllib.loads(file.read_text(encoding="utf-8")))
    return phrases


def test_both_languages_have_the_same_keys():
    assert read("en").keys() == read("es").keys()


def test_both_languages_fill_the_same_braces():
    english, spanish = read("en"), read("es")
    braces = re.compile(r"{(\w+)}")
    assert {
        key for key in english if set(braces.findall(english[key])) != set(braces.findall(spanish[key]))
    } == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_shouts_and_nothing_is_empty(language):
    for key, phrase in read(language).items():
        assert phrase.strip() == phrase != "", key
        assert not set(phrase) & set("!¡"), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_year_stands_without_its_date_and_no_program_in_the_present(language):
    text = " ".join(read(language).values())
    assert "Secure Communities" not in text
    assert "S-Comm" not in text
    assert set(re.findall(r"\b(?:19|20)\d\d\b", text)) == {"2012"}


def test_a_value_is_escaped_and_a_link_stays_a_link():
    phrase = words.Phrase("Write to {address} & wait")
    assert phrase(address="<b>") == "Write to &lt;b&gt; &amp; wait"
    assert phrase(address=Markup("<a>x</a>")) == "Write to <a>x</a> &amp; wait"


def test_a_value_with_braces_is_not_filled_again():
    assert words.Phrase("Hello {name}")(name="{{7*7}} {0.__class__}") == "Hello {{7*7}} {0.__class__}"


def test_a_missing_key_is_named():
    with pytest.raises(AttributeError, match="nowhere"):
        words.load(FOLDER, "en").join.nowhere  # noqa: B018
