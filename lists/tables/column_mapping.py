"""Column mapping: the field of each column, guessed from its name or the export's tool, correctable.

The columns of other tools are in lists/tables/foreign_exports.py; common names of columns are here. Several
columns may say whether a person wants mail, and each of them can exclude the person.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lists.errors import BadInput
from lists.tables import foreign_exports, text_matching
from lists.tables.foreign_exports import BLOCKED, BOUNCING, COMPLAINED, UNCONFIRMED, UNSUBSCRIBED, ExportTool

# The fields of columns. “since” may be many columns: the other tool's own evidence of the consent.
FIELDS: Mapping[str, str] = {
    "email": "the address",
    "name": "the name",
    "first_name": "the first name",
    "last_name": "the last name",  # only with --map: mail greets by the first name, and we store little
    "language": "the language, en or es",
    "zip": "the ZIP code",
    "state": "whether they want mail there",
    "agreed": "whether they ticked that they agree",
    "subscribed": "whether they get mail there, yes or no",
    "confirmed": "whether they confirmed there, yes or no",
    "refused": "whether they refused mail: a yes, a date or a number keeps them out",
    "bounced": "whether their address takes no mail: a yes, a date or a number keeps them out",
    "complained": "whether they complained: a yes, a date or a number keeps them out",
    "blocked": "whether they are blocked there: a yes, a date or a number keeps them out",
    "left": "if anything stands there, they left there",
    "cleaned": "if anything stands there, their address takes no mail there",
    "since": "when they agreed there, kept as evidence",
    "tags": "tags",  # only with --map, as with the last name
}
# Fields that say whether a person wants mail → why those who do not are skipped.
YES_REQUIRED: Mapping[str, str] = {
    "agreed": "did not tick that they agree",
    "subscribed": UNSUBSCRIBED,
    "confirmed": UNCONFIRMED,
}
YES_REFUSES: Mapping[str, str] = {
    "refused": UNSUBSCRIBED,
    "bounced": BOUNCING,
    "complained": COMPLAINED,
    "blocked": BLOCKED,
}
ANY_VALUE_REFUSES: Mapping[str, str] = {"left": UNSUBSCRIBED, "cleaned": BOUNCING}
MAIL_STATUS_FIELDS = frozenset({"state", *YES_REQUIRED, *YES_REFUSES, *ANY_VALUE_REFUSES})
REPEATABLE_FIELDS = MAIL_STATUS_FIELDS | {"since"}
SHOWN_COLUMNS = 10
COLUMN_NUMBER = re.compile(r"#([1-9][0-9]{0,3})")  # the third column is #3
# A heading that can be typed between quotation marks.
QUOTABLE_HEADING = re.compile(r"[^\W_][^\"$`\\!…\n]{0,79}")
UNUSABLE_ROW_COLUMNS = ("refused: line", "refused: why")  # additional columns of our own file of refused rows


def _map_headings(field_name: str, *lines: str) -> dict[str, str]:
    return {text_matching.make_key(name): field_name for line in lines for name in line.split("|")}


# Common names of columns, as `text_matching.make_key` makes them.
COMMON_HEADINGS: Mapping[str, str] = {
    **_map_headings(
        "email",
        "email|email address|mail|correo|correo electronico|direccion de correo|e mail adresse",
        "direccion de correo electronico|direccion de email|correo e|adresse e mail|courriel",
        "adresse email|adresse de messagerie|endereco de email|indirizzo email|emailadresse",
        "e mail 1 value|primary email|email principal|endereco de e mail|e post|adres e mail",
    ),
    **_map_headings(
        "name",
        "name|full name|nombre|nombre completo|nombre y apellido|nombre y apellidos",
    ),
    **_map_headings(
        "first_name",
        "first name|given name|fname|nombre de pila|primer nombre|prenom|vorname|primeiro nome",
    ),
    **_map_headings(
        "language",
        "language|lang|preferred language|idioma|lengua",
    ),
    **_map_headings(
        "zip",
        "zip|zip code|postal code|zip postal code|codigo postal|cp|zip postal",
    ),
    **_map_headings(
        "agreed",
        "agree|agreed|i agree|de acuerdo|acepto|acepta|consent|consented|consentimiento|email consent",
        "marketing consent|gdpr consent|consent to email|permission|email permission|opt in|opted in",
        "email opt in|email opted in|accepts marketing|accepts email marketing",
    ),
    **_map_headings(
        "subscribed",
        "subscribed|is subscribed|email subscribed|subscribed to emails|suscrito|suscrita|active",
        "is active|activo|activa|abonne|aktiv|actif|ativo|attivo|subscribed to newsletter",
    ),
    **_map_headings(
        "confirmed",
        "confirmed|is confirmed|email confirmed|double opt in|confirmado|confirmada",
    ),
    **_map_headings(
        "state",
        "status|subscription status|email status|subscriber status|email subscription status",
        "email permission status|email marketing status|marketing status|member status|contact status",
        "estatus|estado de suscripcion|estado de la suscripcion|statut|list status|mailing status",
    ),
    **_map_headings(
        "refused",
        "do not email|dont email|do not e mail|do not contact|do not send|no email|no emails|dnc",
        "opt out|opted out|email opt out|email opted out|has opted out of email|is opt out|optout",
        "no bulk email|no bulk emails|no bulk emails user opt out|do not bulk email|dnc email",
        "unsubscribed|unsubscribe|is unsubscribed|email unsubscribed|unsubscribed from all email",
        "unsubscribed at|unsubscribed on|unsubscribe date|unsubscribed date|unsubscription date",
        "date unsubscribed|opt out date|opted out at|opt out time|unsubscribe time|unsub",
        "email disabled|is do not contact|global unsubscribe|globally unsubscribed|left at|removed at",
        "opted out on|baja|fecha de baja|dado de baja|desuscrito|desuscrita|no contactar|no enviar",
        "no enviar correos|desabonne|desinscrit|abgemeldet|descadastrado|disiscritto|no enviar correo",
        "fecha baja",
    ),
    **_map_headings(
        "blocked",
        "blacklisted|blocklisted|blacklist|blocklist|email blacklisted|is blacklisted|suppressed",
        "is blocked|is suppressed|lista negra|bloqueado|bloqueada",
    ),
    **_map_headings(
        "bounced",
        "bounced|bounce|bounces|is bounced|hard bounce|hard bounced|hard bounces|bounce count|on hold",
        "bounced at|bounce date|email bounced date|email bounced|number of bounces|email is bad",
        "email1 is bad|rebotado|rebotada|rebote|rebotes|invalid email",
    ),
    **_map_headings(
        "cleaned",
        "bounce reason|email bounced reason|email hard bounce reason|hard bounce reason|bounce type",
    ),
    **_map_headings(
        "left",
        "unsubscribe reason|unsubscribed reason|opt out reason|reason for unsubscribing",
        "motivo de baja",
    ),
    **_map_headings(
        "complained",
        "complained|spam|spam complaint|complaint|complaints|marked as spam|complained at|queja",
    ),
    **_map_headings(
        "since",
        "subscribed at|subscribed on|subscribe date|subscription date|date subscribed|opt in date",
        "opt in time|optin time|opted in at|opt in at|confirm time|fecha de suscripcion|consent date",
        "email opt in date|subscribed date|confirmed opt in date|subscriber since|consented at",
    ),
}
# Names of the address column where no column has a better one.
FALLBACK_EMAIL_HEADINGS = _map_headings("email", "subscriber|username|user name|nombre de usuario")


@dataclass(frozen=True, kw_only=True)
class ColumnMapping:
    """The field of each column, by index; "" for a column that is not read. `tool` wrote the file, or is "".

    `custom_fields` are the fields that staff defined (name → title). `waived_indexes` are the columns that
    staff declared to say nothing about mail, `mapped_indexes` those whose field staff declared.
    `silent_indexes` are columns of the tool that say nothing about mail. `lacks_telling_name`: only the name
    of such a file says whether its people are subscribed, and the name of this file does not.
    """

    tool: str
    columns: Sequence[str]
    fields: Sequence[str]
    file_exclusion: str = ""
    lacks_telling_name: bool = False
    waived_indexes: Collection[int] = frozenset()
    mapped_indexes: Collection[int] = frozenset()
    silent_indexes: Collection[int] = frozenset()
    custom_fields: Mapping[str, str] = field(default_factory=dict)

    def label(self, name: str) -> str:
        """Return the name of a field in a sentence."""
        return FIELDS.get(name, f"the field {name}")

    def find_index(self, name: str) -> int | None:
        """Return the index of the column for a field, or None."""
        return self._first_index.get(name)

    @cached_property
    def _first_index(self) -> Mapping[str, int]:
        return {field_name: index for index, field_name in reversed([*enumerate(self.fields)])}

    def find_indexes(self, name: str) -> Sequence[int]:
        """Return the indexes of all columns for a field."""
        return [index for index, field_name in enumerate(self.fields) if field_name == name]

    @cached_property
    def mail_status_columns(self) -> Sequence[tuple[int, str]]:
        """The index and the field of each column that says whether a person wants mail."""
        return [
            (index, field_name)
            for index, field_name in enumerate(self.fields)
            if field_name in MAIL_STATUS_FIELDS
        ]

    @property
    def unread_names(self) -> Sequence[str]:
        """The names of the columns that are not read."""
        return [
            name
            for name, field_name in zip(self.columns, self.fields, strict=True)
            if name and not field_name
        ]


def guess(
    columns: Sequence[str],
    *,
    file_name: str = "",
    corrections: Mapping[str, str] | None = None,
    ignored_columns: Collection[str] = (),
    custom_fields: Mapping[str, str] | None = None,
) -> ColumnMapping:
    """Return the field of each column, from its name or `corrections` (column → field, "" for not read).

    `ignored_columns` are columns that say nothing about mail, whatever their name. `custom_fields` are the
    fields that staff defined, name → title; in another tool's file a column maps to one only by a correction.
    Raises BadInput when there is no column for the address, when two columns map to the same field, and for a
    name in `corrections` or `ignored_columns` that is not a column or a field.
    """
    keys = [text_matching.make_key(name) for name in columns]
    tool = foreign_exports.detect(frozenset(keys))
    fields = _guess_fields(keys, tool, custom_fields or {})
    waived_indexes: set[int] = set()
    mapped_indexes: set[int] = set()
    for column, field_name in (corrections or {}).items():
        old_fields = fields
        fields, indexes = _apply_correction(
            columns, fields, column=column, field_name=field_name, custom_fields=custom_fields or {}
        )
        # That a second column is not the address does not mean that it says nothing about mail.
        mail_indexes = {index for index in indexes if old_fields[index] in ("", *MAIL_STATUS_FIELDS)}
        mapped_indexes |= indexes if field_name else set()
        waived_indexes |= mail_indexes if not field_name else set()
    for column in ignored_columns:
        indexes = _find_indexes(columns, column)
        waived_indexes |= indexes
        fields = [
            "" if index in indexes and field_name in MAIL_STATUS_FIELDS else field_name
            for index, field_name in enumerate(fields)
        ]
    if tool and tool.first_is_email and fields and "email" not in fields and not fields[0]:
        fields[0] = "email"
    _check(columns, fields)
    file_exclusion, lacks_telling_name = _find_file_exclusion(tool, file_name)
    silent_keys = {text_matching.make_key(name) for name in UNUSABLE_ROW_COLUMNS}
    silent_keys |= {
        key for key, field_name in (_tool_headings(tool) if tool else {}).items() if not field_name
    }
    silent_indexes = {index for index, key in enumerate(keys) if key in silent_keys and not fields[index]}
    return ColumnMapping(
        tool=tool.name if tool else "",
        columns=columns,
        fields=fields,
        file_exclusion=file_exclusion,
        lacks_telling_name=lacks_telling_name,
        waived_indexes=waived_indexes,
        mapped_indexes=mapped_indexes,
        silent_indexes=silent_indexes,
        custom_fields=custom_fields or {},
    )


def _guess_fields(
    keys: Sequence[str], tool: ExportTool | None, custom_fields: Mapping[str, str]
) -> list[str]:
    custom_headings = {
        text_matching.make_key(text): name for name, title in custom_fields.items() for text in (name, title)
    }
    is_other_tool = tool is not None and tool.name != foreign_exports.OWN_EXPORT
    fields_by_key = {
        **({} if is_other_tool else custom_headings),
        **TOOL_HEADINGS,
        **COMMON_HEADINGS,
        **(_tool_headings(tool) if tool else {}),
    }
    fields = [fields_by_key.get(key, "") for key in keys]
    if "email" not in fields:
        fields = [
            field_name or FALLBACK_EMAIL_HEADINGS.get(key, "")
            for key, field_name in zip(keys, fields, strict=True)
        ]
    return fields


def _tool_headings(tool: ExportTool) -> Mapping[str, str]:
    return {text_matching.make_key(name): field_name for name, field_name in tool.fields.items()}


# A column that excludes people in the export of one tool does so in every file; but “disabled” may describe a
# person, too.
TOOL_HEADINGS: Mapping[str, str] = {
    key: field_name
    for tool in foreign_exports.TOOLS
    for key, field_name in _tool_headings(tool).items()
    if field_name in MAIL_STATUS_FIELDS and key != "disabled"
}


def _find_file_exclusion(tool: ExportTool | None, file_name: str) -> tuple[str, bool]:
    """Return why all people of a file are skipped, by its name, and whether its name fails to tell."""
    if tool is None or not tool.file_name_words:
        return "", False
    words = f" {text_matching.normalize(file_name)} "
    refusals = [refusal for word, refusal in tool.file_name_words.items() if f" {word} " in words]
    return next((refusal for refusal in refusals if refusal), ""), tool.needs_telling_name and not refusals


def format_reference(columns: Sequence[str], index: int) -> str:
    """Return how a column is named in a command: by its heading, or by its number where that is clearer."""
    name = columns[index]
    is_quotable = (
        QUOTABLE_HEADING.fullmatch(name)
        and [text_matching.make_key(heading) for heading in columns].count(text_matching.make_key(name)) == 1
    )
    return name if is_quotable else f"#{index + 1}"


def _find_indexes(columns: Sequence[str], column: str) -> set[int]:
    key = text_matching.make_key(column)
    indexes = {index for index, name in enumerate(columns) if text_matching.make_key(name) == key and key}
    if not indexes and (number := COLUMN_NUMBER.fullmatch(column)) and int(number[1]) <= len(columns):
        indexes = {int(number[1]) - 1}
    if not indexes:
        raise BadInput(f"The file has no column “{column}”. It has {_quote_names(columns)}.")
    return indexes


def _apply_correction(
    columns: Sequence[str],
    fields: Sequence[str],
    *,
    column: str,
    field_name: str,
    custom_fields: Mapping[str, str],
) -> tuple[list[str], set[int]]:
    if field_name and field_name not in FIELDS and field_name not in custom_fields:
        raise BadInput(
            f"“{field_name}” is nothing a column can be. These are: {', '.join([*FIELDS, *custom_fields])}."
        )
    indexes = _find_indexes(columns, column)
    new_fields = [
        field_name
        if index in indexes
        else ""
        if old_field == field_name and field_name not in REPEATABLE_FIELDS
        else old_field
        for index, old_field in enumerate(fields)
    ]
    return new_fields, indexes


def _check(columns: Sequence[str], fields: Sequence[str]) -> None:
    for name in dict.fromkeys(field_name for field_name in fields if field_name):
        indexes = [index for index, field_name in enumerate(fields) if field_name == name]
        if len(indexes) > 1 and name not in REPEATABLE_FIELDS:
            quoted = _quote_names([columns[index] for index in indexes])
            raise BadInput(
                f"{quoted} would each be {FIELDS.get(name, name)}."
                f' Keep one of them: --map "{format_reference(columns, indexes[-1])}=" leaves one out.'
            )
    if "email" not in fields:
        raise BadInput(
            "The first line must name the columns, and none is known as the address."
            f" It has {_quote_names(columns)}."
            ' Say which it is: --map "Contact=email".'
        )


def _quote_names(columns: Sequence[str]) -> str:
    quoted_names = [f"“{name[:60]}”" for name in columns if name.strip()]
    return ", ".join(quoted_names[:SHOWN_COLUMNS]) or "no names"
