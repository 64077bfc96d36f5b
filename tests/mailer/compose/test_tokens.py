"""Tokens: links that only the owner of the key can make."""

import string
from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lists import catalog
from lists.errors import InvalidLink
from mailer.compose.tokens import MAX_TOKEN_LENGTH, Links, Tokens
from tests.clocks import START
from tests.names import list_names

TOKENS = Tokens(b"k" * 32)
ANA, BEN = 7, 41
LATER = START + timedelta(hours=1)
ids = st.integers(min_value=0, max_value=10**18 - 1)


@given(ids, ids)
def test_what_we_sign_we_read_back(first: int, second: int) -> None:
    assert TOKENS.read_confirm(TOKENS.sign_confirm(first, second)) == (first, second)
    assert TOKENS.read_rsvp(TOKENS.sign_rsvp(first, second)) == (first, second)
    assert TOKENS.read_preferences(TOKENS.sign_preferences(first)) == first
    assert TOKENS.read_profile(TOKENS.sign_profile(first, until=LATER), now=START) == first


@given(ids, list_names())
def test_every_list_that_can_be_made_can_be_left(contact: int, name: str) -> None:
    token = TOKENS.sign_unsubscribe(contact, name)
    for spelling in (token, token.upper(), token.capitalize()):
        assert TOKENS.read_unsubscribe(spelling) == (contact, name)
    assert len(token) <= MAX_TOKEN_LENGTH and token[-1].isalnum()


@given(ids, st.one_of(list_names().map(lambda name: f"{name}x" * 41), st.text(max_size=50)))
def test_a_link_that_would_not_be_read_is_never_made(contact: int, name: str) -> None:
    assume(not catalog.is_name(name))
    with pytest.raises(InvalidLink):
        TOKENS.sign_unsubscribe(contact, name)


@pytest.mark.parametrize("number", [-1, 10**18])
def test_a_number_that_would_not_be_read_is_never_signed(number: int) -> None:
    for sign in (
        TOKENS.sign_preferences,
        lambda number: TOKENS.sign_confirm(number, 0),
        lambda number: TOKENS.sign_rsvp(1, number),
    ):
        with pytest.raises(InvalidLink):
            sign(number)


def test_a_token_altered_by_one_byte_is_not_ours() -> None:
    token = TOKENS.sign_unsubscribe(BEN, "interest")
    for place in range(len(token)):
        for sign in string.ascii_letters + string.digits + "-_.=":
            altered = token[:place] + sign + token[place + 1 :]
            if altered.lower() != token:
                assert TOKENS.read_unsubscribe(altered) is None


def test_a_token_cut_or_lengthened_is_not_ours() -> None:
    token = TOKENS.sign_preferences(BEN)
    for altered in [
        token[:-1],
        token + "a",
        token + "=",
        " " + token,
        token + "\n",
        "",
        ".",
        "é" + token,
        "0" + token,
    ]:
        assert TOKENS.read_preferences(altered) is None


def test_one_verb_does_not_open_another() -> None:
    assert TOKENS.read_rsvp(TOKENS.sign_confirm(ANA, BEN)) is None
    assert TOKENS.read_confirm(TOKENS.sign_rsvp(ANA, BEN)) is None
    assert TOKENS.read_preferences(TOKENS.sign_unsubscribe(BEN, "interest")) is None


def test_another_installation_signs_differently() -> None:
    assert Tokens(b"j" * 32).read_confirm(TOKENS.sign_confirm(ANA, 1)) is None


@given(st.text(max_size=200))
def test_reading_anything_at_all_is_safe(text: str) -> None:
    for read in (TOKENS.read_confirm, TOKENS.read_preferences, TOKENS.read_unsubscribe, TOKENS.read_rsvp):
        assert read(text) is None


@given(ids, ids)
def test_a_token_is_short_and_safe_to_end_a_link_with(first: int, second: int) -> None:
    token = TOKENS.sign_rsvp(first, second)
    assert len(token) <= 72
    assert set(token) <= set(string.ascii_lowercase + string.digits + ".")
    assert token[-1] != "."


def test_a_short_key_is_refused_and_the_key_is_never_shown() -> None:
    with pytest.raises(ValueError):
        Tokens(b"short")
    assert "kkk" not in repr(TOKENS)


def test_links_are_full_addresses_under_the_public_url() -> None:
    links = Links("https://mail.example.org/", TOKENS)
    assert links.confirm_url(ANA, 1) == f"https://mail.example.org/confirm/{TOKENS.sign_confirm(ANA, 1)}"
    assert (
        links.preferences_url(ANA) == f"https://mail.example.org/preferences/{TOKENS.sign_preferences(ANA)}"
    )
    assert links.unsubscribe_url(ANA, "organizers").startswith(
        "https://mail.example.org/unsubscribe/7.organizers."
    )
    assert links.rsvp_url(3, ANA, answer="yes").endswith("?answer=yes")
    assert links.join_url == "https://mail.example.org/join"
