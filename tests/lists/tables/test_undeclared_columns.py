"""Unread columns: a column that may say who wants no mail stops the import until its field is declared."""

import io

import pytest

from lists.errors import BadInput
from lists.fields import Field
from lists.tables import column_mapping, csv_file, importing
from lists.tables.staged_rows import UNDECIDED, StagingTable
from tests.people import PEPPER

ANA = "ana@stmark.example.org"


def read_outcomes(text: str, *, yes_means: frozenset[str] = frozenset(), **options: object) -> dict[str, str]:
    """Read a file, and return the outcome of each row by address; "" for a person who would be added."""
    with StagingTable() as staging:
        table = csv_file.read(io.BytesIO(text.encode()))
        columns = column_mapping.guess(table.columns, **options)  # type: ignore[arg-type]
        custom_fields = {
            name: Field(name=name, title=title, type="text", choices=[])
            for name, title in columns.custom_fields.items()
        }
        importing.stage_rows(
            table, columns, staging, pepper=PEPPER, custom_fields=custom_fields, yes_means=yes_means
        )
        return {result.email: result.outcome for result in staging.read_results()}


def refusal(text: str, **options: object) -> str:
    with pytest.raises(BadInput) as error:
        read_outcomes(text, **options)
    return str(error.value)


def test_the_sentence_names_the_column_its_cells_and_what_to_type() -> None:
    cells = ["Y"] * 3 + ["N"] * 2 + ["ask"] + ["later"] + [""]
    text = "email,Contact preference\n" + "".join(
        f"p{number}@b.org,{cell}\n" for number, cell in enumerate(cells)
    )
    sentence = refusal(text)
    assert "“Contact preference” may say who wants no mail" in sentence
    assert "“Y” (3×), “N” (2×), “ask” (1×) and 1 more" in sentence
    for correction in ("=refused", "=agreed", "=state"):
        assert f'--map "Contact preference{correction}"' in sentence
    assert '--ignore-column "Contact preference"' in sentence
    assert read_outcomes(text, ignored_columns=["contact PREFERENCE"])["p0@b.org"] == UNDECIDED
    assert read_outcomes(text, corrections={"Contact preference": ""})["p0@b.org"] == UNDECIDED
    outcomes = read_outcomes(text, corrections={"Contact preference": "agreed"})
    assert [outcomes[f"p{number}@b.org"] for number in (0, 3, 5, 7)] == [
        UNDECIDED,
        "declined",
        "wrong",
        "declined",
    ]
    assert [*read_outcomes(text, corrections={"Contact preference": "refused"}).values()].count(
        UNDECIDED
    ) == 3


def test_every_such_column_is_named_at_once() -> None:
    sentence = refusal(f"email,Consent 2024,Newsletter,Fax\n{ANA},1,2,3\n")
    assert "“Consent 2024”" in sentence and "“Newsletter”" in sentence and "Fax" not in sentence


def test_an_empty_column_stops_nothing() -> None:
    assert read_outcomes(f"email,Do not disturb,Status\n{ANA}, ,\n") == {ANA: UNDECIDED}


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
def test_a_column_with_a_harmless_heading_stops_the_file_by_its_cells(heading: str, cell: str) -> None:
    text = f"email,{heading}\n" + "".join(f"p{number}@b.org,Arizona\n" for number in range(1_500))
    assert set(read_outcomes(text).values()) == {UNDECIDED}
    assert f"“{cell}” (1×)" in refusal(f"{text}{ANA},{cell}\n")


def test_a_column_of_nothing_but_states_stops_the_file_whatever_its_heading() -> None:
    text = "email,Circle\na@b.org,active\nb@b.org,inactive\n"
    assert "“Circle”" in refusal(text)
    assert read_outcomes(text, corrections={"circle": "state"}) == {
        "a@b.org": UNDECIDED,
        "b@b.org": "declined",
    }
    assert set(read_outcomes("email,Circle\na@b.org,yes\nb@b.org,no\n").values()) == {UNDECIDED}


def test_custom_fields_and_tags_are_inspected_too() -> None:
    custom_fields = {"consent_2": "Second consent"}
    assert "“Second consent”" in refusal(f"email,Second consent\n{ANA},no\n", custom_fields=custom_fields)
    corrections = {"Second consent": "consent_2"}
    assert read_outcomes(
        f"email,Second consent\n{ANA},no\n", custom_fields=custom_fields, corrections=corrections
    ) == {ANA: UNDECIDED}
    text = f"email,Words\n{ANA},unsubscribed\n"
    assert "“Words”" in refusal(text, corrections={"Words": "tags"})
    assert read_outcomes(text, corrections={"Words": "tags"}, ignored_columns=["Words"]) == {ANA: UNDECIDED}


def test_a_heading_that_cannot_be_typed_is_named_by_its_number() -> None:
    long = "Do you agree " * 12
    for name in (long, 'The "consent"', "consent $1"):
        quoted = name.replace('"', '""')
        text = f'email,"{quoted}"\n{ANA},yes\n'
        assert '--map "#2=agreed"' in refusal(text)
        assert read_outcomes(text, corrections={"#2": "agreed"}) == {ANA: UNDECIDED}


def test_a_second_column_for_mail_without_addresses_stops_the_file() -> None:
    text = f"email,Mail?\n{ANA},sure\ncleo@left.example.org,no way\n"
    assert '--map "Mail?="' in refusal(text)
    assert "“Mail?” may say who wants no mail" in refusal(text, corrections={"Mail?": ""})
    assert (
        read_outcomes(text, corrections={"Mail?": "agreed"}, yes_means=frozenset({"sure"}))[ANA] == UNDECIDED
    )
    assert read_outcomes(text, corrections={"Mail?": ""}, ignored_columns=["Mail?"])[ANA] == UNDECIDED
    other = f"email,Correo\n{ANA},ana@work.example.org\n"
    assert read_outcomes(other, corrections={"Correo": ""}) == {ANA: UNDECIDED}


def test_a_correction_of_one_column_does_not_silence_another() -> None:
    text = f"email,Status,Email status\n{ANA},subscribed,unsubscribed\n"
    assert read_outcomes(text) == {ANA: "declined"}
    assert read_outcomes(text, corrections={"Status": "state"}) == {ANA: "declined"}
    assert read_outcomes(text, ignored_columns=["Email status"]) == {ANA: UNDECIDED}


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
def test_each_cell_of_a_mapped_column_includes_excludes_or_is_refused(
    heading: str, cell: str, outcome: str
) -> None:
    assert read_outcomes(f"email,{heading}\n{ANA},{cell}\n") == {ANA: outcome}


def test_a_person_without_a_state_is_skipped_where_others_have_one() -> None:
    assert read_outcomes(f"email,status\n{ANA},\nb@b.org,subscribed\n") == {
        ANA: "declined",
        "b@b.org": UNDECIDED,
    }


@pytest.mark.parametrize("first", [True, False])
def test_a_person_excluded_by_one_row_is_not_imported_by_another(first: bool) -> None:
    lines = [f"{ANA.upper()},subscribed\n", f"{ANA},unsubscribed\n"]
    text = "email,status\nb@b.org,subscribed\n" + "".join(lines if first else reversed(lines))
    assert [*read_outcomes(text).values()].count(UNDECIDED) == 1
    outcomes = read_outcomes(f"email,status\nb@b.org,subscribed\n{lines[0]}{ANA},perhaps\n")
    assert sorted(outcomes.values()) == [UNDECIDED, "declined", "wrong"]


def test_a_roster_with_a_line_about_those_who_left_is_refused() -> None:
    assert "Line 2 says “# Unsubscribed:”" in refusal(f"{ANA}\n# Unsubscribed:\ncleo@left.example.org\n")
    assert read_outcomes(f"# from the old server\n{ANA}\n") == {ANA: UNDECIDED}
    assert (
        read_outcomes(f"{ANA}\n" * 1 + "b@b.org\n" * 30 + "c@b.org unsubscribed\n")["c@b.org unsubscribed"]
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
def test_refusals_in_other_languages_and_tools_stop_the_file(heading: str, cell: str) -> None:
    text = f"email,name,{heading}\nben@b.org,Ben,\ncleo@b.org,Cleo,{cell}\n"
    assert f"“{cell}” (1×)" in refusal(text)
    assert read_outcomes(text, ignored_columns=[heading])["cleo@b.org"] == UNDECIDED


@pytest.mark.parametrize(
    "heading", ["Household", "Email threshold", "Baja California", "Takes part", "Needs ride"]
)
def test_a_harmless_heading_stops_nothing(heading: str) -> None:
    assert read_outcomes(f"email,{heading}\n{ANA},yes\n") == {ANA: UNDECIDED}


@pytest.mark.parametrize(
    ("state", "refusing_state"),
    [
        ("valid", "invalid"),
        ("deliverable", "undeliverable"),
        ("enabled", "by_bounces"),
        ("enabled", "by_user"),
        ("Active", "Churned"),
    ],
)
def test_the_states_of_other_tools_are_recognized(state: str, refusing_state: str) -> None:
    outcomes = read_outcomes(
        f"email,x\nben@b.org,{state}\ncleo@b.org,{refusing_state}\n", corrections={"x": "state"}
    )
    assert outcomes["ben@b.org"] == UNDECIDED and outcomes["cleo@b.org"] not in (UNDECIDED, "wrong")


def test_no_hint_offers_to_leave_out_a_column_that_excludes_others() -> None:
    with StagingTable() as staging:
        table = csv_file.read(io.BytesIO(b"email,x\nben@b.org,odd\ncleo@b.org,unsubscribed\n"))
        columns = column_mapping.guess(table.columns, corrections={"x": "state"})
        importing.stage_rows(table, columns, staging, pepper=PEPPER)
        sentence = {result.email: result.why for result in staging.read_results()}["ben@b.org"]
    assert "Do not leave the column out" in sentence and "--map" not in sentence


@pytest.mark.parametrize(
    ("cell", "is_offered"),
    [("Registro 2024", True), ("Prefiero que no", False), ("Yes, but not by email", False)],
)
def test_only_a_text_without_a_refusal_is_offered_to_be_declared_a_yes(cell: str, is_offered: bool) -> None:
    with StagingTable() as staging:
        table = csv_file.read(io.BytesIO(f'email,x\nben@b.org,"{cell}"\n'.encode()))
        columns = column_mapping.guess(table.columns, corrections={"x": "agreed"})
        importing.stage_rows(table, columns, staging, pepper=PEPPER)
        (why,) = [result.why for result in staging.read_results()]
    assert "neither a yes nor a no" in why and ("--yes-means" in why) == is_offered
