"""What a service needs: who submitted what, keys, data sets, webhooks, and indexes for its pages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PAGE = ["search_id", "generation", "number", "told", "state", "fitness", "failure"]


def upgrade() -> None:
    op.add_column("searches", sa.Column("managed", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("searches", sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
    op.add_column("searches", sa.Column("allotment", sa.Integer(), nullable=True))
    op.add_column("searches", sa.Column("submitted_by", sa.String(length=64), nullable=True))
    op.create_index("ix_searches_submitted_by", "searches", ["submitted_by", "ordinal"], unique=False)
    op.drop_index("ix_individuals_generation", table_name="individuals")
    op.create_index("ix_individuals_page", "individuals", _PAGE, unique=False)
    op.create_index("ix_evaluations_state", "evaluations", ["state", "search_id"], unique=False)
    op.create_index("ix_cursors_search_id", "cursors", ["search_id"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=128), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("last_used_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.String(length=128), nullable=False),
        sa.Column("registered_by", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
    )
    op.create_table(
        "submissions",
        sa.Column("submitter", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=128), nullable=False),
        sa.Column("search_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["search_id"],
            ["searches.id"],
            name=op.f("fk_submissions_searches"),
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.PrimaryKeyConstraint("submitter", "key", name=op.f("pk_submissions")),
    )
    op.create_index("ix_submissions_search_id", "submissions", ["search_id"], unique=False)
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("kinds", sa.JSON(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("search_id", sa.String(length=64), nullable=True),
        sa.Column("created_by", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("disabled_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_webhooks_searches")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index("ix_webhooks_search_id", "webhooks", ["search_id"], unique=False)


def downgrade() -> None:
    op.drop_table("webhooks")
    op.drop_table("submissions")
    op.drop_table("datasets")
    op.drop_table("api_keys")
    op.drop_index("ix_cursors_search_id", table_name="cursors")
    op.drop_index("ix_evaluations_state", table_name="evaluations")
    op.drop_index("ix_individuals_page", table_name="individuals")
    op.create_index("ix_individuals_generation", "individuals", ["search_id", "generation", "number"], unique=False)
    op.drop_index("ix_searches_submitted_by", table_name="searches")
    for name in ("submitted_by", "allotment", "priority", "managed"):
        op.drop_column("searches", name)
