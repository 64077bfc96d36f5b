"""Reasons of messages as codes with a detail; recalled as a state of updates."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

# Every sentence that a version has stored → its code. Those of the permission rule were codes already.
CODES = {
    "suppressed": "suppressed",
    "never joined": "never joined",
    "left": "left",
    "not confirmed": "not confirmed",
    "already confirmed": "already confirmed",
    "paused": "paused",
    "declined": "declined",
    "arriving": "arriving",
    "left while it was held": "left_while_held",
    "their server asked us to try again later": "deferred",
    "their server did not answer in time; tried again": "no_answer",
    "their server refuses us, not this person; tried again": "sender_refused",
    "their server refused it": "refused",
    "the relay cannot be reached": "relay_unreachable",
    "its connection failed, while others got through": "connection_failed",
    "their server lets others wait; tried in a while": "slow_server",
    "waits for a mail server of ours that can carry it": "no_capable_relay",
    "the connection broke after the last byte": "connection_broken",
    "the server did not answer in time": "late_answer",
    "a fault of the program while it was handed over": "program_fault",
    "its worker died at the last byte": "worker_died",
    "the machine stopped while it was claimed": "machine_stopped",
    "its worker was lost": "worker_lost",
    "it may have left before the backup was restored": "before_restore",
    "nobody can say whether it arrived; once more": "resent_in_doubt",
    "its journal says so": "journal",
    "missing link": "missing_link",
    "our mail server: it cannot send to addresses with letters like ñ or é before the @": "no_smtputf8",
    "our mail server: it takes no 8-bit text": "no_8bitmime",
    "too late": "too_late",
    "recalled by staff": "recalled",
    "the call is over or cancelled": "call_over",
    "a newer invitation to this call takes its place": "newer_invitation",
    "This is the address the invitations come from.": "own_address",
    "nothing waits any more": "nothing_waits",
    "merged with another address": "merged",
    "the address is another one now": "address_changed",
    "given up by staff": "given_up",
    "staff say it arrived": "staff_sent",
    "staff want it sent again": "staff_resend",
}
# The beginning and the end of a sentence → its code; between them stands the detail. The first that fits.
PATTERNS = (
    ("our mail server: it takes no message of more than ", " octets", "relay_size_limit"),
    ("our mail server: ", "", "server_size_limit"),
    ("a fault of ours: ", "", "our_fault"),
    ("a fault of the program: ", "", "program_fault"),
    ("missing link: ", "", "missing_link"),
    ("waits for the limit of ", "", "domain_rate_limit"),
    ("mail to ", " is paused by staff", "domain_paused"),
    ("", " refuses our mail", "domain_suspended"),
)
# Sentences that are themselves the detail of a fault of ours.
FAULTS = ("cannot be written: ", "cannot be signed: ")
# A reply of an attempt that was no reply of a server, but one of these.
DOUBTS = (
    "the connection broke after the last byte",
    "the server did not answer in time",
    "a fault of the program while it was handed over",
    "its worker died at the last byte",
    "the machine stopped while it was claimed",
    "its worker was lost",
    "it may have left before the backup was restored",
    "its journal says so",
)


def _starts(text: sa.ColumnElement[str], beginning: str) -> sa.ColumnElement[bool]:
    return sa.func.substr(text, 1, len(beginning)) == beginning


def upgrade() -> None:
    op.add_column("outbox", sa.Column("reason", sa.String(32), server_default="", nullable=False))
    op.add_column("outbox", sa.Column("detail", sa.String(200), server_default="", nullable=False))
    rows = sa.table("outbox", *(sa.column(name, sa.String) for name in ("why", "reason", "detail")))
    why = rows.c.why
    reasons: list[tuple[sa.ColumnElement[bool], sa.ColumnElement[str]]] = []
    details: list[tuple[sa.ColumnElement[bool], sa.ColumnElement[str]]] = []
    for beginning, end, code in PATTERNS:
        has_end = sa.func.substr(why, sa.func.length(why) - len(end) + 1) == end
        fits = sa.and_(_starts(why, beginning), has_end, sa.func.length(why) > len(beginning) + len(end))
        length = sa.func.length(why) - len(beginning) - len(end)
        reasons.append((fits, sa.literal(code)))
        details.append((fits, sa.func.substr(why, len(beginning) + 1, length)))
    for fault in FAULTS:
        reasons.append((_starts(why, fault), sa.literal("our_fault")))
        details.append((_starts(why, fault), sa.literal("it ") + why))
    detail = sa.case(*details, else_=why)
    op.execute(
        sa.update(rows)
        .where(sa.text("why <> ''"))
        .values(
            reason=sa.case(CODES, value=why, else_=sa.case(*reasons, else_="other")),
            detail=sa.case((why.in_(list(CODES)), ""), else_=sa.func.substr(detail, 1, 200)),
        )
    )
    op.drop_index("ix_outbox_why", table_name="outbox")
    op.execute("ALTER TABLE outbox DROP COLUMN why")  # in place, on SQLite too: a new table would cascade
    condition = sa.text("reason <> ''")
    op.create_index(
        "ix_outbox_reason",
        "outbox",
        ["state", "reason", "detail"],
        sqlite_where=condition,
        postgresql_where=condition,
    )

    op.add_column("attempts", sa.Column("reason", sa.String(32), server_default="", nullable=False))
    attempts = sa.table("attempts", sa.column("reply", sa.Text), sa.column("reason", sa.String))
    doubt_code = sa.case({doubt: CODES[doubt] for doubt in DOUBTS}, value=attempts.c.reply, else_="")
    op.execute(sa.update(attempts).where(attempts.c.reply.in_(DOUBTS)).values(reason=doubt_code, reply=""))

    with op.batch_alter_table("broadcasts") as broadcasts:
        broadcasts.drop_constraint(op.f("ck_broadcasts_state"), type_="check")
        broadcasts.create_check_constraint(
            op.f("ck_broadcasts_state"), "state IN ('filling', 'filled', 'recalled')"
        )
    updates = sa.table("broadcasts", sa.column("state", sa.String), sa.column("recalled_at"))
    op.execute(sa.update(updates).where(updates.c.recalled_at.is_not(None)).values(state="recalled"))


def downgrade() -> None:
    raise NotImplementedError("Restore a backup of before the upgrade: the sentences are gone.")
