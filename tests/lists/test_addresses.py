"""Addresses: an address is one bare mailbox; a text that could inject or deceive gets a sentence."""

import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lists import addresses
from lists.addresses import parse, suggest_correction
from lists.errors import BadAddress

PEPPER = b"a pepper of this test"


def refusal(text: str, language: str = "en") -> str:
    with pytest.raises(BadAddress) as error:
        parse(text, pepper=PEPPER, language=language)
    return str(error.value)


def test_addresses_keep_the_typed_local_part() -> None:
    ana = parse("Ana@Example.org", pepper=PEPPER)
    assert (ana.email, ana.key) == ("Ana@example.org", "ana@example.org")
    assert len(ana.digest) == 16
    assert parse(" ben@example.com ", pepper=PEPPER).email == "ben@example.com"


@pytest.mark.parametrize("domain", ["example.org", "example.com", "mail.example", "mail.test", "a.localhost"])
def test_reserved_domains_work_in_a_tryout(domain: str) -> None:
    assert parse(f"ana@{domain}", pepper=PEPPER).email == f"ana@{domain}"


def test_two_spellings_of_one_mailbox_have_one_key_and_one_digest() -> None:
    first, second = (parse(text, pepper=PEPPER) for text in ("CLEO@EXAMPLE.ORG", "cleo@example.org"))
    assert (first.key, first.digest) == (second.key, second.digest)


def test_composed_and_decomposed_letters_are_one_person() -> None:
    composed = parse(unicodedata.normalize("NFC", "josé@example.org"), pepper=PEPPER)
    assert composed == parse(unicodedata.normalize("NFD", "josé@example.org"), pepper=PEPPER)


def test_the_digest_depends_on_the_pepper() -> None:
    assert parse("ana@example.org", pepper=b"1").digest != parse("ana@example.org", pepper=b"2").digest


def test_a_domain_of_another_script_is_kept_in_punycode() -> None:
    address = parse("ana@bücher.example", pepper=PEPPER)
    assert address.email == address.key == "ana@xn--bcher-kva.example"
    assert parse("ana@XN--BCHER-KVA.example", pepper=PEPPER) == address


def test_a_domain_of_look_alike_letters_never_passes_for_the_real_one() -> None:
    assert "alphabets" in refusal("ana@ex\N{CYRILLIC SMALL LETTER A}mple.org")
    assert parse("ana@\u0440\u0430\u0443\u0440\u0430\u04cf.com", pepper=PEPPER).email.startswith("ana@xn--")
    assert "alphabets" in refusal("\N{FULLWIDTH LATIN SMALL LETTER A}na@example.org")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Write your email address"),
        ("ana@", "“ana@” is not complete: write the part after the @, like ana@example.org."),
        ("@example.org", "write the part before the @"),
        ("ana", "has no @"),
        ("ana@b@example.org", "more than one @"),
        ("ana@localhost", "needs a dot"),
        ("ana@.example.org", "dot too many"),
        ("a..b@example.org", "dot too many"),
        ("an a@example.org", "without spaces"),
        ("ana@example.org ben@example.org", "without spaces"),
        ("Ana <ana@example.org>", "only the address"),
        ('"a b"@example.org', "only the address"),
        ("ana@example.org,ben@example.org", "only the address"),
        ("ana@[127.0.0.1]", "check the part after the @"),
        ("ana@mail.invalid", "check the part after the @"),
        ("ana@church.local", "check the part after the @"),
        ("ana@-x-.org", "check the part after the @"),
        ("a" * 65 + "@example.org", "at most 64"),
        ("é" * 33 + "@example.org", "at most 64"),
        ("a" * 60 + "@" + ("b" * 60 + ".") * 3 + "b" * 20 + ".org", "at most 254"),
        ("a" * 100_000, "at most 254"),
    ],
)
def test_a_refusal_says_what_to_do(text: str, words: str) -> None:
    assert words in refusal(text)


@pytest.mark.parametrize(
    "insertion", ["\r", "\n", "\0", "\r\nRCPT TO:<x@evil.example>", "\t", "\x7f", "\x85", "\u2028", "\ud800",
             "\u202e", "\u2066", "\u200b", "\ufeff", "<", ">", "\u00a0", "\u3000"]
)  # fmt: skip
@pytest.mark.parametrize(
    "place", ["{}ana@example.org", "an{}a@example.org", "ana@exam{}ple.org", "ana@example.org{}"]
)
def test_no_character_that_could_break_the_envelope_is_accepted(place: str, insertion: str) -> None:
    sentence = refusal(place.format(insertion))
    assert all(character.isprintable() for character in sentence)


def test_a_refusal_is_in_spanish_for_a_reader_of_spanish() -> None:
    assert refusal("ana@", "es") == (
        "«ana@» no está completa: escriba la parte después de la @, como ana@example.org."
    )


def test_a_long_refused_text_is_shown_in_part() -> None:
    assert len(refusal("x" * 900)) < 200


@pytest.mark.parametrize(
    ("typed", "intended"),
    [
        ("gmial.com", "gmail.com"), ("gmail.con", "gmail.com"), ("gmail.cmo", "gmail.com"),
        ("gmail.comm", "gmail.com"), ("gmail.co", "gmail.com"), ("gmail", "gmail.com"),
        ("gmal.com", "gmail.com"),
        ("gmail,com", "gmail.com"), ("gmial.con", "gmail.com"), ("gmail.com.", "gmail.com"),
        ("yaho.com", "yahoo.com"), ("yahooo.com", "yahoo.com"), ("yhaoo.com", "yahoo.com"),
        ("hotmial.com", "hotmail.com"), ("otmail.com", "hotmail.com"), ("jotmail.com", "hotmail.com"),
        ("outlok.com", "outlook.com"), ("icould.com", "icloud.com"), ("comcast.ner", "comcast.net"),
        ("aol.con", "aol.com"), ("church.ogr", "church.org"), ("sbcgobal.net", "sbcglobal.net"),
    ],
)  # fmt: skip
def test_a_likely_typo_is_corrected(typed: str, intended: str) -> None:
    assert suggest_correction(f"ana@{typed}") == f"ana@{intended}"


REAL = """gmail.com GMAIL.COM yahoo.com mail.com ymail.com email.com fmail.com hotmail.es hotmail.fr
    hotmail.co.uk hotmail.cl yahoo.es yahoo.com.mx yahoo.ca outlook.es live.com love.com aol.com mac.com
    max.com me.com msn.com cox.net fox.net att.net gmx.com gmx.net proton.me cloud.com lookout.com comcast.com
    example.org example.co st-mary.org church.cm horizon.net nd.edu"""


@pytest.mark.parametrize("domain", REAL.split())
def test_a_real_domain_is_not_corrected(domain: str) -> None:
    assert suggest_correction(f"ana@{domain}") is None


@pytest.mark.parametrize(
    "text", ["", "ana", "@gmial.com", "a@b@gmial.com", "a\r\n@gmial.com", "<a>@gmial.com"]
)
def test_nothing_is_suggested_for_what_would_be_refused(text: str) -> None:
    assert suggest_correction(text) is None


@given(st.one_of(st.text(max_size=80), st.from_regex(r"[^@]{0,70}@[^@]{0,70}\.[a-z]{2,4}", fullmatch=True)))
@example("ΐ" * 32 + "@" + "b" * 60 + ".example.org")
def test_any_text_is_an_address_or_a_sentence(text: str) -> None:
    suggest_correction(text)
    try:
        address = parse(text, pepper=PEPPER)
    except BadAddress as error:
        assert str(error).endswith(".")
        return
    local, _, domain = address.email.rpartition("@")
    assert not re.search(r"[\s<>@\x00-\x20\x7f]", local)
    assert re.fullmatch(r"[a-z0-9.-]+", domain)
    assert len(address.email.encode()) <= 254 and len(address.key.encode()) <= 254
    assert len(local.encode()) <= 64


@given(st.emails())
def test_a_key_is_its_own_key(text: str) -> None:
    try:
        key = parse(text, pepper=PEPPER).key
    except BadAddress:
        return
    assert parse(key, pepper=PEPPER).key == key


DOMAINS = ["example.org", "EXAMPLE.org", "exämple.org", "-x.org", "a_b.org", "1.2.3.4"]


@given(st.emails(), st.sampled_from(DOMAINS))
def test_a_cached_domain_is_what_the_library_returns(text: str, domain: str) -> None:
    for address in (text, f"{text.partition('@')[0]}@{domain}"):
        assert addresses._validate(address) == addresses._validate_with_library(address)


def test_importing_this_file_does_not_load_the_slow_library() -> None:
    program = "import sys, lists.addresses; sys.exit('email_validator' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
