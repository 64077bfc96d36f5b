"""Whoever another tool marks as left, bounced or never asked stays out, however the file is spelled."""

import csv
import io
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lists.errors import BadInput
from lists.tables import column_mapping, importing, table_file
from lists.tables.staging import UNDECIDED, StagingTable
from lists.tables.tools import TOOLS
from tests.people import PEPPER

EXPORTS = Path(__file__).parent / "exports"
ACCEPTS = {"¿Acepta recibir correos de la campaña?": "agreed"}
GONE, BOUNCES, BLOCKED = "left there", "their address takes no mail there", "blocked there"
UNCONFIRMED, NEVER = "never confirmed there", "never asked for mail there"
ANA, CLEO, ELI = "ana@stmark.example.org", "cleo@left.example.org", "eli@gone.example.org"
FAY, GIL, HAL, DORA = (f"{name}@example.org" for name in ("fay", "gil", "hal", "dora"))

# File → the tool, and who is passed over and why. Ana alone comes in.
TABLE = {
    "ghost.csv": ("Ghost", {CLEO: GONE, DORA: GONE}),
    "substack_email_list.csv": ("Substack", {CLEO: GONE}),
    "civicrm.csv": ("CiviCRM", {CLEO: GONE, ELI: BOUNCES, FAY: GONE, GIL: GONE, HAL: BLOCKED}),
    "phplist.csv": ("phpList", {CLEO: BLOCKED, ELI: BOUNCES, FAY: UNCONFIRMED, GIL: BLOCKED}),
    "mautic.csv": ("Mautic", {CLEO: GONE, ELI: GONE, FAY: GONE}),
    "constant_contact.csv": ("Constant Contact", {CLEO: GONE, ELI: NEVER, FAY: UNCONFIRMED, GIL: GONE}),
    "keila.csv": ("Keila", {CLEO: GONE, ELI: BOUNCES}),
    "google_forms_es.csv": ("Google Forms", dict.fromkeys((CLEO, DORA), "did not tick that they agree")),
    "microsoft_forms.csv": ("Microsoft Forms", {CLEO: "did not tick that they agree"}),
    "brevo.csv": ("", {CLEO: BLOCKED}),
    "nationbuilder.csv": ("", {CLEO: "did not tick that they agree", ELI: BOUNCES, FAY: GONE}),
    "salesforce.csv": ("", {CLEO: GONE, ELI: BOUNCES}),
    "everyaction.csv": ("", {CLEO: GONE, ELI: NEVER}),
    "hubspot.csv": ("", {CLEO: GONE, ELI: BOUNCES}),
}
EVERY = (
    *TABLE,
    "listmonk.csv",
    "action_network.csv",
    *(
        f"{kind}_email_audience_export_0a1b2c3d4e.csv"
        for kind in ("unsubscribed", "cleaned", "nonsubscribed")
    ),
)
REFUSED = {CLEO, ELI, FAY, GIL, HAL}


def read(data: bytes, name: str, said: dict[str, str]) -> tuple[str, set[str], dict[str, str]]:
    """Return the tool, who would come in, and who is passed over and why."""
    with StagingTable() as stage:
        table = table_file.read(io.BytesIO(data))
        columns = column_mapping.guess(table.columns, file_name=name, corrections=said)
        importing.stage_rows(table, columns, stage, pepper=PEPPER)
        fates = [*stage.read_results()]
    assert not [fate for fate in fates if fate.outcome == "wrong"]
    coming = {fate.email for fate in fates if fate.outcome == UNDECIDED}
    return columns.tool, coming, {fate.email: fate.why for fate in fates if fate.outcome == "declined"}


@pytest.mark.parametrize("name", TABLE)
def test_each_tools_own_words_are_understood(name: str) -> None:
    tool, passed_over = TABLE[name]
    said = ACCEPTS if name.startswith("google") else {}
    assert read((EXPORTS / name).read_bytes(), name, said) == (tool, {ANA}, passed_over)


def test_every_tool_with_columns_has_a_file_here() -> None:
    shown = {tool for tool, _ in TABLE.values()} | {"Mailchimp", "listmonk", "Action Network", "this service"}
    assert {tool.name for tool in TOOLS} <= shown


spelling = st.sampled_from(["as it is", "UPPER", "lower", "under_scores", "Title", " padded "])


def spelled(name: str, how: str) -> str:
    return {
        "UPPER": name.upper(),
        "lower": name.lower(),
        "under_scores": name.replace(" ", "_"),
        "Title": name.title(),
        " padded ": f" {name} ",
    }.get(how, name)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(EVERY),
    how=spelling,
    separator=st.sampled_from([",", ";", "\t", "|"]),
    mark=st.booleans(),
    order=st.randoms(use_true_random=False),
    renamed=st.sampled_from([None, "Email", "Correo", "E-Mail-Adresse", "Kontakt"]),
    file_name=st.sampled_from(["", "people.csv", "copia de "]),
)
def test_no_spelling_of_a_file_brings_in_whom_it_refuses(
    name: str, how: str, separator: str, mark: bool, order: random.Random, renamed: str | None, file_name: str
) -> None:
    rows = [*csv.reader(io.StringIO((EXPORTS / name).read_text("utf-8")))]
    places = [*range(len(rows[0]))]
    order.shuffle(places)
    for at, heading in enumerate(rows[0]):  # what people can rename in every tool
        if heading.casefold() in ("email", "email address") and renamed:
            rows[0][at] = renamed
        elif heading in ("First Name", "Last Name", "first_name", "name"):
            rows[0][at] = order.choice(["Nombre de pila", "Vorname", "Prénom", "X"]) + str(at)
        else:
            rows[0][at] = spelled(heading, how)
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=separator).writerows([[row[at] for at in places] for row in rows])
    called = f"{file_name}{name}" if file_name.startswith("copia") else file_name or name
    try:
        with StagingTable() as stage:
            table = table_file.read(io.BytesIO(written.getvalue().encode("utf-8-sig" if mark else "utf-8")))
            importing.stage_rows(
                table, column_mapping.guess(table.columns, file_name=called), stage, pepper=PEPPER
            )
            coming = {fate.email for fate in stage.read_results() if fate.outcome == UNDECIDED}
    except BadInput:
        return
    assert coming.isdisjoint(REFUSED)


@pytest.mark.parametrize(
    "name",
    [
        "people.csv",
        "members_export_1.csv",
        "nonsubscribed_x.csv",
        "Copy of nonsubscribed_x (1).csv",
        "cleaned.csv",
    ],
)
def test_a_mailchimp_file_says_by_its_name_who_is_in_it(name: str) -> None:
    data = (EXPORTS / "nonsubscribed_email_audience_export_0a1b2c3d4e.csv").read_bytes()
    if "nonsubscribed" in name or "cleaned" in name:
        assert read(data, name, {})[1] == set()
        return
    with pytest.raises(BadInput, match="Only the name of a file of Mailchimp"):
        read(data, name, {})


def test_a_mailchimp_file_of_the_subscribed_comes_in_in_any_language() -> None:
    data = (EXPORTS / "subscribed_email_audience_export_0a1b2c3d4e.csv").read_text("utf-8")
    for heading in ("Dirección de correo electrónico", "メールアドレス", "Kontakt"):
        changed = data.replace("Email Address", heading).encode()
        assert len(read(changed, "Copia de subscribed_segment_export_1.csv", {})[1]) == 3
