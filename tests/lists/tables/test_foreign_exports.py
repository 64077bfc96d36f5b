"""Tools: people whom another tool marks as left, bounced or never asked are skipped in any spelling."""

import csv
import io
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lists.errors import BadInput
from lists.tables import column_mapping, csv_file, importing
from lists.tables.foreign_exports import TOOLS
from lists.tables.staged_rows import UNDECIDED, StagingTable
from tests.people import PEPPER

EXPORTS = Path(__file__).parent / "exports"
ACCEPTS = {"¿Acepta recibir correos de la campaña?": "agreed"}
LEFT, BOUNCES, BLOCKED = "left there", "their address takes no mail there", "blocked there"
UNCONFIRMED, NEVER = "never confirmed there", "never asked for mail there"
ANA, CLEO, ELI = "ana@stmark.example.org", "cleo@left.example.org", "eli@gone.example.org"
FAY, GIL, HAL, DORA = (f"{name}@example.org" for name in ("fay", "gil", "hal", "dora"))

# File → the tool, and who is skipped and why. Only Ana is imported.
TABLE = {
    "ghost.csv": ("Ghost", {CLEO: LEFT, DORA: LEFT}),
    "substack_email_list.csv": ("Substack", {CLEO: LEFT}),
    "civicrm.csv": ("CiviCRM", {CLEO: LEFT, ELI: BOUNCES, FAY: LEFT, GIL: LEFT, HAL: BLOCKED}),
    "phplist.csv": ("phpList", {CLEO: BLOCKED, ELI: BOUNCES, FAY: UNCONFIRMED, GIL: BLOCKED}),
    "mautic.csv": ("Mautic", {CLEO: LEFT, ELI: LEFT, FAY: LEFT}),
    "constant_contact.csv": ("Constant Contact", {CLEO: LEFT, ELI: NEVER, FAY: UNCONFIRMED, GIL: LEFT}),
    "keila.csv": ("Keila", {CLEO: LEFT, ELI: BOUNCES}),
    "google_forms_es.csv": ("Google Forms", dict.fromkeys((CLEO, DORA), "did not tick that they agree")),
    "microsoft_forms.csv": ("Microsoft Forms", {CLEO: "did not tick that they agree"}),
    "brevo.csv": ("", {CLEO: BLOCKED}),
    "nationbuilder.csv": ("", {CLEO: "did not tick that they agree", ELI: BOUNCES, FAY: LEFT}),
    "salesforce.csv": ("", {CLEO: LEFT, ELI: BOUNCES}),
    "everyaction.csv": ("", {CLEO: LEFT, ELI: NEVER}),
    "hubspot.csv": ("", {CLEO: LEFT, ELI: BOUNCES}),
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
EXCLUDED = {CLEO, ELI, FAY, GIL, HAL}


def read(data: bytes, name: str, corrections: dict[str, str]) -> tuple[str, set[str], dict[str, str]]:
    """Return the tool, the people to import, and the skipped people with the reason."""
    with StagingTable() as staging:
        table = csv_file.read(io.BytesIO(data))
        columns = column_mapping.guess(table.columns, file_name=name, corrections=corrections)
        importing.stage_rows(table, columns, staging, pepper=PEPPER)
        results = [*staging.read_results()]
    assert not [result for result in results if result.outcome == "wrong"]
    emails = {result.email for result in results if result.outcome == UNDECIDED}
    return (
        columns.tool,
        emails,
        {result.email: result.why for result in results if result.outcome == "declined"},
    )


@pytest.mark.parametrize("name", TABLE)
def test_the_words_of_each_tool_are_recognized(name: str) -> None:
    tool, skipped = TABLE[name]
    corrections = ACCEPTS if name.startswith("google") else {}
    assert read((EXPORTS / name).read_bytes(), name, corrections) == (tool, {ANA}, skipped)


def test_every_tool_with_columns_has_a_file_here() -> None:
    tools_shown = {tool for tool, _ in TABLE.values()} | {
        "Mailchimp",
        "listmonk",
        "Action Network",
        "this service",
    }
    assert {tool.name for tool in TOOLS} <= tools_shown


spelling = st.sampled_from(["as it is", "UPPER", "lower", "under_scores", "Title", " padded "])


def spell(name: str, how: str) -> str:
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
def test_no_spelling_of_a_file_imports_people_whom_it_excludes(
    name: str, how: str, separator: str, mark: bool, order: random.Random, renamed: str | None, file_name: str
) -> None:
    rows = [*csv.reader(io.StringIO((EXPORTS / name).read_text("utf-8")))]
    indexes = [*range(len(rows[0]))]
    order.shuffle(indexes)
    for index, heading in enumerate(rows[0]):  # people can rename these in every tool
        if heading.casefold() in ("email", "email address") and renamed:
            rows[0][index] = renamed
        elif heading in ("First Name", "Last Name", "first_name", "name"):
            rows[0][index] = order.choice(["Nombre de pila", "Vorname", "Prénom", "X"]) + str(index)
        else:
            rows[0][index] = spell(heading, how)
    output = io.StringIO(newline="")
    csv.writer(output, delimiter=separator).writerows([[row[index] for index in indexes] for row in rows])
    new_name = f"{file_name}{name}" if file_name.startswith("copia") else file_name or name
    try:
        with StagingTable() as staging:
            table = csv_file.read(io.BytesIO(output.getvalue().encode("utf-8-sig" if mark else "utf-8")))
            importing.stage_rows(
                table, column_mapping.guess(table.columns, file_name=new_name), staging, pepper=PEPPER
            )
            emails = {result.email for result in staging.read_results() if result.outcome == UNDECIDED}
    except BadInput:
        return
    assert emails.isdisjoint(EXCLUDED)


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
def test_the_name_of_a_mailchimp_file_says_which_people_it_contains(name: str) -> None:
    data = (EXPORTS / "nonsubscribed_email_audience_export_0a1b2c3d4e.csv").read_bytes()
    if "nonsubscribed" in name or "cleaned" in name:
        assert read(data, name, {})[1] == set()
        return
    with pytest.raises(BadInput, match="Only the name of a file of Mailchimp"):
        read(data, name, {})


def test_a_mailchimp_file_of_subscribed_people_is_imported_in_any_language() -> None:
    data = (EXPORTS / "subscribed_email_audience_export_0a1b2c3d4e.csv").read_text("utf-8")
    for heading in ("Dirección de correo electrónico", "メールアドレス", "Kontakt"):
        changed_data = data.replace("Email Address", heading).encode()
        assert len(read(changed_data, "Copia de subscribed_segment_export_1.csv", {})[1]) == 3
