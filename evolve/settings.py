"""Where things are kept: read from the environment when a command starts, never at import."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings from the environment.

    Attributes:
        home: `EVOLVE_HOME`, the folder of ledger, data views, trials and the MLflow store.
        database_url: `EVOLVE_DATABASE_URL`; SQLite in `home` unless set.
        mlflow_tracking_uri: `MLFLOW_TRACKING_URI`; an SQLite store in `home` unless set.
        min_free_gb: `EVOLVE_MIN_FREE_GB`; a search pauses while the disk has less room than this.
    """

    model_config = SettingsConfigDict(env_prefix="EVOLVE_", extra="ignore")

    home: Path = Path(".evolve")
    database_url: str = ""
    mlflow_tracking_uri: str = Field(default="", validation_alias="MLFLOW_TRACKING_URI")
    min_free_gb: float = 1.0

    @property
    def ledger_url(self) -> str:
        """URL of the ledger's database."""
        return self.database_url or f"sqlite:///{self.home.absolute() / 'evolve.db'}"

    @property
    def tracking_uri(self) -> str:
        """URI of the MLflow store."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.home.absolute() / 'mlflow.db'}"
