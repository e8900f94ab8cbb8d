"""How a search is run, apart from what it searches."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from evolve.ledger import SearchRecord
from evolve.trial import Json

BUILT_IN_OBJECTIVE = "yolo12"


@dataclass(frozen=True)
class RunOptions:
    """How a search is run; kept with it, so that a resume runs it the same way.

    Attributes:
        objective: `yolo12`, or `package.module:function`.
        inline: Train in the driver's own process.
        workers: Trials at once; by default one for each GPU share, or for each CPU core.
        gpus_per_trial: GPUs, or the share of one, that a trial gets; by default 1 where there is one.
        ray_address: A Ray cluster to join; a local Ray is started otherwise.
        hang_timeout: Seconds without a report after which a trial counts as hung.
        cpus_per_trial: Cores of a trial; by default an equal share of a local Ray's, and one on a cluster.
    """

    objective: str = BUILT_IN_OBJECTIVE
    inline: bool = False
    workers: int | None = None
    gpus_per_trial: float | None = None
    ray_address: str | None = None
    hang_timeout: float | None = None
    cpus_per_trial: float | None = None

    def document(self) -> dict[str, Json]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def of(cls, search: SearchRecord) -> RunOptions:
        """The options that a search was started with."""
        names = {field.name for field in fields(cls)}
        values: dict[str, Any] = {name: value for name, value in search.options.items() if name in names}
        return cls(**values)
