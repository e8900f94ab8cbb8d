"""Warm start: searches and files become `known` of a new search, by the command line, Python and the service."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from api_helpers import Api, add_key, line_of, make_app
from evolve.cli import app
from evolve.client import Client
from evolve.codec import Codec
from evolve.exceptions import InputError, SpaceError
from evolve.ledger import Ledger, SearchState
from evolve.ledger.records import IndividualRecord
from evolve.search.known import known_points
from evolve.space import Known, SearchSpace
from evolve.trial import Role
from evolve.warmstart import beginning_with, from_file, from_search, tables, warm_started
from evolve.warmstart.choosing import allot, choose
from evolve.warmstart.searches import _merged
from evolve.yaml_io import MAX_BYTES, dump_yaml
from running_service import RunningService
from search_helpers import create, run
from spaces import OBJECTIVE, document, space
from test_cli import Evolve, wait_for

drawn = settings(max_examples=int(os.environ.get("EVOLVE_HYPOTHESIS_EXAMPLES", "100")), deadline=None)

OTHER = {
    "x": {"type": "float", "low": 0, "high": 0.6, "default": 0.2},
    "y": {"type": "float", "low": 1e-5, "high": 1, "log": True, "default": 0.01},
    "kind": {"type": "categorical", "choices": ["a", "d"], "default": "a"},
    "z": {"type": "boolean", "default": False},
}
"""Genes of which some are those of `spaces.document`, with other bounds and choices."""


def entry(genes: dict[str, Any], fitness: float | None = None, source: str = "") -> dict[str, Any]:
    return {"genes": genes, "fitness": fitness, "source": source}


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def without_mlflow(folder: Path) -> Evolve:
    """The command line, with an MLflow that cannot be used, as the real one takes long to load."""
    (folder / "python" / "mlflow").mkdir(parents=True)
    (folder / "python" / "mlflow" / "__init__.py").write_text("raise ImportError('not in this test')\n")
    evolve = Evolve(folder)
    places = [str(folder / "python"), os.environ.get("PYTHONPATH", "")]
    evolve.environment["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    return evolve


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Evolve:
    """A home with one finished search, and with what the commands write of it."""
    evolve = without_mlflow(tmp_path_factory.mktemp("finished"))
    evolve.run("--inline", search={"generations": 2})
    evolve("best", "mine", "-o", "best.yaml")
    evolve("show", "mine", "--csv", "mine.csv")
    return evolve


class TestCommandLine:
    """Real processes, the synthetic objective."""

    def other(self, evolve: Evolve, *arguments: str, code: int = 0, name: str = "other", **sections: Any) -> str:
        sections = {"genes": OTHER, "search": {"generations": 1}, **sections}
        path = evolve.folder / f"{name}.yaml"
        path.write_text(dump_yaml({**document(**sections), "name": name}))
        done = evolve(
            "run", "--space", str(path), "--objective", OBJECTIVE, "--inline", "--fresh", *arguments, code=code
        )
        return done.stderr

    def test_every_kind_of_source_at_once(self, finished: Evolve) -> None:
        with finished.ledger() as ledger:
            source = ledger.search("mine")
            trained = ledger.individuals(source.id)
        refs = ("mine", "best.yaml", "mine.csv")
        said = self.other(finished, *(part for ref in refs for part in ("--warm-start", ref)))
        notes = [line for line in said.splitlines() if "in common" in line]
        assert len(notes) == 3
        assert f'search {source.id} "mine": ' in notes[0]
        assert "3 of 4 genes in common" in notes[0]
        assert notes[0].endswith("genes n, extra dropped")
        assert "best.yaml: 1 configuration, 3 of 4 genes in common" in notes[1]
        assert "columns n, extra dropped" in notes[2]
        with finished.ledger() as ledger:
            begun = ledger.search("other")
        known = begun.document["known"]
        assert isinstance(known, list)
        labels = {each["source"] for each in known}
        assert labels == {f'search {source.id} "mine"', "best.yaml", "mine.csv"}
        assert begun.options["notes"] == [note.partition("note: ")[2] for note in notes]
        assert [each for each in known if each["fitness"] is None] == [
            each for each in known if each["source"] == "best.yaml"
        ]
        assert max(each["fitness"] or 0 for each in known) == max(each.fitness or 0 for each in trained)
        same = [[each["genes"] for each in known if each["source"] == label] for label in sorted(labels)]
        assert same[1] == same[2], "the table holds what the search does"

    @pytest.mark.parametrize(
        ("ref", "text", "said"),
        [
            ("gone.csv", None, "warm start: gone.csv: there is no such file, and no search has this id or name"),
            (
                "a.csv",
                "lr0,lrf\n1,2\n",
                "a.csv: must have a gene in common with the space, but has none: its columns",
            ),
            ("a.yaml", "known: 3", "a.yaml: known: must be a list of configurations, but got 3"),
            ("a.csv", "x,y\n1\n", "a.csv:2: a row must have 2 fields, as the first line, but got 1"),
        ],
    )
    def test_bad_input_gets_one_line_and_enters_nothing(
        self, tmp_path: Path, ref: str, text: str | None, said: str
    ) -> None:
        evolve = without_mlflow(tmp_path)
        if text is not None:
            (tmp_path / ref).write_text(text)
        line = self.other(evolve, "--warm-start", ref, code=2)
        assert line.startswith(f"evolve: {said}")
        assert len(line.strip().splitlines()) == 1
        with evolve.ledger() as ledger:
            assert ledger.searches() == []

    def test_a_resume_after_a_kill_needs_no_source(self, tmp_path: Path) -> None:
        evolve = without_mlflow(tmp_path)
        table = tmp_path / "table.csv"
        table.write_text("x,y,fitness\n0.3,0.1,0.5\n0.4,0.2,0.6\n0.5,0.2,\n")
        path = evolve.space(train={"epochs": 20, "delay": 0.02}, search={"generations": 1, "population": 4})
        driver = evolve.start(
            "run", "--space", path, "--objective", OBJECTIVE, "--inline", "--json", "--warm-start", str(table)
        )
        wait_for(driver, "epoch_reported")
        driver.send_signal(signal.SIGKILL)
        driver.communicate(timeout=30)
        table.unlink()
        with evolve.ledger() as ledger:
            before = ledger.search("mine").document
        assert [each["fitness"] for each in before["known"]] == [None, 0.6, 0.5]  # type: ignore[index, union-attr]
        evolve("resume", "mine")
        with evolve.ledger() as ledger:
            after = ledger.search("mine")
        assert after.state is SearchState.COMPLETED
        assert after.document == before


class TestSearches:
    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Iterator[Ledger]:
        with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
            yield ledger

    def test_settings_of_the_source_count_as_values(self, ledger: Ledger, tmp_path: Path) -> None:
        first = create(ledger, space(train={"z": True, "kind": "c"}, search={"generations": 1}), tmp_path)
        run(ledger, first)
        begun, notes = warm_started(space(genes=OTHER), [first.id], ledger)
        assert {each.genes["z"] for each in begun.known} == {True}
        assert "z" not in notes[0]

    def test_a_search_meant_twice_counts_once(self, ledger: Ledger, tmp_path: Path) -> None:
        first = create(ledger, space(search={"generations": 1}), tmp_path, "first")
        run(ledger, first)
        begun, notes = warm_started(space(), ["first", first.id, first.id[:5]], ledger)
        assert len(notes) == 1
        assert len({json.dumps(each.genes) for each in begun.known}) == len(begun.known) <= 8
        assert begun.genes == space().genes
        codec = Codec(space())
        scored = {each.key: each.fitness for each in ledger.individuals(first.id)}
        for each in begun.known:
            assert scored[codec.key(codec.decode(codec.encode(each.genes)))] == each.fitness

    def test_one_that_has_trained_nothing_is_refused(self, ledger: Ledger, tmp_path: Path) -> None:
        create(ledger, space(), tmp_path, "empty")
        with pytest.raises(InputError, match="must have an individual with a fitness, but has none"):
            warm_started(space(), ["empty"], ledger)

    def test_known_of_the_space_itself_stays(self, ledger: Ledger, tmp_path: Path) -> None:
        run(ledger, create(ledger, space(search={"generations": 1}), tmp_path, "first"))
        mine = entry({"x": 0.9}, None, "me")
        begun, _ = warm_started(space(known=[mine]), ["first"], ledger)
        assert begun.known[0].model_dump() == mine
        full = space(known=[mine] * 1000)
        with pytest.raises(InputError, match="has no room for more"):
            warm_started(full, ["first"], ledger)

    def test_too_many_are_refused(self, ledger: Ledger) -> None:
        with pytest.raises(InputError, match="at most 10 sources"):
            warm_started(space(), ["first"] * 11, ledger)

    def test_seeds_are_averaged_and_longer_finals_left_alone(self) -> None:
        def one(number: int, fitness: float, role: Role = Role.SEARCH, **more: Any) -> IndividualRecord:
            return IndividualRecord("s", number, 0, (), {"x": 0.5}, "same", fitness=fitness, role=role, **more)

        trained = [one(0, 0.4), one(1, 0.6, Role.REPEAT, seed=7)]
        assert [fitness for _, fitness in _merged(trained)] == [0.5]
        final = one(2, 0.9, Role.FINAL, settings={"epochs": 300})
        assert [fitness for _, fitness in _merged([*trained, final])] == [0.5]
        assert [fitness for _, fitness in _merged([final])] == [0.9]
        assert [round(fitness, 9) for _, fitness in _merged([*trained, one(3, 0.8, Role.FINAL)])] == [0.6]


def taken(path: Path, **sections: Any) -> tuple[list[dict[str, Any]], str]:
    """What a space begins with, without where it is from, and the note."""
    begun, notes = beginning_with(space(**sections), [from_file(space(**sections), path)])
    return [each.model_dump(exclude={"source"}) for each in begun.known], notes[0].partition(": ")[2]


def pairs(known: list[dict[str, Any]]) -> list[tuple[dict[str, Any], float | None]]:
    return [(each["genes"], each["fitness"]) for each in known]


class TestDocuments:
    def test_a_best_yaml(self, file: Callable[[str, str], Path]) -> None:
        text = "# a comment\ntask: detect\nmode: train\nmodel: m.pt\ndata: d.yaml\npretrained: true\nseed: 0\n"
        known, note = taken(file("best.yaml", text + "epochs: 1\nx: 0.5\nkind: b\nextra: 0.25\nlr0: 0.1\n"))
        assert pairs(known) == [({"x": 0.5, "kind": "b", "extra": 0.25}, None)]
        assert note == "1 configuration, 3 of 5 genes in common, keys lr0 dropped"

    def test_lists_and_known(self, file: Callable[[str, str], Path]) -> None:
        text = "- {x: 0.5, fitness: 2}\n- {genes: {x: 0.25}, fitness: 3, source: old}\n- {x: 0.75}\n"
        expected = [({"x": 0.75}, None), ({"x": 0.25}, 3.0), ({"x": 0.5}, 2.0)]
        assert pairs(taken(file("a.yml", text))[0]) == expected
        assert pairs(taken(file("b.YAML", "name: any\nknown:\n" + text))[0]) == expected

    def test_sources_within_a_file_are_kept_apart(self, file: Callable[[str, str], Path]) -> None:
        text = "".join(f'- {{genes: {{x: 0.5}}, source: "{source}"}}\n' for source in ("old", "o\\e[2J", "x" * 300))
        path = file("a.yaml", text)
        begun, _ = beginning_with(space(), [from_file(space(), path, "a.yaml")])
        assert [each.source[:14] for each in begun.known] == [
            "a.yaml: old",
            "a.yaml: o\N{REPLACEMENT CHARACTER}[2J",
            "a.yaml: xxxxxx",
        ]

    def test_what_ultralytics_calls_differently(self, file: Callable[[str, str], Path]) -> None:
        ours = {"nms_iou": {"type": "float", "low": 0.3, "high": 0.8, "default": 0.7}}
        theirs = {"iou": ours["nms_iou"]}
        assert pairs(taken(file("a.yaml", "iou: 0.5"), genes=ours)[0]) == [({"nms_iou": 0.5}, None)]
        assert pairs(taken(file("a.yaml", "nms_iou: 0.5"), genes=theirs)[0]) == [({"iou": 0.5}, None)]
        assert pairs(taken(file("a.yaml", "nms_iou: 0.5\niou: 0.4"), genes=ours)[0]) == [({"nms_iou": 0.5}, None)]

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("a.yaml", "3", r"a\.yaml:1:1: the document must be a mapping or a list"),
            ("a.yaml", "&a [x]", r"a\.yaml:1:1: anchors and tags are not allowed"),
            ("a.yaml", "- {x: *a}", r"a\.yaml:1:7: aliases are not allowed"),
            ("a.yaml", "x: .nan", "numbers must be finite"),
            ("a.yaml", "[" * 40, "nesting goes at most"),
            ("a.yaml", "[]", "must hold a configuration, but holds none"),
            ("a.yaml", "[3]", r"a\.yaml: \[0\]: must map genes to values, but got 3"),
            ("a.yaml", "genes: {x: {type: float}}", "is a search space without the key 'known'"),
            ("a.yaml", "x: 0.5\nfitness: good", "fitness: must be a number, but got 'good'"),
            ("a.yaml", "x: 0.5\nfitness: true", "fitness: must be a number, but got True"),
            ("a.yaml", "x: [1]", r"1 value not allowed.*x must be a number, but got \[1\]"),
            ("a.yaml", "# " + "x" * MAX_BYTES, "at most 64 KiB"),
            ("a.txt", "x: 1", "the suffix must be one of"),
        ],
    )
    def test_one_line_for_what_is_wrong(
        self, file: Callable[[str, str], Path], name: str, text: str, said: str
    ) -> None:
        with pytest.raises(InputError, match=said) as refused:
            taken(file(name, text))
        assert len(str(refused.value).splitlines()) == 1


class TestTables:
    def test_values_that_do_not_fit(self, file: Callable[[str, str], Path]) -> None:
        rows = ["0.5,0.1,2,3.4,b,0.5,=1+1", "0.4,1.5,0.1,3,q,,'@x", "nan,0.2,0.1,3,a,,", "1e999,0.2,0.1,3,a,,"]
        rows += ["=2,0.2,0.1,3,a,,", ",0.3,0.1,,,,"]
        known, note = taken(file("a.csv", "\n".join(["fitness,x,y,n,kind,extra,note", *rows])))
        assert pairs(known) == [
            ({"x": 0.3, "y": 0.1}, None),
            ({"x": 0.1, "y": 1.0, "n": 3, "kind": "b", "extra": 0.5}, 0.5),
            ({"x": 1.0, "y": 0.1, "n": 3}, 0.4),
        ]
        assert note == (
            "3 configurations, 5 of 5 genes in common, 2 values clipped, 1 value rounded, 1 value not allowed and "
            "left at the default, 3 rows without a finite fitness dropped, columns note dropped"
        )

    def test_equal_configurations_have_the_mean_fitness(self, file: Callable[[str, str], Path]) -> None:
        rows = ["0.5,a,0.1,0.2", "0.5,a,0.9,0.4", "0.5,b,0.9,0.3"]  # `extra` does not exist for kind a
        known, _ = taken(file("a.csv", "\n".join(["x,kind,extra,fitness", *rows])))
        assert [(genes, round(fitness or 0, 9)) for genes, fitness in pairs(known)] == [
            ({"x": 0.5, "kind": "a"}, 0.3),
            ({"x": 0.5, "kind": "b", "extra": 0.9}, 0.3),
        ]

    def test_a_table_of_ours_knows_what_failed(self, file: Callable[[str, str], Path]) -> None:
        text = "number,state,fitness,gene.x,metrics.x,y\n0,completed,0.5,0.25,1,7\n1,failed,,0.5,1,7\n"
        known, note = taken(file("a.csv", text))
        assert pairs(known) == [({"x": 0.25}, 0.5)]
        assert note == "1 configuration, 1 of 5 genes in common, 1 row without a finite fitness dropped"

    def test_text_of_choices(self, file: Callable[[str, str], Path]) -> None:
        genes = {
            "size": {"type": "categorical", "choices": [320, 640], "default": 320},
            "flag": {"type": "boolean", "default": False},
            "sign": {"type": "categorical", "choices": ["-a", "true"], "default": "true"},
        }
        known, note = taken(
            file("a.csv", "size,flag,sign\n640.0,True,'-a\n640,1,-a\n320,FALSE,true\n"), genes=genes
        )
        assert pairs(known) == [
            ({"size": 640, "flag": True, "sign": "-a"}, None),
            ({"size": 320, "flag": False, "sign": "true"}, None),
        ]
        assert note == "2 configurations, 3 of 3 genes in common"

    def test_constraints(self, file: Callable[[str, str], Path]) -> None:
        rules = ["x <= 0.5 or n >= 5", "kind != 'c' or x > 2"]
        known, note = taken(file("a.csv", "x,n,kind,y\n0.8,2,a,0.5\n0.1,5,c,0.25\n"), constraints=rules)
        checked = space(constraints=rules)
        for each in known:
            assert not checked.violated({**checked.default(), **each["genes"]})
        assert [each["genes"]["y"] for each in known] == [0.5, 0.25], "no rule speaks of it"
        assert known[0]["genes"] == {"x": 0.5, "n": 3, "kind": "a", "y": 0.5}
        assert "2 configurations moved to keep to the constraints" in note

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "the table is empty"),
            ("x\n", "must hold a row that can be used, but holds none; add one"),
            ("x,fitness\n1,nan\n", "the fitness of every row must be a finite number"),
            ("x,x\n1,2\n", "must have a name of its own, but got 'x' twice"),
            ('x,y\n"1,2\n', "this is not valid CSV"),
            ("x\n" + "9" * 200_000 + "\n", "this is not valid CSV: field larger than field limit"),
            ("x,note\n1," + "9" * 5000 + "\n", "a field may have at most 4096 characters"),
            (",".join(f"c{index}" for index in range(1001)), "at most 1000 columns, but got 1001"),
            ("x\n" + "0.5\n" * 10_001, "at most 10000 rows"),
            ("x\n1\0\n", "holds a NUL"),
            ("x;y\n1;2\n", "its columns are x;y"),
        ],
    )
    def test_one_line_for_what_is_wrong(self, file: Callable[[str, str], Path], text: str, said: str) -> None:
        with pytest.raises(InputError, match=said) as refused:
            taken(file("a.csv", text))
        assert len(str(refused.value)) < 1000
        assert len(str(refused.value).splitlines()) == 1

    def test_files_that_cannot_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes(b"x\n\xff\n")
        with pytest.raises(InputError, match="must be UTF-8, but byte 2 is not"):
            from_file(space(), path)
        monkeypatch.setattr(tables, "MAX_BYTES", 1 << 20)
        path.write_bytes(b"x" * ((1 << 20) + 1))
        with pytest.raises(InputError, match="at most 1 MiB"):
            from_file(space(), path)
        with pytest.raises(InputError, match="cannot be read: No such file"):
            from_file(space(), tmp_path / "gone.csv")

    @drawn
    @given(st.binary(max_size=300), st.sampled_from(["a.csv", "a.yaml"]))
    def test_no_file_does_more_than_be_refused(
        self, tmp_path_factory: pytest.TempPathFactory, raw: bytes, name: str
    ) -> None:
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(b"x,kind,n\n" * (name == "a.csv") + raw)
        said, known = "", ()
        try:
            known = beginning_with(space(), [from_file(space(), path)])[0].known
        except InputError as error:
            said = str(error)
        assert known or len(said.splitlines()) == 1


def known_of(fitness: list[float | None]) -> list[Known]:
    return [Known(genes={}, fitness=each, source=str(index)) for index, each in enumerate(fitness)]


scores = st.none() | st.floats(-1e308, 1e308)


class TestChoosing:
    @drawn
    @given(st.lists(scores, max_size=60), st.integers(1, 40))
    def test_the_best_are_chosen_and_none_twice(self, fitness: list[float | None], most: int) -> None:
        known = known_of(fitness)
        chosen = choose(known, most)
        assert len(chosen) == min(most, len(known))
        assert len({each.source for each in chosen}) == len(chosen)
        wanted = [each for each in known if each.fitness is None][:most]
        assert chosen[: len(wanted)] == wanted
        values = [each.fitness for each in chosen[len(wanted) :]]
        assert values == sorted(values, key=lambda value: value or 0.0, reverse=True)
        best = sorted((value for value in fitness if value is not None), reverse=True)
        half = (most - len(wanted) + 1) // 2
        assert values[:half] == best[:half]
        if len(values) >= 3 and half < len(values) - 1:
            assert values[-1] == best[-1], "the worst ends the even spread"

    @drawn
    @given(st.lists(st.integers(0, 100), min_size=1, max_size=10), st.integers(10, 300))
    def test_sources_share_what_room_there_is(self, sizes: list[int], most: int) -> None:
        shares = allot(sizes, most)
        assert sum(shares) == min(most, sum(sizes))
        assert all(share <= size for share, size in zip(shares, sizes, strict=True))
        cut = [share for share, size in zip(shares, sizes, strict=True) if share < size]
        assert not cut or max(cut) - min(cut) <= 1
        assert not cut or max(shares) <= max(cut) + 1


RULES = ["x <= 0.9 or n >= 2", "kind != 'c' or y < 0.5"]
GENES = st.fixed_dictionaries(
    {},
    optional={
        "x": st.sampled_from([0.0, 0.2, 0.5, 0.95, 1.0]),
        "y": st.sampled_from([1e-5, 0.01, 0.75]),
        "n": st.integers(1, 9),
        "kind": st.sampled_from(["a", "b", "c"]),
        "extra": st.sampled_from([0.0, 0.5, 1.0]),
    },
)
ENTRIES = st.lists(
    st.builds(entry, GENES, st.none() | st.sampled_from([0.1, 0.2, 0.3, 1e308]), st.sampled_from("ab")), max_size=20
)


class TestKnownPoints:
    def test_order_and_scores(self) -> None:
        begun = space(
            known=[
                entry({"x": 0.1}, 1, "a"),
                entry({"x": 0.3}, 3, "a"),
                entry({"x": 0.2}, 2, "a"),
                entry({"x": 0.9}, 500, "b"),
                entry({"x": 0.3, "extra": 0.1}, 400, "b"),  # the same as in a, as kind is a
                entry({"x": 0.7}),
            ]
        )
        points = known_points(begun, Codec(begun))
        assert [genome[0] for genome, _ in points] == [0.7, 0.3, 0.9, 0.2, 0.1]
        found = {genome[0]: score for genome, score in points}
        assert found[0.7] is None
        assert found[0.2] == pytest.approx(0.0)
        assert found[0.1] == pytest.approx(-0.8694, abs=1e-3)  # Blom's scores of three
        assert found[0.9] == pytest.approx(0.5895, abs=1e-3)  # and of two
        assert found[0.3] == pytest.approx((0.8694 - 0.5895) / 2, abs=1e-3), "the mean of two sources"

    @drawn
    @given(ENTRIES)
    def test_points_are_canonical_feasible_and_distinct(self, known: list[dict[str, Any]]) -> None:
        begun = space(known=known, constraints=RULES)
        codec = Codec(begun)
        points = known_points(begun, codec)
        genomes = [genome for genome, _ in points]
        assert len(set(genomes)) == len(genomes) <= len(known)
        for genome, score in points:
            assert codec.canonical(genome) == genome
            assert codec.feasible(genome)
            assert score is None or math.isfinite(score)
        wanted = [codec.mend(codec.encode(each["genes"])) for each in known if each["fitness"] is None]
        assert genomes[: len(set(wanted))] == list(dict.fromkeys(wanted))
        assert {genome for genome, score in points if score is None} <= set(wanted)

    @drawn
    @given(ENTRIES, st.sampled_from([0.5, 3.0]))
    def test_only_the_order_within_a_source_counts(self, known: list[dict[str, Any]], factor: float) -> None:
        distinct = {json.dumps([each["source"], each["genes"]]): each for each in known}.values()
        scored = [each for each in distinct if each["fitness"] != 1e308]
        moved = [
            {**each, "fitness": each["fitness"] and each["fitness"] * factor - 7} if each["source"] == "a" else each
            for each in scored
        ]
        first, second = (known_points(begun, Codec(begun)) for begun in (space(known=scored), space(known=moved)))
        if len({Codec(space()).encode(each["genes"]) for each in scored}) == len(scored):
            assert [genome for genome, _ in first] == [genome for genome, _ in second]
            assert [score for _, score in first] == [score for _, score in second]

    @drawn
    @given(GENES)
    def test_mending_changes_only_what_rules_speak_of(self, genes: dict[str, Any]) -> None:
        codec = Codec(space(constraints=RULES[:1]))
        before = codec.canonical(codec.encode(genes))
        after = codec.mend(before)
        assert after is not None
        assert codec.feasible(after)
        changed = {name for name, old, new in zip(codec.names, before, after, strict=True) if old != new}
        assert changed <= {"x", "n"}
        assert bool(changed) != codec.feasible(before)

    def test_known_text_holds_no_control_characters(self) -> None:
        with pytest.raises(SpaceError, match="must not hold control characters"):
            space(known=[entry({"x": 0.1}, 1, "a\x1b[2J")])


class TestService:
    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Iterator[Ledger]:
        with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
            yield ledger

    @pytest.fixture
    def api(self, ledger: Ledger, tmp_path: Path) -> Iterator[Api]:
        made = Api(make_app(ledger, tmp_path / "home"), add_key(ledger, "submit"))
        yield made
        made.close()

    @pytest.fixture
    def first(self, ledger: Ledger, tmp_path: Path) -> str:
        record = create(ledger, space(search={"generations": 1}), tmp_path, "first")
        run(ledger, record)
        return record.id

    def body(self, **more: Any) -> dict[str, Any]:
        return {"space": document(), "objective": "synthetic", **more}

    def test_searches_are_resolved_by_the_service(self, api: Api, ledger: Ledger, first: str) -> None:
        made = api.post("/searches", json=self.body(warm_start=[first, "first"]))
        assert made.status_code == 201
        record = ledger.search(made.json()["id"])
        known = record.document["known"]
        assert isinstance(known, list)
        assert {each["source"] for each in known} == {f'search {first} "first"'}  # type: ignore[index, call-overload]
        detail = api.get(f"/searches/{record.id}").json()
        assert detail["notes"] == record.options["notes"]
        assert "5 of 5 genes in common" in detail["notes"][0]
        checked = api.post("/check", json=self.body(warm_start=[first])).json()
        assert checked["document"]["known"] == known
        assert detail["notes"][0] in checked["notes"]

    @pytest.mark.parametrize(
        ("refs", "said"),
        [
            (["nothing"], "warm_start: search nothing: no search has this id or name"),
            (["../x\n"], "warm_start: search ../x"),
            (["/etc/passwd"], "warm_start: search /etc/passwd: no search has this id or name"),
            ([""], "must not be empty"),
            ([3], "must be text, but got 3"),
            ("first", "must be a list"),
            (["a"] * 11, "must have at most 10 items"),
            (["empty"], "must have an individual with a fitness"),
        ],
    )
    def test_what_cannot_be_read_is_refused(
        self, api: Api, ledger: Ledger, tmp_path: Path, refs: Any, said: str
    ) -> None:
        create(ledger, space(), tmp_path, "empty")
        before = ledger.search_page()[1]
        line = line_of(api.post("/searches", json=self.body(warm_start=refs)), 422)
        assert said in line
        assert line_of(api.post("/check", json=self.body(warm_start=refs)), 422) == line
        assert ledger.search_page()[1] == before

    def test_known_configurations_may_be_part_of_a_space(self, api: Api, ledger: Ledger) -> None:
        known = [entry({"x": 0.5}, 0.25, "mine")]
        for body in (
            {"space": document(known=known)},
            {"yaml": dump_yaml(document(known=known))},
            {"space": document(), "overrides": {"known": known}},
        ):
            made = api.post("/searches", json={**body, "objective": "synthetic"})
            assert ledger.search(made.json()["id"]).document["known"] == known

    @pytest.mark.parametrize(
        ("known", "said"),
        [
            ([entry({"lr0": 1})], "known[0]: unknown gene 'lr0'"),
            ([entry({"x": 7})], "known[0]: gene 'x': must lie between"),
            ([{"path": "/etc/passwd"}], "known[0]: unknown key 'path'"),
            ([entry({"x": {"a": 1}})], "known[0].genes.x"),
            ([{"genes": {}}] * 1001, "known: must have at most 1000 items"),
            ("first", "known: must be a list"),
            ([entry({}, None, "a\x1b")], "must not hold control characters"),
        ],
    )
    def test_known_configurations_are_judged(self, api: Api, known: Any, said: str) -> None:
        line = line_of(api.post("/searches", json=self.body(overrides={"known": known})), 422)
        assert said in line

    def test_genes_of_yolo_are_judged_before_the_ledger_is_asked(self, api: Api, first: str) -> None:
        line = line_of(api.post("/searches", json={"space": "demo", "data": "demo", "warm_start": [first]}), 422)
        assert "must have a gene in common with the space, but has none" in line


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    service = RunningService(tmp_path_factory.mktemp("service"))
    run(service.ledger, create(service.ledger, space(search={"generations": 1}), service.home, "first"))
    yield service
    service.close()


class TestClient:
    def test_submit_reads_files_here_and_searches_there(self, service: RunningService, tmp_path: Path) -> None:
        path, table = tmp_path / "mine.yaml", tmp_path / "table.csv"
        path.write_text(dump_yaml({**document(), "name": "mine"}))
        table.write_text("x,fitness\n0.5,0.1\n0.25,0.2\n")
        arguments = ["--space", str(path), "--objective", "synthetic", "--server", service.url]
        arguments += ["--warm-start", str(table), "--warm-start", "first", "--json"]
        said = CliRunner().invoke(app, ["submit", *arguments])
        assert said.exit_code == 0, said.output
        found = service.ledger.search(json.loads(said.stdout)["id"])
        known = found.document["known"]
        assert isinstance(known, list)
        assert [each["genes"] for each in known[:2]] == [{"x": 0.25}, {"x": 0.5}]  # type: ignore[index, call-overload]
        sources = list(dict.fromkeys(each["source"] for each in known))  # type: ignore[index, call-overload]
        assert sources[0] == "table.csv"
        assert sources[1].startswith("search ")
        assert "table.csv: 2 configurations, 1 of 5 genes in common\n" in said.stderr
        assert '"first": ' in said.stderr

    def test_what_is_too_long_for_a_request_is_thinned(self, service: RunningService, tmp_path: Path) -> None:
        table = tmp_path / "table.csv"
        table.write_text("lr0,momentum,fitness\n" + "".join(f"{i / 1e5},0.9,{i}\n" for i in range(100, 1500)))
        notes: list[str] = []
        with Client(service.url) as client:
            made = client.submit("demo", data="demo", objective="synthetic", warm_start=[table], told=notes.append)
        known = service.ledger.search(made.id).document["known"]
        assert isinstance(known, list)
        assert 100 < len(known) < 1000
        assert known[0]["fitness"] == 1499  # type: ignore[index, call-overload]
        assert f"{len(known)} of 1400 configurations, the best and an even spread of the rest" in notes[0]

    def test_files_that_are_not_there(self, service: RunningService) -> None:
        with Client(service.url) as client:
            for ref in ("gone.csv", "no/where", "a.yml"):
                with pytest.raises(InputError, match="there is no such file"):
                    client.check("demo", data="demo", objective="synthetic", warm_start=[ref])
            with pytest.raises(InputError, match="warm_start: search gone: no search"):
                client.check("demo", data="demo", objective="synthetic", warm_start=["gone"])


def test_mlflow_is_told_how_many_are_known(tmp_path: Path) -> None:
    from evolve.tracking.names import search_params

    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        record = create(ledger, space(known=[entry({"x": 0.5})] * 7), tmp_path)
    assert search_params(record)["space/known"] == "7"


def test_a_search_over_the_python_interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evolve import run_search

    monkeypatch.setitem(sys.modules, "mlflow", None)  # cannot be imported
    table = tmp_path / "table.csv"
    table.write_text("x,fitness\n0.5,0.1\n")
    small = space(search={"generations": 1, "population": 2})
    search = run_search(small, warm_start=[table], home=tmp_path, objective=OBJECTIVE, inline=True)
    assert search.state is SearchState.COMPLETED
    begun = SearchSpace.from_document(search.record.document, "test")
    assert [(dict(each.genes), each.fitness) for each in begun.known] == [({"x": 0.5}, 0.1)]
    with Ledger(f"sqlite:///{tmp_path}/evolve.db") as ledger:
        assert from_search(search.id, ledger).rows
