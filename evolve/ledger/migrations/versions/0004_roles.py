"""Individuals that repeat, continue or shorten the training of another, and what trainings told on the way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("individuals", sa.Column("role", sa.String(length=16), server_default="search", nullable=False))
    op.add_column("individuals", sa.Column("original", sa.Integer(), nullable=True))
    op.add_column("individuals", sa.Column("seed", sa.BigInteger(), nullable=True))
    op.add_column("individuals", sa.Column("seconds", sa.Double(), server_default="0", nullable=False))
    op.add_column("individuals", sa.Column("settings", sa.JSON(), server_default="{}", nullable=False))
    op.add_column("individuals", sa.Column("rungs", sa.JSON(), server_default="{}", nullable=False))
    op.add_column("individuals", sa.Column("objectives", sa.JSON(), server_default="[]", nullable=False))
    op.add_column("searches", sa.Column("answer", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("searches", "answer")
    for name in ("objectives", "rungs", "settings", "seconds", "seed", "original", "role"):
        op.drop_column("individuals", name)
