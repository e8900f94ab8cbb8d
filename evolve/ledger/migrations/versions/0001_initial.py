"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "searches",
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("request", sa.String(length=16), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.BigInteger(), nullable=False),
        sa.Column("lease_since", sa.Double(), nullable=True),
        sa.Column("lease_expires", sa.Double(), nullable=True),
        sa.Column("last_event", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("evaluated", sa.Integer(), nullable=False),
        sa.Column("trained", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("gpu_seconds", sa.Double(), nullable=False),
        sa.Column("trial_seconds", sa.Double(), nullable=False),
        sa.Column("best_individual", sa.Integer(), nullable=True),
        sa.Column("best_fitness", sa.Double(), nullable=True),
        sa.Column("default_fitness", sa.Double(), nullable=True),
        sa.Column("objective", sa.Text(), nullable=False),
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("data_hash", sa.String(length=128), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("ordinal", name=op.f("pk_searches")),
        sa.UniqueConstraint("id", name=op.f("uq_searches_id")),
    )
    op.create_index("ix_searches_name", "searches", ["name", "ordinal"], unique=False)
    op.create_index("ix_searches_state", "searches", ["state", "ordinal"], unique=False)
    op.create_table(
        "cursors",
        sa.Column("observer", sa.String(length=255), nullable=False),
        sa.Column("search_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_cursors_searches")),
        sa.PrimaryKeyConstraint("observer", "search_id", name=op.f("pk_cursors")),
    )
    op.create_table(
        "events",
        sa.Column("search_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("individual", sa.Integer(), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_events_searches")),
        sa.PrimaryKeyConstraint("search_id", "sequence", name=op.f("pk_events")),
    )
    op.create_table(
        "individuals",
        sa.Column("search_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("fitness", sa.Double(), nullable=True),
        sa.Column("failure", sa.String(length=32), nullable=True),
        sa.Column("reused_from", sa.Integer(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("genome", sa.JSON(), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("parents", sa.JSON(), nullable=False),
        sa.Column("operators", sa.JSON(), nullable=False),
        sa.Column("origins", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_individuals_searches")),
        sa.PrimaryKeyConstraint("search_id", "number", name=op.f("pk_individuals")),
    )
    op.create_index("ix_individuals_generation", "individuals", ["search_id", "generation", "number"], unique=False)
    op.create_index("ix_individuals_told", "individuals", ["search_id", "told"], unique=True)
    op.create_table(
        "evaluations",
        sa.Column("search_id", sa.String(length=64), nullable=False),
        sa.Column("individual", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.Column("epochs_trained", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("gpu_seconds", sa.Double(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("failure", sa.String(length=32), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=False),
        sa.Column("failure_details", sa.Text(), nullable=False),
        sa.Column("weights", sa.Text(), nullable=True),
        sa.Column("requested", sa.JSON(), nullable=False),
        sa.Column("effective", sa.JSON(), nullable=False),
        sa.Column("differences", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["search_id", "individual"],
            ["individuals.search_id", "individuals.number"],
            name=op.f("fk_evaluations_individuals"),
        ),
        sa.PrimaryKeyConstraint("search_id", "individual", "attempt", name=op.f("pk_evaluations")),
    )
    op.create_table(
        "epochs",
        sa.Column("search_id", sa.String(length=64), nullable=False),
        sa.Column("individual", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["search_id", "individual", "attempt"],
            ["evaluations.search_id", "evaluations.individual", "evaluations.attempt"],
            name=op.f("fk_epochs_evaluations"),
        ),
        sa.PrimaryKeyConstraint("search_id", "individual", "attempt", "epoch", name=op.f("pk_epochs")),
    )


def downgrade() -> None:
    op.drop_table("epochs")
    op.drop_table("evaluations")
    op.drop_index("ix_individuals_told", table_name="individuals")
    op.drop_index("ix_individuals_generation", table_name="individuals")
    op.drop_table("individuals")
    op.drop_table("events")
    op.drop_table("cursors")
    op.drop_index("ix_searches_state", table_name="searches")
    op.drop_index("ix_searches_name", table_name="searches")
    op.drop_table("searches")
