"""Words that people are found by; a job makes those of whoever is here already."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

UNSEARCHABLE = "ix_contacts_unsearchable"


def upgrade() -> None:
    word = sa.String(length=80).with_variant(sa.String(length=80, collation="C"), "postgresql")
    op.create_table(
        "search_words",
        sa.Column("contact_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("word", word, nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name=op.f("fk_search_words_contact_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("contact_id", "word", name=op.f("pk_search_words")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_search_words_word", "search_words", ["word", "contact_id"])
    op.add_column(
        "contacts", sa.Column("searchable", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.create_index(
        UNSEARCHABLE,
        "contacts",
        ["id"],
        sqlite_where=sa.text("searchable = 0"),
        postgresql_where=sa.text("searchable = false"),
    )


def downgrade() -> None:
    op.drop_index(UNSEARCHABLE, "contacts")
    op.drop_column("contacts", "searchable")
    op.drop_table("search_words")
