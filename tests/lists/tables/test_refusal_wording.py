"""Opt-out columns: a heading or a cell that may say who wants no mail is recognized in several languages."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lists.tables import refusal_wording, text_matching

REFUSING = """unsub|Unsubscribed|Opt-out|opted out|HasOptedOutOfEmail|Do not|Don't email|No bulk|blacklist
Blocklist|Bounce count|On hold|hold|Suppressed|subscribed|Consent|Permission|GDPR|Status|Active
Complaint|spam|Baja|Desuscrito|No contactar|Rebotado|Cancelado|Désabonné|Abgemeldet
Descadastrado|email_disabled|isOptOut|E-mail status|Newsletter
Do you agree to receive emails from us?|¿Acepta recibir correos?|dnc|unsubscribed_at
Membership status|Suscripción|No Bulk Emails (User Opt Out)|Marketing emails bounced
Contact preferences|Отписан|取消订阅|Cancel date|opt_in|Consentimiento RGPD|Subscriber
Fecha de baja|Do Not Mail|OK to email|Statut|Einwilligung|Blacklisted?|Correo rebotado
No longer wants email|Emailable|Estado de suscripción|Inscrit à la lettre|Zustimmung|Consenso
Estatus"""
HARMLESS = """Household|Threshold|Holder|Account holder|Activity|Job status|Marital status|First name|Phone
Notes|Tags|Estado|Nombre|Contact No|Phone No.|Installation No|No. of children|Address|Mailing address
Do Not Call|SMS Opt Out|can2_sms_status|Options|Adoption|Optical|Notebook|Donation amount
Company|Region|TIMEZONE|Preferred language|Birthday|created_at|Ownership|Last activity date
Baja California|Facebook|City|Role|Age|Attended|Nationality|Annotation|Notary|Comments|Pronouns
Last active|Sun subtotal|Estado civil|Congregation|Denomination|Website|Lead Status|Stopwatch"""


def split_names(text: str) -> list[str]:
    return [name for line in text.splitlines() for name in line.split("|")]


@pytest.mark.parametrize("name", split_names(REFUSING))
def test_a_heading_that_may_refuse_mail_is_recognized_in_any_spelling(name: str) -> None:
    for spelling in (name, name.upper(), name.lower(), name.replace(" ", "_"), f" {name}: "):
        assert refusal_wording.matches_heading(spelling), spelling


@pytest.mark.parametrize("name", split_names(HARMLESS))
def test_a_harmless_heading_is_not(name: str) -> None:
    assert not refusal_wording.matches_heading(name)


@pytest.mark.parametrize(
    ("text", "anywhere", "in_a_group"),
    [
        ("unsubscribed", True, True),
        ("Opted out - 2024", True, True),
        ("choir, unsubscribed", True, True),
        ("asked: do not email", True, True),
        ("dado de baja", True, True),
        ("Cleaned", True, True),
        ("bounced", True, True),
        ("baja", True, True),
        ("cancelado", False, True),
        ("vip;inactive", False, True),
        ("Arizona", False, False),
        ("Baja California", False, False),
        ("choir, vigil", False, False),
        ("Subscribed", False, False),
        ("no", False, False),
        ("the house was cleaned", False, False),
    ],
)
def test_a_cell_that_refuses_mail_is_recognized(text: str, anywhere: bool, in_a_group: bool) -> None:
    assert refusal_wording.matches_cell(text, group=False) is anywhere
    assert refusal_wording.matches_cell(text, group=True) is in_a_group


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unsubscribed_email_audience_export_1.csv", "unsubscribed"),
        ("Copia de cleaned_x (1).csv", "cleaned"),
        ("suppression_bounces.csv", "suppression"),
        ("bajas-2024.csv", "bajas"),
        ("Do not email.csv", "do not email"),
        ("subscribed_email_audience_export_1.csv", ""),
        ("people.csv", ""),
        ("Baja California.csv", ""),
    ],
)
def test_the_name_of_a_file_of_refusals_is_recognized(name: str, words: str) -> None:
    assert refusal_wording.find_in_file_name(name) == words


@example("𝐄𝐦𝐚𝐢𝐥")
@example("𝜜")
@given(st.text(max_size=40))
def test_a_normalized_text_stays_the_same(text: str) -> None:
    words = text_matching.normalize(text)
    assert text_matching.normalize(words) == words
    for group in (False, True):
        assert refusal_wording.matches_cell(text, group=group) in (False, True)
    assert refusal_wording.matches_heading(text) in (False, True)


def test_a_heading_in_letters_of_mathematics_is_read_like_any_other() -> None:
    assert refusal_wording.matches_heading("𝐃𝐨 𝐧𝐨𝐭 𝐞𝐦𝐚𝐢𝐥")
    assert text_matching.make_key("𝐄𝐌𝐀𝐈𝐋 𝐀𝐝𝐝𝐫𝐞𝐬𝐬") == text_matching.make_key("Email Address")
