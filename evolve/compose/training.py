"""One training without a search: from a configuration to a detector, by the trainer of the trials."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from evolve.best import BUILT_IN, best_arguments, best_of, deciding_evaluation
from evolve.compose.preparation import prepare_data
from evolve.exceptions import EvolveError, InputError
from evolve.formatting import failure_label
from evolve.ledger import Ledger
from evolve.settings import RUNS, Settings
from evolve.space import SearchSpace
from evolve.training_files import is_finished
from evolve.trial import EpochReport, Json, TrialFailed, TrialResult, TrialSpec
from evolve.yaml_io import parse_yaml, read_yaml
from workers.yolo12 import YoloObjective, resolve_weights
from workers.yolo12.attempts import is_attempt_at
from workers.yolo12.configuration import Configuration, Given, canonical, read_configuration, ultralytics_names
from workers.yolo12.detector import choose_device

__all__ = ["Given", "Training", "params_of_file", "params_of_options", "params_of_search", "planned_training"]

LOCK = ".lock"

Params = Mapping[str, Given]


@dataclass(frozen=True)
class Training:
    """A training that can begin.

    Attributes:
        spec: What the trainer gets.
        data: The user's own data YAML.
        configuration: What was asked for.
        goes_on: Whether the folder holds an interrupted attempt at it.
        notes: What a person should know before it starts.
    """

    spec: TrialSpec
    data: str
    configuration: Configuration
    goes_on: bool
    notes: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return Path(self.spec.directory)

    @property
    def epochs(self) -> int | None:
        """How many epochs it will train, if the configuration says so."""
        epochs = self.configuration.arguments.get("epochs")
        return epochs if isinstance(epochs, int) else None

    @property
    def params(self) -> dict[str, Json]:
        """All of it, for `evolve train --params`."""
        asked = self.configuration
        pretrained: Json = {"none": False, "auto": True}.get(asked.weights, asked.weights)
        model = f"{asked.model}.pt" if asked.weights == "auto" else f"{asked.model}.yaml"
        head: dict[str, Json] = {"model": model, "pretrained": pretrained, "data": self.data, "seed": asked.seed}
        return {"task": "detect", "mode": "train", **head, **ultralytics_names(asked.arguments)}

    def run(self, *listeners: Callable[[EpochReport], None]) -> TrialResult:
        """Train, and tell of every epoch.

        Raises:
            EvolveError: if the training fails; the message says how.
        """
        stream = YoloObjective().run(self.spec)
        try:
            while True:
                report = next(stream)
                for listener in listeners:
                    listener(report)
        except StopIteration as end:
            result: TrialResult = end.value
            return result
        except TrialFailed as error:
            kind = failure_label(error.failure.kind)
            raise EvolveError(f"the training failed ({kind}): {error.failure.message}") from error
        finally:
            stream.close()


def params_of_file(path: Path) -> dict[str, Given]:
    """The keys of a YAML file by their canonical names.

    Raises:
        InputError: if it cannot be read, or names an argument in two ways.
    """
    given: dict[str, Given] = {}
    for key, value in read_yaml(path).items():
        name = canonical(key)
        if name in given:
            raise InputError(f"{path}: {key}: is the same as {name}, but both are there; remove one")
        given[name] = Given(value, f"{path}: {key}")
    return given


def params_of_search(ledger: Ledger, ref: str, number: int | None) -> tuple[dict[str, Given], str]:
    """The configuration of an individual, the best unless told otherwise, and the name of its search.

    Raises:
        InputError: if the search trains something else, or has no such individual with a result.
    """
    search = ledger.search(ref)
    if search.objective != BUILT_IN:
        raise InputError(
            f"--search: {search.id} must be a search that trains YOLO12, but trains {search.objective}"
        )
    if number is None:
        individual, evaluation = best_of(ledger, search)
    else:
        found = ledger.individuals(search.id, numbers=[number])
        decided = deciding_evaluation(found[0], ledger.evaluations(search.id)) if found else None
        if decided is None:
            raise InputError(
                f"--individual: {number} must have been evaluated in search {search.id}, but was not; "
                f"look at `evolve show {search.id}`"
            )
        individual, evaluation = found[0], decided
    space = SearchSpace.from_document(search.document, f"search {search.id}")
    arguments = best_arguments(search, individual, evaluation, space)
    place = f"search {search.id}"
    return {canonical(key): Given(value, f"{place}: {key}") for key, value in arguments.items()}, search.name


def params_of_options(options: Mapping[str, Json], settings: Sequence[str]) -> dict[str, Given]:
    """What the command line overrides.

    Args:
        options: Values of options by the names of the arguments that they set; those that are None were not given.
        settings: Texts `key=value`, the value as in YAML.

    Raises:
        InputError: if a text is none of these.
    """
    given = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"\w+", key) or "\n" in value:
            raise InputError(f"--set: must be key=value, but got {text!r:.80}")
        parsed = parse_yaml(f"value: {value}", f"--set {key}")["value"]
        given[canonical(key)] = Given(parsed, f"--set {key}")
    for name, option in options.items():
        if option is not None:
            given[canonical(name)] = Given(option, f"--{'weights' if name == 'pretrained' else name}")
    return given


@contextmanager
def planned_training(
    params: Params, settings: Settings, *, name: str, output: Path | None, device: str | None
) -> Iterator[Training]:
    """Check and prepare a training, and hold its folder against other processes as long as the block lasts.

    Args:
        params: The configuration.
        settings: Where prepared data are kept.
        name: What the training is called; it goes to `runs/<name>`, or `runs/<name>-2` and so on: the first that is
            free, or holds an interrupted attempt at this very training.
        output: The folder itself, instead.
        device: See `workers.yolo12.detector.choose_device`.

    Raises:
        InputError: in one line, for whatever the user gave that cannot be used.
    """
    configuration = read_configuration(params)
    if not configuration.data:
        raise InputError("data: is required, but is missing; give the data set with --data")
    arguments = dict(configuration.arguments)
    if wanted := device or configuration.device:
        arguments["device"] = choose_device(wanted)
    weights, note = resolve_weights(configuration.model, configuration.weights, settings.home)
    data = prepare_data(configuration.data, settings)

    def spec(folder: Path) -> TrialSpec:
        return TrialSpec(
            search_id=name,
            individual=0,
            attempt=1,
            params={},
            settings=arguments,
            seed=configuration.seed,
            directory=str(folder.absolute()),
            model=configuration.model,
            weights=str(weights or "none"),
            data=data.data,
        )

    notes = (*data.notes, *([note] if note else []), *configuration.notes)
    with _folder(spec, name, output) as folder:
        held = spec(folder)
        yield Training(held, data.source, configuration, is_attempt_at(held), notes)


@contextmanager
def _folder(spec_of: Callable[[Path], TrialSpec], name: str, output: Path | None) -> Iterator[Path]:
    """The folder to train in, made and locked."""
    numbered = (RUNS / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    for folder in numbered if output is None else [output]:
        lock = FileLock(folder / LOCK, timeout=0)
        problem = _claim(folder, lock, spec_of)
        if not problem:
            try:
                yield folder
            finally:
                lock.release()
            return
        if output is not None:
            raise InputError(f"--output {folder}: must be free or hold this training unfinished, but {problem}")


def _claim(folder: Path, lock: FileLock, spec_of: Callable[[Path], TrialSpec]) -> str:
    """Make and lock a folder, or say why it cannot be trained in."""
    try:
        if problem := _taken(folder, spec_of):
            return problem
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        if problem := _taken(folder, spec_of):  # by a process that has just finished
            lock.release()
        return problem
    except Timeout:
        return "another process trains there"
    except OSError as error:
        raise InputError(f"{folder}: a training must be able to write there, but: {error.strerror}") from error


def _taken(folder: Path, spec_of: Callable[[Path], TrialSpec]) -> str:
    """Why a folder cannot be trained in, or an empty text."""
    if not folder.exists():
        return ""
    if not folder.is_dir():
        return "it is a file"
    if is_finished(folder):
        return "it holds a finished one"
    if all(each.name == LOCK for each in folder.iterdir()) or is_attempt_at(spec_of(folder)):
        return ""
    return "it holds something else"
