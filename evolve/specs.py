"""From a proposal to the spec of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from evolve.ledger import IndividualRecord
from evolve.models import model_of
from evolve.search.base import Outcome, Proposal
from evolve.trial import Json, Role, TrialSpec

if TYPE_CHECKING:
    from evolve.space import SearchSpace


@dataclass(frozen=True)
class SpecTemplate:
    """What all trials of a search have in common.

    Attributes:
        search_id: The search.
        directory: Folder of the search; every individual gets `trials/<number>` in it.
        settings: The space's `train:` section.
        model: Model name, where no gene decides it.
        weights: `none`, or the path of the weights that every trial starts from that inherits none.
        data: Path of the prepared data YAML.
        seed: Seed of every training, so that individuals differ by their genes alone.
        weights_of: Instead of `weights`, where a gene decides the model: those of each model.
        measure: Metrics that a verdict needs.
    """

    search_id: str
    directory: Path
    settings: Mapping[str, Json]
    model: str
    weights: str
    data: str
    seed: int
    weights_of: Mapping[str, str] = field(default_factory=dict)
    measure: tuple[str, ...] = ()

    def spec(self, proposal: Proposal, attempt: int, inherited: str | None = None) -> TrialSpec:
        """The spec of an attempt to train a proposal, on the weights at the path `inherited` if given."""
        model = model_of(self.model, proposal.params)
        return TrialSpec(
            search_id=self.search_id,
            individual=proposal.number,
            attempt=attempt,
            params=proposal.params,
            settings={**self.settings, **proposal.settings},
            seed=self.seed if proposal.seed is None else proposal.seed,
            directory=str(trial_directory(self.directory, proposal.number)),
            model=model,
            weights=self.weights_of.get(model, self.weights) if inherited is None else inherited,
            data=self.data,
            measure=self.measure,
            score_test=proposal.role is Role.FINAL,
        )


def measured(space: SearchSpace) -> tuple[str, ...]:
    """The metrics that verdicts of a space need."""
    return tuple(dict.fromkeys((*space.fitness.weights, *space.objectives)))


def trial_directory(search_directory: Path, number: int) -> Path:
    """Where an individual's attempts keep their checkpoints."""
    return search_directory / "trials" / f"{number:05d}"


def record_of(search_id: str, proposal: Proposal) -> IndividualRecord:
    """A proposal as the ledger keeps it."""
    return IndividualRecord(
        search_id=search_id,
        number=proposal.number,
        generation=proposal.generation,
        genome=proposal.genome,
        params=proposal.params,
        key=proposal.key,
        parents=proposal.parents,
        operators=proposal.operators,
        origins=proposal.origins,
        inherited_from=proposal.inherited_from,
        role=proposal.role,
        original=proposal.original,
        seed=proposal.seed,
        settings=proposal.settings,
    )


def proposal_of(record: IndividualRecord) -> Proposal:
    """The proposal behind a record."""
    return Proposal(
        number=record.number,
        generation=record.generation,
        genome=tuple(record.genome),
        params=record.params,
        key=record.key,
        parents=record.parents,
        operators=record.operators,
        origins=record.origins,
        inherited_from=record.inherited_from,
        role=record.role,
        original=record.original,
        seed=record.seed,
        settings=record.settings,
    )


def outcome_of(record: IndividualRecord) -> Outcome:
    """The verdict in a record that has one."""
    return Outcome(
        proposal_of(record),
        record.fitness,
        record.failure,
        rungs=record.rungs,
        objectives=record.objectives,
        seconds=record.seconds,
    )
