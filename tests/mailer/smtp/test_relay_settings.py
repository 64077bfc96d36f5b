from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.errors import BadSettings
from mailer.smtp.rate import Rate
from mailer.smtp.relay_settings import Relay


def test_a_relay_elsewhere_is_verified_unless_told_otherwise():
    relay = Relay.parse("smtp://ana:secret%2Fword@mail.example.org")
    assert (relay.host, relay.port, relay.tls) == ("mail.example.org", 587, "verified")
    assert (relay.username, relay.password) == ("ana", "secret/word")


def test_a_relay_on_this_machine_takes_tls_where_offered():
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert Relay.parse(f"smtp://{host}:25").tls == "opportunistic"


def test_smtps_is_tls_from_the_first_octet():
    relay = Relay.parse("smtps://mail.example.org")
    assert (relay.port, relay.tls, relay.verifies) == (465, "implicit", True)


def test_a_password_is_in_no_repr_and_in_no_complaint():
    assert "secret" not in repr(Relay.parse("smtp://ana:secret@mail.example.org"))
    for url in (
        "smtp://ana:secret@mail.example.org?tls=never&secret=1",
        "smtp://ana:1/secret@mail.example.org",
        "smtp://ana:1?secret@mail.example.org",
        "smtp://ana:1#secret@mail.example.org",
        "smtp://ana:secret@:port",
        "smtp://ana:secret@mail example.org",
        "http://ana:secret@mail.example.org/",
        "smtp://ana:secret@mail℀.example",
        "smtp://:secret@mail.example.org",
    ):
        with pytest.raises(BadSettings) as caught:
            Relay.parse(url)
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_every_mistake_is_named_at_once():
    with pytest.raises(BadSettings) as caught:
        Relay.parse("http://ana@/path?tls=maybe")
    assert len(caught.value.mistakes) == 5


def test_a_password_never_goes_unencrypted_to_another_machine():
    with pytest.raises(BadSettings, match="unencrypted"):
        Relay.parse("smtp://ana:secret@mail.example.org?tls=none")
    assert Relay.parse("smtp://ana:secret@localhost?tls=none").tls == "none"
    assert Relay.parse("smtp://mail.example.org?tls=none").tls == "none"


def test_an_authority_must_be_readable_and_of_use(tmp_path):
    broken = tmp_path / "ca.pem"
    broken.write_text("not a certificate")
    for path in (broken, tmp_path / "missing.pem"):
        with pytest.raises(BadSettings, match="cannot be read"):
            Relay.parse(f"smtp://mail.example.org?ca_file={path}")
    with pytest.raises(BadSettings, match="meaning only"):
        Relay.parse(f"smtp://localhost?tls=required&ca_file={broken}")


@given(st.text())
def test_any_text_is_read_or_refused_with_a_sentence(text):
    for url in (text, "smtp://" + text, "smtp://ana:" + text + "@mail.example.org"):
        try:
            Relay.parse(url)
        except BadSettings as error:
            assert all(sentence.endswith(".") for sentence in error.mistakes)


def test_several_relays_each_with_its_share_and_its_limits():
    text = "smtp://a.example.org?weight=3&rate=600/hour\n smtps://b.example.org?connections=4&messages=10&weight=0"
    first, second = Relay.parse_all(text)
    assert (first.name, first.weight) == ("a.example.org:587", 3)
    assert (first.connections, first.messages) == (None, 100)
    assert first.rate == Rate(limit=600, period=timedelta(hours=1))
    assert (second.name, second.weight) == ("b.example.org:465", 0)
    assert (second.connections, second.messages) == (4, 10)
    assert second.rate is None


def test_each_mistake_in_several_relays_says_which_one_and_repeats_no_password():
    text = (
        "smtp://ana:secret@a.example.org?weight=heavy&rate=600/fortnight smtp://ana:secret@b.example.org"
        " smtp://ben:secret@b.example.org smtp://ana:secret@c.example.org?connections=0&messages=1e3"
    )
    with pytest.raises(BadSettings) as caught:
        Relay.parse_all(text)
    assert "secret" not in str(caught.value)
    mistakes = caught.value.mistakes
    assert [sentence.partition(":")[0] for sentence in mistakes] == [
        "In the first SMTP address",
        "In the first SMTP address",
        "In the fourth SMTP address",
        "In the fourth SMTP address",
        "Two SMTP addresses name b.example.org",
    ]
    with pytest.raises(BadSettings, match="no SMTP address"):
        Relay.parse_all(" ")
