"""Where things are kept: read from the environment when a command starts, never at import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from evolve.exceptions import InputError

RUNS = Path("runs")
"""Where a training without a search, and annotated pictures, go unless told otherwise; as with other such tools."""


class EnvironmentSettings(BaseSettings):
    """Values from variables of the environment whose names begin with `EVOLVE_`.

    Raises:
        InputError: if a variable cannot be used.
    """

    model_config = SettingsConfigDict(env_prefix="EVOLVE_", extra="ignore")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problem = error.errors()[0]
            name = f"EVOLVE_{problem['loc'][0]}".upper()
            raise InputError(
                f"{name}: {problem['msg']}, but got {problem['input']!r}; correct or unset it"
            ) from None


class Settings(EnvironmentSettings):
    """Settings from the environment.

    Attributes:
        home: `EVOLVE_HOME`, the folder of ledger, data views, trials and the MLflow store.
        database_url: `EVOLVE_DATABASE_URL`; SQLite in `home` unless set.
        mlflow_tracking_uri: `MLFLOW_TRACKING_URI`; an SQLite store in `home` unless set.
        mlflow_url: `EVOLVE_MLFLOW_URL`; where browsers find MLflow's pages, if not at the address of its server.
        min_free_gb: `EVOLVE_MIN_FREE_GB`; a search pauses while the disk has less room than this.
        webhook_allow: `EVOLVE_WEBHOOK_ALLOW`; hosts, addresses and networks, with commas between them, that
            webhooks may be delivered to although they are not public.

    Raises:
        InputError: if a variable cannot be used.
    """

    home: Path = Path(".evolve")
    database_url: str = ""
    mlflow_tracking_uri: str = Field(default="", validation_alias="MLFLOW_TRACKING_URI")
    mlflow_url: str = Field(default="", pattern=r"^(https?://[^\s]+)?$")
    min_free_gb: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    webhook_allow: str = ""

    @property
    def ledger_url(self) -> str:
        """URL of the ledger's database."""
        return self.database_url or f"sqlite:///{self.home.absolute() / 'evolve.db'}"

    @property
    def tracking_uri(self) -> str:
        """URI of the MLflow store."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.home.absolute() / 'mlflow.db'}"
