"""A column that may say who wants no mail stops the file until somebody says what it is."""

import io

import pytest

from lists.errors import BadInput
from lists.fields import Field
from lists.tables import column_mapping, importing, table_file
from lists.tables.staging import UNDECIDED, StagingTable
from tests.people import PEPPER

ANA = "ana@stmark.example.org"


def brought_in(text: str, *, yes_means: frozenset[str] = frozenset(), **said: object) -> dict[str, str]:
    """Read a file, and return what became of each row that is not wanted, and "" of who would be added."""
    with StagingTable() as stage:
        table = table_file.read(io.BytesIO(text.encode()))
        columns = column_mapping.guess(table.columns, **said)  # type: ignore[arg-type]
        own = {
            name: Field(name=name, title=title, type="text", choices=[])
            for name, title in columns.custom_fields.items()
        }
        importing.stage_rows(table, columns, stage, pepper=PEPPER, custom_fields=own, yes_means=yes_means)
        return {fate.email: fate.outcome for fate in stage.read_results()}


def refusal(text: str, **said: object) -> str:
    with pytest.raises(BadInput) as refused:
        brought_in(text, **said)
    return str(refused.value)


def test_the_sentence_names_the_column_its_cells_and_what_to_type() -> None:
    cells = ["Y"] * 3 + ["N"] * 2 + ["ask"] + ["later"] + [""]
    text = "email,Contact preference\n" + "".join(f"p{at}@b.org,{cell}\n" for at, cell in enumerate(cells))
    told = refusal(text)
    assert "“Contact preference” may say who wants no mail" in told
    assert "“Y” (3×), “N” (2×), “ask” (1×) and 1 more" in told
    for typed in ("=refused", "=agreed", "=state"):
        assert f'--map "Contact preference{typed}"' in told
    assert '--ignore-column "Contact preference"' in told
    assert brought_in(text, ignored_columns=["contact PREFERENCE"])["p0@b.org"] == UNDECIDED
    assert brought_in(text, corrections={"Contact preference": ""})["p0@b.org"] == UNDECIDED
    agreed = brought_in(text, corrections={"Contact preference": "agreed"})
    assert [agreed[f"p{at}@b.org"] for at in (0, 3, 5, 7)] == [UNDECIDED, "declined", "wrong", "declined"]
    assert [*brought_in(text, corrections={"Contact preference": "refused"}).values()].count(UNDECIDED) == 3


def test_every_such_column_is_named_at_once() -> None:
    told = refusal(f"email,Consent 2024,Newsletter,Fax\n{ANA},1,2,3\n")
    assert "“Consent 2024”" in told and "“Newsletter”" in told and "Fax" not in told


def test_a_column_with_nothing_in_it_stops_nothing() -> None:
    assert brought_in(f"email,Do not disturb,Status\n{ANA}, ,\n") == {ANA: UNDECIDED}


@pytest.mark.parametrize(
    ("heading", "cell"),
    [
        ("Estado", "Cancelado"),
        ("Segment", "vip; unsubscribed"),
        ("Tags", "bounced"),
        ("Lists", "Opted out"),
        ("Type", "cleaned"),
        ("Notes", "please do not email her"),
        ("X1", "rebotado"),
        ("", "unsubscribed"),
    ],
)
def test_a_column_with_an_innocent_heading_stops_the_file_by_its_cells(heading: str, cell: str) -> None:
    text = f"email,{heading}\n" + "".join(f"p{at}@b.org,Arizona\n" for at in range(1_500))
    assert set(brought_in(text).values()) == {UNDECIDED}
    assert f"“{cell}” (1×)" in refusal(f"{text}{ANA},{cell}\n")


def test_a_column_of_nothing_but_states_stops_the_file_whatever_its_heading() -> None:
    text = "email,Circle\na@b.org,active\nb@b.org,inactive\n"
    assert "“Circle”" in refusal(text)
    assert brought_in(text, corrections={"circle": "state"}) == {"a@b.org": UNDECIDED, "b@b.org": "declined"}
    assert set(brought_in("email,Circle\na@b.org,yes\nb@b.org,no\n").values()) == {UNDECIDED}


def test_fields_of_staffs_own_and_tags_are_looked_at_too() -> None:
    own = {"consent_2": "Second consent"}
    assert "“Second consent”" in refusal(f"email,Second consent\n{ANA},no\n", custom_fields=own)
    said = {"Second consent": "consent_2"}
    assert brought_in(f"email,Second consent\n{ANA},no\n", custom_fields=own, corrections=said) == {
        ANA: UNDECIDED
    }
    text = f"email,Words\n{ANA},unsubscribed\n"
    assert "“Words”" in refusal(text, corrections={"Words": "tags"})
    assert brought_in(text, corrections={"Words": "tags"}, ignored_columns=["Words"]) == {ANA: UNDECIDED}


def test_a_heading_that_cannot_be_typed_is_named_by_its_number() -> None:
    long = "Do you agree " * 12
    for name in (long, 'The "consent"', "consent $1"):
        quoted = name.replace('"', '""')
        text = f'email,"{quoted}"\n{ANA},yes\n'
        assert '--map "#2=agreed"' in refusal(text)
        assert brought_in(text, corrections={"#2": "agreed"}) == {ANA: UNDECIDED}


def test_a_second_column_for_mail_that_holds_no_addresses_is_a_question() -> None:
    text = f"email,Mail?\n{ANA},sure\ncleo@left.example.org,no way\n"
    assert '--map "Mail?="' in refusal(text)
    assert "“Mail?” may say who wants no mail" in refusal(text, corrections={"Mail?": ""})
    assert brought_in(text, corrections={"Mail?": "agreed"}, yes_means=frozenset({"sure"}))[ANA] == UNDECIDED
    assert brought_in(text, corrections={"Mail?": ""}, ignored_columns=["Mail?"])[ANA] == UNDECIDED
    other = f"email,Correo\n{ANA},ana@work.example.org\n"
    assert brought_in(other, corrections={"Correo": ""}) == {ANA: UNDECIDED}


def test_what_is_said_of_one_column_does_not_silence_another() -> None:
    text = f"email,Status,Email status\n{ANA},subscribed,unsubscribed\n"
    assert brought_in(text) == {ANA: "declined"}
    assert brought_in(text, corrections={"Status": "state"}) == {ANA: "declined"}
    assert brought_in(text, ignored_columns=["Email status"]) == {ANA: UNDECIDED}


@pytest.mark.parametrize(
    ("heading", "cell", "outcome"),
    [
        ("subscribed", "false", "declined"),
        ("subscribed", "TRUE", UNDECIDED),
        ("subscribed", "", "declined"),
        ("subscribed", "some", "wrong"),
        ("opted_out", "TRUE", "declined"),
        ("opted_out", "FALSO", UNDECIDED),
        ("unsubscribed", "0", UNDECIDED),
        ("unsubscribed", "1", "declined"),
        ("unsubscribed", "ask Eli", "wrong"),
        ("email_disabled", "true", "declined"),
        ("Do Not Email", "1", "declined"),
        ("Do Not Email", "", UNDECIDED),
        ("Is Opt Out", "x", "declined"),
        ("blacklisted", "No", UNDECIDED),
        ("blacklisted", "✓", "declined"),
        ("unsubscribed_at", "2025-01-01T10:00:00Z", "declined"),
        ("unsubscribed_at", "", UNDECIDED),
        ("unsubscribed_at", "NULL", UNDECIDED),
        ("unsubscribed_at", "0000-00-00 00:00:00", UNDECIDED),
        ("bounces", "3", "declined"),
        ("bounces", "0", UNDECIDED),
        ("bounced", "hard bounce", "declined"),
        ("opted out", "opted out", "declined"),
        ("Do Not Email", "do not", "wrong"),
        ("Status", "", UNDECIDED),
        ("Status", "dado de baja", "declined"),
        ("Status", "Member", "wrong"),
        ("confirmed", "2024-01-01", UNDECIDED),
        ("confirmed", "0", "declined"),
        ("subscribed_at", "2024-01-01", UNDECIDED),
        ("subscribed_at", "never", "wrong"),
        ("Consent", "yes", UNDECIDED),
        ("Consent", "FALSO", "declined"),
        ("Consent", "perhaps", "wrong"),
        ("name", "Ana (do not email)", "wrong"),
        ("bounce reason", "550 unknown", "declined"),
    ],
)
def test_each_cell_of_a_known_column_keeps_in_keeps_out_or_is_asked_about(
    heading: str, cell: str, outcome: str
) -> None:
    assert brought_in(f"email,{heading}\n{ANA},{cell}\n") == {ANA: outcome}


def test_who_has_no_state_where_others_have_one_is_passed_over() -> None:
    assert brought_in(f"email,status\n{ANA},\nb@b.org,subscribed\n") == {
        ANA: "declined",
        "b@b.org": UNDECIDED,
    }


@pytest.mark.parametrize("first", [True, False])
def test_whom_one_row_keeps_out_no_other_row_brings_in(first: bool) -> None:
    lines = [f"{ANA.upper()},subscribed\n", f"{ANA},unsubscribed\n"]
    text = "email,status\nb@b.org,subscribed\n" + "".join(lines if first else reversed(lines))
    assert [*brought_in(text).values()].count(UNDECIDED) == 1
    unclear = brought_in(f"email,status\nb@b.org,subscribed\n{lines[0]}{ANA},perhaps\n")
    assert sorted(unclear.values()) == [UNDECIDED, "declined", "wrong"]


def test_a_roster_with_a_line_about_those_who_left_is_refused() -> None:
    assert "Line 2 says “# Unsubscribed:”" in refusal(f"{ANA}\n# Unsubscribed:\ncleo@left.example.org\n")
    assert brought_in(f"# from the old server\n{ANA}\n") == {ANA: UNDECIDED}
    assert (
        brought_in(f"{ANA}\n" * 1 + "b@b.org\n" * 30 + "c@b.org unsubscribed\n")["c@b.org unsubscribed"]
        == "wrong"
    )


@pytest.mark.parametrize(
    ("heading", "cell"),
    [
        ("En espera", "Sí"),
        ("No molestar", "Sí"),
        ("Gelöscht", "ja"),
        ("Supprimé", "oui"),
        ("Rejeté", "oui"),
        ("Mailing preference", "none"),
        ("Verification Result", "bad"),
        ("Recibe correos", "No"),
        ("Quiere noticias", "No"),
        ("Saiu em", "2024-01-05"),
        ("Fallecido", "Sí"),
        ("Verstorben", "ja"),
        ("Décédé", "oui"),
        ("Resigned", "yes"),
        ("Lost", "2024-01-05"),
        ("Notes", "asked to be taken off the list"),
        ("Comentario", "ya no quiere recibir correos"),
        ("Observaciones", "pidió la baja"),
    ],
)
def test_what_other_languages_and_tools_say_of_a_refusal_stops_the_file(heading: str, cell: str) -> None:
    text = f"email,name,{heading}\nben@b.org,Ben,\ncleo@b.org,Cleo,{cell}\n"
    assert f"“{cell}” (1×)" in refusal(text)
    assert brought_in(text, ignored_columns=[heading])["cleo@b.org"] == UNDECIDED


@pytest.mark.parametrize(
    "heading", ["Household", "Email threshold", "Baja California", "Takes part", "Needs ride"]
)
def test_a_heading_that_only_looks_like_one_stops_nothing(heading: str) -> None:
    assert brought_in(f"email,{heading}\n{ANA},yes\n") == {ANA: UNDECIDED}


@pytest.mark.parametrize(
    ("wanted", "refused"),
    [
        ("valid", "invalid"),
        ("deliverable", "undeliverable"),
        ("enabled", "by_bounces"),
        ("enabled", "by_user"),
        ("Active", "Churned"),
    ],
)
def test_the_states_of_other_tools_are_known(wanted: str, refused: str) -> None:
    became = brought_in(f"email,x\nben@b.org,{wanted}\ncleo@b.org,{refused}\n", corrections={"x": "state"})
    assert became["ben@b.org"] == UNDECIDED and became["cleo@b.org"] not in (UNDECIDED, "wrong")


def test_no_advice_leads_to_leaving_out_a_column_that_keeps_others_out() -> None:
    with StagingTable() as stage:
        table = table_file.read(io.BytesIO(b"email,x\nben@b.org,odd\ncleo@b.org,unsubscribed\n"))
        columns = column_mapping.guess(table.columns, corrections={"x": "state"})
        importing.stage_rows(table, columns, stage, pepper=PEPPER)
        told = {fate.email: fate.why for fate in stage.read_results()}["ben@b.org"]
    assert "Do not leave the column out" in told and "--map" not in told


@pytest.mark.parametrize(
    ("cell", "offered"),
    [("Registro 2024", True), ("Prefiero que no", False), ("Yes, but not by email", False)],
)
def test_only_what_holds_no_refusal_is_offered_to_be_declared_a_yes(cell: str, offered: bool) -> None:
    with StagingTable() as stage:
        table = table_file.read(io.BytesIO(f'email,x\nben@b.org,"{cell}"\n'.encode()))
        columns = column_mapping.guess(table.columns, corrections={"x": "agreed"})
        importing.stage_rows(table, columns, stage, pepper=PEPPER)
        (why,) = [fate.why for fate in stage.read_results()]
    assert "neither a yes nor a no" in why and ("--yes-means" in why) == offered
