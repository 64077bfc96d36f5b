"""What relays can carry; and whose fault it was that messages failed which were never handed over."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

WORDS = (
    ("cannot be written: ", "a fault of ours: it cannot be written: "),
    ("cannot be signed: ", "a fault of ours: it cannot be signed: "),
    ("a fault of the program: ", "a fault of ours: the program failed at it: "),
)
NOT_SENT = (  # the first that fits
    (
        "Not sent: the address has letters outside ASCII",
        "it cannot send to addresses with letters like ñ or é before the @",
    ),
    ("Not sent: the message has 8-bit text", "it takes no 8-bit text"),
    ("Not sent: the message has ", "it takes no message so large"),
)


def upgrade() -> None:
    op.create_table(
        "relay_offers",
        sa.Column("relay", sa.String(260), primary_key=True),
        sa.Column("smtputf8", sa.Boolean(), nullable=False),
        sa.Column("eightbit", sa.Boolean(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("heard_at", sa.BigInteger(), nullable=False),
    )
    text = sa.String()
    rows = sa.table("outbox", sa.column("id"), sa.column("state", text), sa.column("why", text))
    tries = sa.table("attempts", sa.column("outbox_id"), sa.column("reply", text))
    for before, after in WORDS:
        told = sa.func.substr(sa.literal(after) + sa.func.substr(rows.c.why, len(before) + 1), 1, 200)
        these = (rows.c.state == "failed") & rows.c.why.startswith(before)
        op.execute(sa.update(rows).where(these).values(why=told))
    refused = (rows.c.state == "failed") & (rows.c.why == "their server refused it")
    for before, after in NOT_SENT:
        these = refused & rows.c.id.in_(sa.select(tries.c.outbox_id).where(tries.c.reply.startswith(before)))
        op.execute(sa.update(rows).where(these).values(why=f"our mail server: {after}"))


def downgrade() -> None:
    op.drop_table("relay_offers")
