"""What admins send: keys to make, data sets to register."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from api.schemas.submissions import Identifier, Strict
from evolve.keys import MAX_NAME

Scope = Literal["read", "submit", "admin"]


class NewKey(Strict):
    """A key to make.

    Attributes:
        name: Who or what it is for.
        scope: What it may do; each includes those before it.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "ann", "scope": "submit"}]})

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    scope: Scope = "read"


class NewDataset(Strict):
    """A data set to register.

    Attributes:
        id: What submissions will call it.
        path: Absolute path, on the service's machine, of its YAML or of the folder that holds it.
    """

    id: Identifier
    path: Annotated[str, Field(min_length=1, max_length=4096)]
