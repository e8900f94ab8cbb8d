"""Through which trainings the weights of an individual came down to it (`search.inherit_weights`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evolve.formatting import count
from evolve.ledger.records import EvaluationRecord, IndividualRecord
from evolve.trial import TrialState

if TYPE_CHECKING:
    from evolve.ledger import Ledger

SHOWN = 12


@dataclass(frozen=True)
class Descent:
    """The trainings that made an individual's weights, one on top of the other.

    Attributes:
        trained: Numbers of the individuals that were trained, oldest first; the first of them started from the
            weights of the search, the last training gave the individual its fitness.
        epochs: Epochs of all these trainings together; 0 where they are not known.
    """

    trained: tuple[int, ...]
    epochs: int

    @property
    def handed_down(self) -> int:
        """How many trainings came before its own; 0 where nothing was inherited."""
        return len(self.trained) - 1


def descent(
    individuals: Iterable[IndividualRecord], evaluations: Iterable[EvaluationRecord], number: int
) -> Descent:
    """Follow the weights of an individual back to those of the search.

    Args:
        individuals: The individuals of its search.
        evaluations: Their attempts, for the epochs of the completed ones.
        number: The individual.
    """
    by_number = {each.number: each for each in individuals}
    epochs = {each.individual: each.epochs_trained for each in evaluations if each.state is TrialState.COMPLETED}
    current = by_number[number]
    if current.reused_from is not None:
        current = by_number[current.reused_from]
    trained = [current.number]
    while (start := current.inherited_from) is not None and start in by_number and start not in trained:
        trained.append(start)
        current = by_number[start]
    return Descent(tuple(reversed(trained)), sum(epochs.get(each, 0) for each in trained))


def descent_notes(found: Descent) -> list[str]:
    """What to know before genes are taken for the only reason of a fitness; empty where nothing was inherited."""
    if not found.handed_down:
        return []
    names = [str(number) for number in found.trained]
    if len(names) > SHOWN:
        names = [*names[:3], "...", *names[3 - SHOWN :]]
    length = f", {count(found.epochs, 'epoch')} in all" if found.epochs else ""
    return [
        f"its weights were inherited through {count(found.handed_down, 'generation')} of training before its own "
        f"(search.inherit_weights): individuals {' -> '.join(names)}{length}",
        "its fitness is that of its genes and of this history together: its arguments alone, trained from the "
        "weights of the search, do not reproduce it",
    ]


def inheritance_notes(ledger: Ledger, individual: IndividualRecord) -> list[str]:
    """`descent_notes` of an individual in the ledger."""
    if individual.inherited_from is None:  # as for one whose verdict is a twin's: that started from the same
        return []
    line = _line(ledger, individual)
    attempts = [attempt for each in line for attempt in ledger.evaluations(each.search_id, each.number)]
    return descent_notes(descent(line, attempts, individual.number))


def _line(ledger: Ledger, individual: IndividualRecord) -> list[IndividualRecord]:
    """Those that `descent` follows, read one after the other: a large search is not read whole for a few of it."""
    line = {individual.number: individual}
    wanted = individual.inherited_from if individual.reused_from is None else individual.reused_from
    while wanted is not None and wanted not in line:
        found = ledger.individuals(individual.search_id, numbers=[wanted])
        line.update((each.number, each) for each in found)
        wanted = found[0].inherited_from if found else None
    return list(line.values())
