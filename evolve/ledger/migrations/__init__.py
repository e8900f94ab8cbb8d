"""Alembic's environment: the schema's history, run by `evolve.ledger.schema` when a ledger is opened."""
