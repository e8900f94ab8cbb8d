"""What a driver writes: each method changes rows and appends its event in one and the same transaction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select, update

from evolve.ledger.dialect import upsert
from evolve.ledger.models import epochs, evaluations, individuals, searches
from evolve.ledger.records import EventKind, IndividualRecord, SearchState
from evolve.ledger.results import Results
from evolve.ledger.writing import UNFINISHED, VERDICT, floats
from evolve.trial import EpochReport, Failure, FailureKind, Json, Role, TrialResult, TrialSpec, TrialState

_NOTHING: Mapping[float, float] = {}


class Transaction(Results):
    """Made by `Lease.transaction`, which holds the search row locked until the end.

    Every time is the moment at which the transaction began, on the database's clock. Events wait in memory
    and are written, numbered, at the end.
    """

    def start(self, *, resumed: bool) -> None:
        """The driver runs the search now."""
        self._totals.update(state=SearchState.RUNNING, reason="", finished_at=None)
        if self._totals["started_at"] is None:
            self._totals["started_at"] = self._at
        self._append(EventKind.SEARCH_STARTED, owner=self._totals["owner"], resumed=resumed)

    def pause(self, reason: str) -> None:
        """The driver starts nothing new until `unpause`."""
        self._totals.update(state=SearchState.PAUSED, reason=reason)
        self._append(EventKind.SEARCH_PAUSED, reason=reason)

    def unpause(self, reason: str) -> None:
        """The driver goes on."""
        self._totals.update(state=SearchState.RUNNING, reason="")
        self._append(EventKind.SEARCH_UNPAUSED, reason=reason)

    def prepared(
        self, options_changes: Mapping[str, Json], data_hash: str, environment: Mapping[str, Json] | None = None
    ) -> None:
        """Record what the driver found out while it prepared a search that was submitted unprepared.

        Args:
            options_changes: Written over the options of the search.
            data_hash: Digest of the data set.
            environment: Versions, host and hardware of the driver, in the place of those of whoever submitted.
        """
        mine = searches.c.id == self._search_id
        options = self._connection.scalar(select(searches.c.options).where(mine)) or {}
        values: dict[str, Any] = {"options": {**options, **options_changes}, "data_hash": data_hash}
        if environment is not None:
            values["environment"] = environment
        self._connection.execute(update(searches).where(mine).values(values))

    def propose(self, individual: IndividualRecord) -> None:
        """Record a newborn; of the record, all that is known at birth is kept."""
        self._connection.execute(
            insert(individuals),
            {
                "search_id": self._own(individual.search_id),
                "number": individual.number,
                "generation": individual.generation,
                "state": TrialState.PENDING,
                "key": individual.key,
                "genome": individual.genome,
                "params": individual.params,
                "parents": individual.parents,
                "operators": individual.operators,
                "origins": individual.origins,
                "inherited_from": individual.inherited_from,
                "role": individual.role,
                "original": individual.original,
                "seed": individual.seed,
                "settings": individual.settings,
                "metrics": {},
                "rungs": {},
                "objectives": (),
            },
        )
        self._append(
            EventKind.INDIVIDUAL_PROPOSED,
            individual.number,
            generation=individual.generation,
            inherited_from=individual.inherited_from,
            continues=individual.continues,
        )

    def start_from(self, individual: int, inherited_from: int | None) -> None:
        """Its next attempt starts from other weights than was recorded at its birth; those are gone."""
        self._set_individual(individual, inherited_from=inherited_from)

    def submit(self, spec: TrialSpec) -> None:
        """Record a new attempt, pending; there is no event until it starts."""
        self._connection.execute(
            insert(evaluations),
            {
                "search_id": self._own(spec.search_id),
                "individual": spec.individual,
                "attempt": spec.attempt,
                "state": TrialState.PENDING,
                "seed": spec.seed,
                "epochs": spec.settings.get("epochs", 0),
                "created_at": self._at,
                "requested": {**spec.settings, **spec.params},
                "effective": {},
                "differences": {},
                "metrics": {},
                "notes": (),
            },
        )
        self._set_individual(spec.individual, state=TrialState.PENDING, attempts=spec.attempt)

    def started(self, individual: int, attempt: int, worker: str) -> None:
        """The attempt has a worker."""
        self._set_evaluation(individual, attempt, state=TrialState.RUNNING, started_at=self._at, worker=worker)
        self._set_individual(individual, state=TrialState.RUNNING)
        self._append(EventKind.TRIAL_STARTED, individual, attempt=attempt, worker=worker)

    def reported(self, individual: int, attempt: int, report: EpochReport) -> None:
        """An epoch is over; one that is trained again after a recovery replaces its first report."""
        metrics = floats(report.metrics)
        self._connection.execute(
            upsert(self._connection, epochs),
            {
                "search_id": self._search_id,
                "individual": individual,
                "attempt": attempt,
                "epoch": report.epoch,
                "seconds": report.seconds,
                "metrics": metrics,
            },
        )
        self._append(
            EventKind.EPOCH_REPORTED,
            individual,
            attempt=attempt,
            epoch=report.epoch,
            epochs=report.epochs,
            metrics=metrics,
            seconds=report.seconds,
        )

    def completed(self, individual: int, attempt: int, result: TrialResult, *, whole: bool = True) -> None:
        """The attempt trained to its end, which is counted only if that is the end of a whole training."""
        self._finish(
            individual,
            attempt,
            TrialState.COMPLETED,
            seconds=result.seconds,
            gpu_seconds=result.gpu_seconds,
            epochs_trained=result.epochs,
            effective=result.effective,
            differences=result.differences,
            metrics=floats(result.metrics),
            weights=result.weights,
            notes=result.notes,
        )
        self._totals["trained"] += whole
        self._append(
            EventKind.TRIAL_COMPLETED,
            individual,
            attempt=attempt,
            seconds=result.seconds,
            gpu_seconds=result.gpu_seconds,
            differences=result.differences,
        )

    def failed(self, individual: int, attempt: int, failure: Failure, *, retry: bool, gpus: float = 0.0) -> None:
        """The attempt failed.

        Args:
            individual: Its number.
            attempt: Its attempt.
            failure: What went wrong.
            retry: Whether another attempt will follow.
            gpus: The share of a GPU that it held, for the total of GPU seconds.
        """
        self._finish(
            individual,
            attempt,
            TrialState.FAILED,
            failure=failure.kind,
            failure_message=failure.message,
            failure_details=failure.details,
            **self._spent(individual, attempt, gpus),
        )
        self._totals["failed"] += 1
        self._append(
            EventKind.TRIAL_FAILED,
            individual,
            attempt=attempt,
            kind=failure.kind,
            message=failure.message,
            retry=retry,
        )

    def stopped(self, individual: int, attempt: int, *, gpus: float = 0.0) -> None:
        """The search stopped the attempt; `gpus` as in `failed`."""
        self._finish(individual, attempt, TrialState.STOPPED, **self._spent(individual, attempt, gpus))
        self._append(EventKind.TRIAL_STOPPED, individual, attempt=attempt)

    def interrupted(self, individual: int, attempt: int, *, gpus: float = 0.0) -> None:
        """The attempt was lost with its driver or worker, possibly long ago; `gpus` as in `failed`."""
        spent = self._spent(individual, attempt, gpus, until_now=False)
        self._finish(individual, attempt, TrialState.INTERRUPTED, **spent)
        self._append(EventKind.TRIAL_INTERRUPTED, individual, attempt=attempt)

    def end_open_trials(self, *, resumable: bool) -> None:
        """End the attempts that a driver who is gone has left; `resumable` if another driver may go on."""
        query = select(evaluations.c.individual, evaluations.c.attempt).where(
            evaluations.c.search_id == self._search_id,
            evaluations.c.state.in_(UNFINISHED),
        )
        # nobody here knows the share of a GPU that they held: that of the trials before is taken
        seconds = self._totals["trial_seconds"]
        gpus = self._totals["gpu_seconds"] / seconds if seconds else 0.0
        state = TrialState.INTERRUPTED if resumable else TrialState.STOPPED
        kind = EventKind.TRIAL_INTERRUPTED if resumable else EventKind.TRIAL_STOPPED
        for individual, attempt in self._connection.execute(query).all():
            self._finish(individual, attempt, state, **self._spent(individual, attempt, gpus, until_now=False))
            self._append(kind, individual, attempt=attempt)

    def evaluated(
        self,
        individual: int,
        *,
        state: TrialState,
        fitness: float | None,
        metrics: Mapping[str, float] | None = None,
        failure: FailureKind | None = None,
        reused_from: int | None = None,
        rungs: Mapping[float, float] = _NOTHING,
        objectives: Sequence[float] = (),
        seconds: float = 0.0,
        role: Role = Role.SEARCH,
        original: int | None = None,
    ) -> int:
        """Record the final verdict on an individual; only a completed one can be the best.

        Of several trainings of a configuration the luckiest would be; so repeats and finals never are.

        Args:
            individual: Its number.
            state: How its training ended.
            fitness: Of the whole training; None for a failure, and for a training that is partial.
            metrics: Of the best epoch.
            failure: What went wrong for good.
            reused_from: Whose verdict holds for it, too.
            rungs: Best fitness up to each rung.
            objectives: Values of the objectives, in their order.
            seconds: What the training took, all attempts together.
            role: What it is there for.
            original: The individual whose genes it has, if not its own.

        Returns:
            Its position in the order in which verdicts are told to the search, from 0.

        Raises:
            LedgerError: It is unknown or has its verdict already.
            ValueError: `fitness` is not finite; a failure has none.
        """
        if fitness is not None and not math.isfinite(fitness):
            raise ValueError(f"fitness must be finite or None, but got {fitness}")
        told: int = self._totals["evaluated"]
        values = {"state": state, "fitness": fitness, "failure": failure, "reused_from": reused_from}
        details = {
            "metrics": floats(metrics or {}),
            "rungs": {f"{rung:g}": float(value) for rung, value in rungs.items()},
            "objectives": [float(value) for value in objectives],
            "seconds": seconds,
        }
        changed = self._connection.execute(VERDICT, {**self._key(individual), **values, **details, "told": told})
        self._require(changed.rowcount, f"individual {individual} is unknown or has its verdict already")
        self._totals["evaluated"] = told + 1
        self._append(EventKind.INDIVIDUAL_EVALUATED, individual, **values)
        if fitness is not None and state is TrialState.COMPLETED:
            self._compare(individual, fitness, role, original)
        return told

    def generation_finished(self, generation: int, statistics: Mapping[str, Json]) -> None:
        """Every individual of a generation has its verdict."""
        self._append(EventKind.GENERATION_FINISHED, **{**statistics, "generation": generation})

    def notice(self, message: str) -> None:
        """Something that a person should know."""
        self._append(EventKind.NOTICE, message=message)
