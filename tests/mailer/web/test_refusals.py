"""Error pages are in the reader's language, in the words of the pages and never in those of the code."""

import pytest

from lists import addresses
from lists.addresses import SENTENCES
from lists.errors import BadAddress
from mailer.web.public.signups import MAX_CHARACTERS_SHOWN
from tests.mailer.web.visitor import words

SPANISH = {"accept-language": "es"}


@pytest.mark.parametrize(
    ("form", "status", "sentence", "kept_back"),
    [
        ({"do": "nothing"}, 400, "No pudimos leerlo", "buttons"),
        ({"do": "language", "language": "xx"}, 400, "No pudimos leerlo", "languages"),
    ],
)
def test_a_button_that_is_none_is_refused_in_spanish(
    visitor, service, ben, form, status, sentence, kept_back
):
    answer = visitor.post(f"/preferences/{service.tokens.sign_preferences(ben.id)}", form, SPANISH)
    assert (answer.status_code, answer.headers["content-language"]) == (status, "es")
    assert sentence in words(answer)
    assert kept_back not in words(answer)


@pytest.mark.parametrize("path", ["/confirm/1.0.ab", "/preferences/x", "/mine/x", "/mine/x/all", "/rsvp/x"])
def test_a_link_that_is_none_is_refused_in_spanish(visitor, path):
    answer = visitor.get(path, headers=SPANISH)
    assert (answer.status_code, answer.headers["content-language"]) == (404, "es")
    assert "Aquí no hay nada" in words(answer)
    assert "link" not in words(answer)


def test_whoever_overtakes_somebody_is_told_so_in_spanish(visitor, service, clock, ben):
    link = f"/mine/{service.tokens.sign_profile(ben.id, until=clock.now().replace(hour=23))}"
    answer = visitor.post(link, {"do": "save", "version": "99", "name": "Ben"}, SPANISH)
    assert answer.status_code == 409
    assert "Algo cambió mientras tanto" in words(answer)
    assert "Somebody" not in words(answer)


@pytest.mark.parametrize("email", ["dora", "dora@", "@example.org", "do ra@example.org", "dora@example"])
def test_every_trouble_with_an_address_is_told_in_the_language_of_the_page(visitor, email):
    spanish = words(visitor.post("/join?lang=es", {"email": email, "language": "es"}))
    english = words(visitor.post("/join?lang=en", {"email": email, "language": "en"}))
    with pytest.raises(BadAddress) as told_in_english:
        addresses.parse(email[:MAX_CHARACTERS_SHOWN], pepper=b"p" * 32)
    assert str(told_in_english.value) in english
    assert str(told_in_english.value) not in spanish


def test_no_sentence_about_an_address_is_only_in_one_language():
    for reason, sentences in SENTENCES.items():
        assert set(sentences) == {"en", "es"}, reason
        assert sentences["en"] != sentences["es"], reason
