"""Which column of a file is what: guessed from its name, known for the exports of other tools, correctable.

Where the names of columns and words for states come from:
- Mailchimp: audience export, a ZIP of subscribed_, unsubscribed_, cleaned_ and nonsubscribed_ files (each
  …_email_audience_export, formerly …_members_export), with "Email Address", the audience's own fields, then
  MEMBER_RATING, OPTIN_TIME, OPTIN_IP, CONFIRM_TIME, CONFIRM_IP, LATITUDE … LEID, EUID, NOTES, TAGS; the
  unsubscribed file has UNSUB_TIME, UNSUB_REASON (as public programs that read such files expect them).
- listmonk: uuid, email, name, attributes, status, created_at, updated_at (cmd/subscribers.go, the export);
  status is enabled, disabled or blocklisted (schema.sql, formerly blacklisted).
- Action Network: a report's export, email, first_name, last_name, zip_code, can2_user_city, can2_user_tags,
  can2_subscription_status, can2_sms_status (as public programs that read such files expect them);
  help.actionnetwork.org names the states subscribed, unsubscribed, bouncing and spam complaint.
- Mailman has no columns: lists/rosters.py.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lists.errors import BadInput

# What a column can be. “since” may be many columns: the other tool's own evidence of the consent.
FIELDS: Mapping[str, str] = {
    "email": "the address",
    "name": "the name",
    "first_name": "the first name",
    "last_name": "the last name",  # only when somebody says so: mail greets by the first, and we keep little
    "language": "the language, en or es",
    "zip": "the ZIP code",
    "state": "whether they want mail there",
    "agreed": "whether they ticked that they agree",
    "left": "if anything stands there, they left there",
    "since": "when they agreed there, kept as evidence",
    "tags": "tags",  # only when somebody says so, as with the last name
}
SHOWN_COLUMNS = 10

# Names of columns in files of nobody's in particular, in English and Spanish, as `_plain` makes them.
USUAL: Mapping[str, str] = {
    **dict.fromkeys(
        ("email", "e mail", "email address", "e mail address", "mail", "correo", "correo electronico"),
        "email",
    ),
    **dict.fromkeys(("direccion de correo", "direccion de correo electronico"), "email"),
    **dict.fromkeys(("name", "full name", "nombre", "nombre completo", "nombre y apellido"), "name"),
    **dict.fromkeys(("first name", "firstname", "given name", "fname", "nombre de pila"), "first_name"),
    **dict.fromkeys(("language", "lang", "preferred language", "idioma", "lengua"), "language"),
    **dict.fromkeys(
        ("zip", "zip code", "zipcode", "postal code", "codigo postal", "cp", "zip postal"), "zip"
    ),
    **dict.fromkeys(("agree", "agreed", "i agree", "de acuerdo", "acepto"), "agreed"),
    **dict.fromkeys(("status", "subscription status", "email status"), "state"),
}

WANTED = "wanted"
# What a word in a state column means: WANTED, or why they are not imported. What another tool says about an
# address (it bounces, it was blocked) is no consent, so nobody in such a state is asked again from here.
STATES: Mapping[str, str] = {
    **dict.fromkeys(("subscribed", "enabled", "confirmed", "active", "yes"), WANTED),
    **dict.fromkeys(("unsubscribed", "opted out", "optout", "left", "no"), "left there"),
    **dict.fromkeys(("pending", "unconfirmed"), "never confirmed there"),
    **dict.fromkeys(
        ("cleaned", "bounced", "bouncing", "previous bounce"), "their address takes no mail there"
    ),
    **dict.fromkeys(
        ("spam complaint", "previous spam complaint", "complained"), "complained about mail there"
    ),
    **dict.fromkeys(("blocklisted", "blacklisted", "disabled", "archived"), "blocked there"),
    **dict.fromkeys(("nonsubscribed", "non subscribed", "transactional"), "never asked for mail there"),
}


@dataclass(frozen=True, kw_only=True)
class Tool:
    """Another tool's export: the columns that give it away, what its others are, how its files are called."""

    name: str
    signs: frozenset[str]
    fields: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)


TOOLS = (
    Tool(
        name="Mailchimp",
        signs=frozenset({"email address", "member rating", "optin time"}),
        fields={
            "email address": "email",
            "first name": "first_name",
            "optin time": "since",
            "confirm time": "since",
            "unsub time": "left",
            "clean time": "left",
        },
        files={
            "unsubscribed_": "left there",
            "cleaned_": "their address takes no mail there",
            "nonsubscribed_": "never asked for mail there",
        },
    ),
    Tool(
        name="listmonk",
        signs=frozenset({"uuid", "email", "attributes", "status"}),
        fields={"email": "email", "name": "name", "status": "state", "created at": "since"},
    ),
    Tool(
        name="Action Network",
        signs=frozenset({"email", "can2 subscription status"}),
        fields={
            "email": "email",
            "first name": "first_name",
            "zip code": "zip",
            "can2 subscription status": "state",
            "can2 subscription date": "since",
        },
    ),
)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What each column is, by its place; "" for what is not read. `tool` is who made the file, or "".

    `own` are the fields that staff defined (name → title).
    """

    tool: str
    columns: Sequence[str]
    fields: Sequence[str]
    whole_file: str = ""
    own: Mapping[str, str] = field(default_factory=dict)

    def label(self, name: str) -> str:
        """Return what a field is called in a sentence."""
        return FIELDS.get(name, f"the field {name}")

    def place(self, name: str) -> int | None:
        """Return where the column for a field stands, or None."""
        return self._first.get(name)

    @cached_property
    def _first(self) -> Mapping[str, int]:
        return {found: place for place, found in reversed([*enumerate(self.fields)])}

    def places(self, name: str) -> Sequence[int]:
        """Return every place whose column is for a field."""
        return [place for place, found in enumerate(self.fields) if found == name]

    @property
    def unread(self) -> Sequence[str]:
        """The names of the columns that are not read."""
        return [name for name, found in zip(self.columns, self.fields, strict=True) if name and not found]


def guess(
    columns: Sequence[str],
    *,
    file_name: str = "",
    said: Mapping[str, str] | None = None,
    own: Mapping[str, str] | None = None,
) -> Columns:
    """Return what each column is, from its name, or as `said` (column → field, "" for not read).

    `own` are the fields that staff defined, name → title; in another tool's file a column is one only when
    that is said. Raises BadInput when the address has no column, when two columns would be the same, and for
    a `said` that names no column or no field.
    """
    plain = [_plain(name) for name in columns]
    tool = next((tool for tool in TOOLS if tool.signs <= set(plain)), None)
    mine = {_plain(text): name for name, title in (own or {}).items() for text in (name, title)}
    usual = {} if tool else mine
    known = {**usual, **USUAL, **(tool.fields if tool else {})}
    fields = [known.get(name, "") for name in plain]
    for column, meant in (said or {}).items():
        fields = _corrected(columns, fields, column=column, meant=meant, own=own or {})
    _check(columns, fields)
    begins = file_name.casefold()
    whole = next((why for start, why in (tool.files if tool else {}).items() if begins.startswith(start)), "")
    name = tool.name if tool else ""
    return Columns(tool=name, columns=columns, fields=fields, whole_file=whole, own=own or {})


def state(text: str) -> str | None:
    """Return WANTED, or why somebody in this state is not imported; None for a word that is not known."""
    return STATES.get(_plain(text)) if text.strip() else WANTED


def _corrected(
    columns: Sequence[str], fields: Sequence[str], *, column: str, meant: str, own: Mapping[str, str]
) -> list[str]:
    if meant and meant not in FIELDS and meant not in own:
        raise BadInput(f"“{meant}” is nothing a column can be. These are: {', '.join([*FIELDS, *own])}.")
    places = [place for place, name in enumerate(columns) if _plain(name) == _plain(column)]
    if not places:
        raise BadInput(f"The file has no column “{column}”. It has {_named(columns)}.")
    return [
        meant if place in places else "" if found == meant and meant != "since" else found
        for place, found in enumerate(fields)
    ]


def _check(columns: Sequence[str], fields: Sequence[str]) -> None:
    for name in dict.fromkeys(found for found in fields if found):
        named = [columns[place] for place, found in enumerate(fields) if found == name]
        if len(named) > 1 and name not in ("since", "left"):
            raise BadInput(
                f"{_named(named)} would each be {FIELDS.get(name, name)}. Keep one of them:"
                f' --map "{named[-1]}=" leaves one out.'
            )
    if "email" not in fields:
        raise BadInput(
            "The first line must name the columns, and none is known as the address."
            f" It has {_named(columns)}."
            ' Say which it is: --map "Contact=email".'
        )


def _named(columns: Sequence[str]) -> str:
    found = [f"“{name[:60]}”" for name in columns if name.strip()]
    return ", ".join(found[:SHOWN_COLUMNS]) or "no names"


def _plain(name: str) -> str:
    """Return a name without capitals, accents and signs: “Correo electrónico:” is “correo electronico”."""
    parted = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(letter for letter in parted if not unicodedata.combining(letter))
    return " ".join(re.findall(r"[a-z0-9]+", letters))
