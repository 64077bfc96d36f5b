"""Foreign exports: the exports of other programs, and how each marks people who want no mail.

One row per tool. `source` names the source of its columns and words: documentation and source code of the
tool where they are public, otherwise public programs that read such files. Names of columns are written as
`text_matching.normalize` makes them. Nobody can rename the columns in `signs`; people rename most others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

OWN_EXPORT = "this service"  # the tool of our own exports; custom fields have their names there
UNSUBSCRIBED = "left there"
BOUNCING = "their address takes no mail there"
COMPLAINED = "complained about mail there"
BLOCKED = "blocked there"
UNCONFIRMED = "never confirmed there"
NEVER_ASKED = "never asked for mail there"


@dataclass(frozen=True, kw_only=True)
class ExportTool:
    """Another tool's export: its signs, the fields of its columns, and the names of its files.

    `signs`: columns that only this tool writes, of which at least `min_signs` are present (0 for all).
    `fields`: the field of a column, "" for one that says nothing about mail. `file_name_words`: words in the
    file's name that say which people it contains, and why they are skipped ("" for those who want mail).
    `needs_telling_name`: only such a word says which people it contains. `first_is_email`: the first column
    is the address, whatever its name.
    """

    name: str
    source: str
    signs: frozenset[str]
    fields: Mapping[str, str]
    min_signs: int = 0
    file_name_words: Mapping[str, str] = field(default_factory=dict)
    needs_telling_name: bool = False
    first_is_email: bool = False

    def matches(self, columns: frozenset[str]) -> bool:
        """Return whether a file with these columns (keys of `text_matching`) is an export of this tool."""
        number = sum(sign.replace(" ", "") in columns for sign in self.signs)
        return number >= (self.min_signs or len(self.signs))


TOOLS = (
    ExportTool(
        name="Mailchimp",
        source="mailchimp.com/help/view-export-contacts: a ZIP of subscribed_, unsubscribed_, cleaned_ and"
        " nonsubscribed_ files; the columns in capitals are in the docs of programs that read such files",
        signs=frozenset(
            """member rating|optin time|optin ip|confirm time|confirm ip|gmtoff|dstoff|leid|euid|last changed
            |unsub time|unsub campaign title|unsub campaign id|unsub reason|clean time|clean campaign title
            |clean campaign id""".replace("\n            ", "").split("|")
        ),
        min_signs=2,
        fields={
            "email address": "email",
            "first name": "first_name",
            "optin time": "since",
            "confirm time": "since",
            "unsub time": "left",
            "unsub campaign title": "left",
            "unsub campaign id": "left",
            "unsub reason": "left",
            "unsub reason other": "left",
            "clean time": "cleaned",
            "clean campaign title": "cleaned",
            "clean campaign id": "cleaned",
        },
        file_name_words={
            "unsubscribed": UNSUBSCRIBED,
            "cleaned": BOUNCING,
            "nonsubscribed": NEVER_ASKED,
            "non subscribed": NEVER_ASKED,
            "transactional": NEVER_ASKED,
            "archived": BLOCKED,
            "pending": UNCONFIRMED,
            "subscribed": "",
        },
        needs_telling_name=True,
        first_is_email=True,
    ),
    ExportTool(
        name="listmonk",
        source="github.com/knadh/listmonk: cmd/subscribers.go (the export), schema.sql (the states)",
        signs=frozenset({"uuid", "email", "attributes", "status"}),
        fields={"email": "email", "name": "name", "status": "state", "created at": "since"},
    ),
    ExportTool(
        name="Action Network",
        source="help.actionnetwork.org (subscribed, unsubscribed, bouncing, spam complaint); the columns as"
        " public programs that read its reports expect them",
        signs=frozenset({"email", "can2 subscription status"}),
        fields={
            "email": "email",
            "first name": "first_name",
            "zip code": "zip",
            "can2 subscription status": "state",
            "can2 subscription date": "since",
            "can2 sms status": "",
        },
    ),
    ExportTool(
        name="Ghost",
        source="github.com/TryGhost/Ghost: serializers/output/members.js (true or false)",
        signs=frozenset({"subscribed to emails", "complimentary plan", "stripe customer id"}),
        min_signs=2,
        fields={
            "email": "email",
            "name": "name",
            "subscribed to emails": "subscribed",
            "complimentary plan": "",
            "created at": "since",
            "deleted at": "left",
        },
    ),
    ExportTool(
        name="Substack",
        source="support.substack.com, “export your subscriber list”; the columns as public programs that read"
        " email_list.*.csv expect them (active_subscription is whether they pay)",
        signs=frozenset(
            {"active subscription", "email disabled", "digest enabled", "first payment at", "expiry"}
        ),
        min_signs=2,
        fields={
            "email": "email",
            "name": "name",
            "email disabled": "refused",
            "active subscription": "",
            "digest enabled": "",
            "plan": "",
            "created at": "since",
        },
    ),
    ExportTool(
        name="CiviCRM",
        source="docs.civicrm.org and github.com/civicrm/civicrm-core: Contact.entityType.php,"
        " emailOnHoldOptions (No, On Hold Bounce, On Hold Opt Out)",
        signs=frozenset(
            {
                "do not email",
                "no bulk emails user opt out",
                "on hold",
                "do not phone",
                "do not mail",
                "do not sms",
                "do not trade",
                "is opt out",
                "internal contact id",
            }
        ),
        min_signs=2,
        fields={
            "email": "email",
            "first name": "first_name",
            "postal code": "zip",
            "do not email": "refused",
            "no bulk emails user opt out": "refused",
            "is opt out": "refused",
            "on hold": "bounced",
            "hold date": "cleaned",
            "on hold date": "cleaned",
            "is deceased": "blocked",
            "deceased": "blocked",
            "do not phone": "",
            "do not mail": "",  # by post
            "do not sms": "",
            "do not trade": "",
            "preferred communication method": "",
        },
    ),
    ExportTool(
        name="phpList",
        source="github.com/phpList/phplist3: admin/export.php, admin/structure.php",
        signs=frozenset(
            {
                "list membership",
                "is the email of this user confirmed",
                "is this user blacklisted",
                "did this user manually confirm",
                "number of bounces on this user",
                "is this account disabled",
                "send this user html emails",
                "unique id for user",
                "uniqid",
                "bouncecount",
                "htmlemail",
                "optedin",
                "foreignkey",
            }
        ),
        min_signs=2,
        fields={
            "email": "email",
            "is the email of this user confirmed": "confirmed",
            "confirmed": "confirmed",
            "is this user blacklisted": "blocked",
            "blacklisted": "blocked",
            "is this account disabled": "blocked",
            "disabled": "blocked",
            "number of bounces on this user": "bounced",
            "bouncecount": "bounced",
            "did this user manually confirm": "",  # 0 where an administrator confirmed for the person
            "optedin": "",
            "list membership": "",
            "entered": "since",
        },
    ),
    ExportTool(
        name="Mautic",
        source="github.com/mautic/mautic: LeadImportFieldListType (doNotEmail), DoNotContact (0 contactable,"
        " 1 unsubscribed, 2 bounced, 3 manual)",
        signs=frozenset(
            {
                "date identified",
                "do not email",
                "points",
                "stage",
                "owner",
                "owner username",
                "preferred profile image",
                "last active",
                "dnc email",
                "email dnc",
            }
        ),
        min_signs=3,
        fields={
            "email": "email",
            "first name": "first_name",
            "do not email": "refused",
            "dnc": "refused",
            "dnc email": "refused",
            "email dnc": "refused",
            "do not contact": "refused",
            "dnc reason": "refused",
            "sms dnc": "",
            "last active": "",
            "date identified": "since",
            "zip code": "zip",
            "zipcode": "zip",
        },
    ),
    ExportTool(
        name="Constant Contact",
        source="knowledgebase.constantcontact.com, “export contacts”; the columns as public programs that"
        " read such files expect them",
        signs=frozenset(
            {
                "email status",
                "email permission status",
                "email update source",
                "email lists",
                "confirmed opt out date",
                "confirmed opt out source",
                "confirmed opt out reason",
            }
        ),
        min_signs=2,
        fields={
            "email address": "email",
            "first name": "first_name",
            "email status": "state",
            "email permission status": "state",
            "email update source": "",
            "email lists": "",
            "confirmed opt out date": "left",
            "confirmed opt out source": "left",
            "confirmed opt out reason": "left",
            "zip postal code home": "zip",
        },
    ),
    ExportTool(
        name="Keila",
        source="github.com/pentacent/keila: contacts export; Contact.Status (active,"
        " unsubscribed, unreachable)",
        signs=frozenset({"email", "first name", "last name", "data", "status"}),
        fields={"email": "email", "first name": "first_name", "status": "state", "double opt in at": "since"},
    ),
    ExportTool(
        name="Google Forms",
        source="support.google.com/docs/answer/139706: the sheet of answers begins with the time, then the"
        " address; every other heading is the question",
        signs=frozenset({"timestamp", "email address"}),
        fields={"timestamp": "since", "email address": "email", "username": "email"},
    ),
    ExportTool(
        name="Google Forms",
        source="the same in Spanish",
        signs=frozenset({"marca temporal"}),
        fields={
            "marca temporal": "since",
            "direccion de correo electronico": "email",
            "nombre de usuario": "email",
        },
    ),
    ExportTool(
        name="Microsoft Forms",
        source="support.microsoft.com, “Check and share your form results”: ID, Start time, Completion time,"
        " Email, Name, then the questions",
        signs=frozenset({"start time", "completion time"}),
        fields={"completion time": "since", "email": "email", "name": "name"},
    ),
    ExportTool(
        name="Microsoft Forms",
        source="the same in Spanish",
        signs=frozenset({"hora de inicio", "hora de finalizacion"}),
        fields={"hora de finalizacion": "since", "correo electronico": "email", "nombre": "name"},
    ),
    ExportTool(
        name=OWN_EXPORT,
        source="lists/tables/export_rows.py, subscriptions",
        signs=frozenset({"status", "asked at", "confirmed at", "left at", "paused until"}),
        fields={
            "email": "email",
            "name": "name",
            "language": "language",
            "zip": "zip",
            "status": "state",
            "left at": "left",
            "confirmed at": "",
            "asked at": "",
            "paused until": "",
        },
    ),
)


def detect(columns: frozenset[str]) -> ExportTool | None:
    """Return the tool whose files have these columns (as `text_matching.make_key` makes them), or None."""
    return next((tool for tool in TOOLS if tool.matches(columns)), None)
