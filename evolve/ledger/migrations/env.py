"""Run by Alembic; the connection, inside its transaction, comes from `evolve.ledger.schema`."""

from __future__ import annotations

from alembic import context

from evolve.ledger.models import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
