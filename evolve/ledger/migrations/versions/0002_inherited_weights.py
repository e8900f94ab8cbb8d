"""Individuals remember whose weights they started from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("individuals", sa.Column("inherited_from", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("individuals", "inherited_from")
