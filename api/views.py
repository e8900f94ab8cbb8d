"""What the routes show: looks into the ledger, as plain values. Everything here blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from api.documents import public
from api.reach import DEMO, shipped
from api.schemas import answers
from evolve.best import BUILT_IN, best_arguments, best_of, best_yaml, foreign_arguments
from evolve.descent import inheritance_notes
from evolve.exceptions import EvolveError, NotFound
from evolve.formatting import gain, verdict
from evolve.front import Front
from evolve.ledger import EvaluationRecord, IndividualRecord, Ledger, SearchRecord
from evolve.models import model_label
from evolve.overview import ancestors, births
from evolve.space import SearchSpace, shipped_spaces
from evolve.trial import Json

if TYPE_CHECKING:
    from evolve.ledger.service_records import DatasetRecord, KeyRecord

_SUMMARY = answers.SearchSummary.model_fields
_INDIVIDUAL = answers.IndividualSummary.model_fields
_GENERATION = answers.GenerationSummary.model_fields
_ATTEMPT = tuple(name for name in answers.Attempt.model_fields if name != "has_weights")
_EPOCH = answers.EpochPoint.model_fields
_ANCESTOR = answers.Ancestor.model_fields
_COMPARED = answers.ComparedBest.model_fields
_KEY = answers.KeySummary.model_fields
_MOST_ANCESTORS = 60
_UNKNOWN_DATA: Mapping[str, object] = {"names": [], "images": {}, "boxes": {}, "warnings": []}

View = dict[str, Any]
_Found = TypeVar("_Found")


def page(data: Sequence[object], count: int | None = None) -> View:
    """A list with the number of what there is in all."""
    return {"data": data, "count": len(data) if count is None else count}


def search_summary(record: SearchRecord) -> View:
    """See `answers.SearchSummary`."""
    return public(_SUMMARY, record)


def search_detail(record: SearchRecord) -> View:
    """See `answers.SearchDetail`."""
    how = record.document.get("search")
    individuals = None
    if isinstance(how, Mapping):
        population, generations = how.get("population"), how.get("generations")
        if isinstance(population, int) and isinstance(generations, int):
            individuals = population * generations
    data_id = str(record.options.get("data") or "")
    return search_summary(record) | {
        "individuals": individuals,
        "document": shown_document(record.document, data_id),
        "data": data_id or record.document.get("data") or "",
        "data_hash": record.data_hash,
        "notes": record.options.get("notes") or [],
        "environment": record.environment,
        "answer": record.answer,
    }


def shown_document(document: Mapping[str, Json], data_id: str) -> View:
    """A search space with the id of its data set, as it was sent; where that lies is for admins."""
    return {**document, "data": data_id} if data_id else dict(document)


def by_ref(
    ledger: Ledger, ref: str, look: Callable[[str], _Found], is_something: Callable[[_Found], bool]
) -> _Found:
    """What a look at a search finds.

    Most callers give the id, so that is tried at once; what finds nothing may be a name, or no search.

    Raises:
        SearchNotFound: if there is no such search.
    """
    found = look(ref)
    if is_something(found):
        return found
    record = ledger.search(ref)
    return found if record.id == ref else look(record.id)


def generations(ledger: Ledger, ref: str) -> View:
    """A page of `answers.GenerationSummary`: all of them."""
    found = by_ref(ledger, ref, ledger.generation_summaries, bool)
    return page([public(_GENERATION, each) for each in found])


def individual_summary(record: IndividualRecord) -> View:
    """See `answers.IndividualSummary`."""
    return public(_INDIVIDUAL, record)


def individual_detail(ledger: Ledger, ref: str, number: int) -> View:
    """See `answers.IndividualDetail`.

    Raises:
        NotFound: if there is no such search or individual.
    """
    record = ledger.search(ref)
    found = ledger.individuals(record.id, numbers=[number])
    if not found:
        raise NotFound(f"search {record.id}: individual {number}: must have been born, but was not")
    individual = found[0]
    family = _family(ledger, individual)
    genes = record.document.get("genes")
    return individual_summary(individual) | {
        "genes": list(genes) if isinstance(genes, Mapping) else [],
        "genome": individual.genome,
        "operators": individual.operators,
        "origins": individual.origins,
        "births": {
            gene: {"individual": first, "origin": origin}
            for gene, (first, origin) in births(family, number).items()
        },
        "lineage": [public(_ANCESTOR, each) for each in ancestors(family, number, _MOST_ANCESTORS)],
        "evaluations": [attempt(each) for each in ledger.evaluations(record.id, number)],
        "epochs": [public(_EPOCH, each) for each in ledger.epochs(record.id, number)],
    }


def _family(ledger: Ledger, individual: IndividualRecord) -> list[IndividualRecord]:
    """An individual and its nearest ancestors, a generation of them at a time: a large search is not read whole."""
    family = {individual.number: individual}
    wanted = set(individual.parents)
    while wanted and len(family) < _MOST_ANCESTORS:
        level = ledger.individuals(individual.search_id, numbers=sorted(wanted))
        family.update((each.number, each) for each in level)
        wanted = {parent for each in level for parent in each.parents} - family.keys()
    return list(family.values())


def attempt(record: EvaluationRecord) -> View:
    """See `answers.Attempt`."""
    return public(dict.fromkeys(_ATTEMPT), record) | {"has_weights": record.weights is not None}


def best(ledger: Ledger, ref: str) -> View:
    """See `answers.BestConfiguration`."""
    record, individual, evaluation, space = _best(ledger, ref)
    if record.objective == BUILT_IN:
        arguments = best_arguments(record, individual, evaluation, space)
        foreign = foreign_arguments(individual, space)
    else:
        arguments, foreign = {**space.train, **individual.params, "seed": evaluation.seed}, {}
    return {
        "search_id": record.id,
        "search_name": record.name,
        "individual": individual.number,
        "generation": individual.generation,
        "fitness": individual.fitness,
        "default_fitness": record.default_fitness,
        "gain": gain(record.best_fitness, record.default_fitness),
        "verdict": verdict(record),
        "arguments": arguments,
        "foreign": foreign,
        "notes": inheritance_notes(ledger, individual),
        "has_weights": evaluation.weights is not None,
    }


def front(ledger: Ledger, ref: str) -> View:
    """See `answers.Front`."""
    record = ledger.search(ref)
    individuals = ledger.individuals(record.id) if record.document.get("objectives") else []
    return Front.of(record, individuals).document()


def best_text(ledger: Ledger, ref: str, *, stock: bool) -> tuple[str, str]:
    """Id of a search, and its best configuration as YAML, with comments that say where it comes from."""
    record, individual, evaluation, space = _best(ledger, ref)
    notes = inheritance_notes(ledger, individual)
    stock = stock and record.objective == BUILT_IN
    return record.id, best_yaml(record, individual, evaluation, space, stock=stock, notes=notes)


def best_weights(ledger: Ledger, ref: str) -> tuple[str, Path]:
    """Id of a search, and the file with the weights of its best individual.

    Raises:
        NotFound: if nothing was evaluated yet, it left no weights, or they are gone.
    """
    record, _, evaluation, _ = _best(ledger, ref)
    if evaluation.weights is None:
        raise NotFound(f"search {record.id}: weights: its trainings must leave weights, but leave none")
    # a worker said where they are; nothing outside the folder of the search is handed out
    path = Path(evaluation.weights).resolve()
    if not path.is_relative_to(Path(record.directory).resolve()) or not path.is_file():
        raise NotFound(f"search {record.id}: weights: must still be in the folder of the search, but are not there")
    return record.id, path


def _best(ledger: Ledger, ref: str) -> tuple[SearchRecord, IndividualRecord, EvaluationRecord, SearchSpace]:
    record = ledger.search(ref)
    try:
        individual, evaluation = best_of(ledger, record)
    except EvolveError as error:
        raise NotFound(str(error)) from None
    return record, individual, evaluation, SearchSpace.from_document(record.document, f"search {record.id}")


def report(ledger: Ledger, ref: str) -> str:
    """The report of a search, as one HTML page."""
    from evolve.report import render
    from evolve.report.content import content_of

    record = ledger.search(ref)
    return render(content_of(record, ledger.individuals(record.id), ledger.evaluations(record.id)))


def comparison(ledger: Ledger, refs: Sequence[str]) -> View:
    """See `answers.Comparison`."""
    compared = [_compared(ledger, ref) for ref in refs]
    configurations = [each["best"]["params"] for each in compared if each["best"]]
    names = dict.fromkeys(name for params in configurations for name in params)
    differing = [name for name in names if len({repr(params.get(name)) for params in configurations}) > 1]
    return page(compared) | {"genes": differing}


def _compared(ledger: Ledger, ref: str) -> View:
    record = ledger.search(ref)
    found = []
    if record.best_individual is not None:
        found = ledger.individuals(record.id, numbers=[record.best_individual])
    return {
        "search": search_summary(record),
        "generations": [public(_GENERATION, each) for each in ledger.generation_summaries(record.id)],
        "best": public(_COMPARED, found[0]) if found else None,
        "failures": ledger.failure_counts(record.id),
    }


def spaces() -> View:
    """A page of `answers.SpaceSummary`: all of them."""
    return page([_space(name) for name in shipped_spaces()])


def _space(name: str) -> View:
    space = SearchSpace.from_document(shipped(name), name)
    population, generations = space.search.population, space.search.generations
    return {
        "name": name,
        "model": model_label(shipped(name)),
        "genes": len(space.genes),
        "population": population,
        "generations": generations,
        "individuals": population * generations,
    }


def datasets(ledger: Ledger, *, with_paths: bool) -> View:
    """A page of `answers.DatasetSummary`: all of them, that which is built in first."""
    built_in = {
        "id": DEMO,
        "built_in": True,
        "path": None,
        "content_hash": "",
        "names": ["digit"],
        "images": {"train": 224, "val": 48},
        "boxes": {},
        "warnings": [],
        "registered_by": None,
        "created_at": None,
    }
    return page([built_in, *(dataset(each, with_path=with_paths) for each in ledger.registry.datasets())])


def dataset(record: DatasetRecord, *, with_path: bool) -> View:
    """See `answers.DatasetSummary`."""
    return {
        **{name: record.summary.get(name) or nothing for name, nothing in _UNKNOWN_DATA.items()},
        "id": record.id,
        "built_in": False,
        "path": record.path if with_path else None,
        "content_hash": record.content_hash,
        "registered_by": record.registered_by,
        "created_at": record.created_at,
    }


def key(record: KeyRecord) -> View:
    """See `answers.KeySummary`."""
    return public(_KEY, record)
