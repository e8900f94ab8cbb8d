"""Search space documents: reading, every rule with its message, and the spaces that are shipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml as pyyaml
from ruamel.yaml import YAML

from evolve.exceptions import InputError, SpaceError
from evolve.fitness import Fitness
from evolve.space import SearchSettings, SearchSpace, StopSettings, load_space, shipped_spaces
from evolve.trial import FailureKind, TrialFailed
from evolve.yaml_io import MAX_BYTES, dump_yaml, parse_yaml, read_yaml

LR0 = {"type": "float", "low": 1e-5, "high": 0.1, "log": True, "default": 0.01}
BATCH = {"type": "int", "low": 4, "high": 64, "default": 16}
OPTIMIZER = {"type": "categorical", "choices": ["SGD", "AdamW"], "default": "SGD"}
MOMENTUM = {"type": "float", "low": 0.6, "high": 0.98, "default": 0.937, "when": {"optimizer": "SGD"}}


def space(genes: dict | None = None, **document) -> SearchSpace:
    genes = {"lr0": LR0, "batch": BATCH} if genes is None else genes
    return SearchSpace.from_document({"genes": genes, **document}, "spaces/test.yaml")


def refusal(genes: dict | None = None, **document) -> str:
    with pytest.raises(SpaceError) as caught:
        space(genes, **document)
    message = str(caught.value)
    assert message.startswith("spaces/test.yaml: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix("spaces/test.yaml: ")


class TestReading:
    def test_yaml_1_2_rules(self):
        text = "a: 1e-5\nb: 010\nc: 12:30:45\nd: yes\ne: [.5, -3, 0x1F, 0o17, ~, True]\nf: 1_000\ng: 2001-12-14"
        assert parse_yaml(text, "x") == {
            "a": 1e-5,
            "b": 10,
            "c": "12:30:45",
            "d": "yes",
            "e": [0.5, -3, 31, 15, None, True],
            "f": "1_000",
            "g": "2001-12-14",
        }

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "x.yaml: the document is empty; it must map keys to values"),
            ("- 1", "x.yaml:1:1: the document must map keys to values"),
            ("a: &b 1", "x.yaml:1:4: anchors are not allowed; write the value out where it is needed"),
            ("a: *b", "x.yaml:1:4: aliases are not allowed; write the value out"),
            ("a: !!float 1", "x.yaml:1:4: tags are not allowed, but got 'tag:yaml.org,2002:float'; remove it"),
            ("&b {a: 1}", "x.yaml:1:1: anchors and tags are not allowed; remove them"),
            ("a: 1\n<<: {b: 2}", "x.yaml:2:1: merge keys (<<) are not allowed; write the keys out"),
            ("a: 1\nb: 2\na: 3", "x.yaml:3:1: key 'a' is given twice; remove one of them"),
            ("1: 2", "x.yaml:1:1: a key must be text, but got 1; put it in quotes"),
            ("{[1]: 2}", "x.yaml:1:2: a key must be text, but got [1]; put it in quotes"),
            ("a: .nan", "x.yaml:1:4: numbers must be finite, but got .nan"),
            ("a: -.inf", "x.yaml:1:4: numbers must be finite, but got -.inf"),
            ("a: 1e999", "x.yaml:1:4: the number is too large: 1e999"),
            ("a: " + "9" * 5000, "x.yaml:1:4: the number is too large: " + "9" * 40),
            ("%YAML 1.1\n---\na: 1", "x.yaml:2:1: directives (%YAML, %TAG) are not allowed; remove them"),
            ("a: 1\n---\nb: 2", "x.yaml:2:1: a file holds one document; remove what follows '---'"),
            ("a: " + "[" * 17, "x.yaml:1:19: nesting goes at most 16 levels deep; flatten it"),
            ("[" * 60_000, "x.yaml:1:1: the document must map keys to values"),
            ("a: b: c", "x.yaml:1:5: this is not valid YAML: mapping values are not allowed here"),
            ("a: x" + "y" * MAX_BYTES, "x.yaml: a document may hold at most 64 KiB; make it shorter"),
            (
                'a: "\\ud800"',
                "x.yaml:1:4: text must be valid Unicode without NUL; remove the odd escape",
            ),
            (
                "a:\n  - [1, 2",
                "x.yaml:2:10: this is not valid YAML: while parsing a flow sequence "
                "expected ',' or ']', but got '<stream end>'",
            ),
        ],
    )
    def test_one_line_for_what_is_wrong(self, text, message):
        with pytest.raises(InputError) as caught:
            parse_yaml(text, "x.yaml")
        assert str(caught.value) == message

    @pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"', "a: \x01", "\ud800: 1", "%YAML x\n---\na: 1", "a: |9x\n"])
    def test_no_hostile_text_gets_past_the_scanner(self, text):
        with pytest.raises(InputError, match=r"^x.yaml[^\n]*not valid YAML[^\n]*$"):
            parse_yaml(text, "x.yaml")

    def test_files(self, tmp_path):
        path = tmp_path / "a.yaml"
        path.write_bytes(b"\xef\xbb\xbfa: caf\xc3\xa9\r\n")
        assert read_yaml(path) == {"a": "café"}
        path.write_bytes(b"a: caf\xe9")
        with pytest.raises(SpaceError, match=r"must be UTF-8, but byte 6 is not; save it as UTF-8"):
            read_yaml(path, error=SpaceError)
        path.write_bytes(b"#" * (MAX_BYTES + 1))
        with pytest.raises(InputError, match="at most 64 KiB"):
            read_yaml(path)
        with pytest.raises(InputError, match="cannot be read: No such file"):
            read_yaml(tmp_path / "nowhere.yaml")
        with pytest.raises(InputError, match="cannot be read: Is a directory"):
            read_yaml(tmp_path)

    def test_numbered_keys(self):
        assert parse_yaml("names: {0: cat, 1: dog}", "x", numbered_keys=True) == {"names": {"0": "cat", "1": "dog"}}
        with pytest.raises(InputError, match="'0' is given twice"):
            parse_yaml("names: {0: cat, '0': dog}", "x", numbered_keys=True)
        with pytest.raises(InputError, match="a key must be text, but got True"):
            parse_yaml("true: 1", "x", numbered_keys=True)

    def test_written_yaml_reads_the_same_by_both_versions(self):
        mapping = {
            "lr0": 1e-05,
            "numbers": [1e22, -1e-300, 0.1 + 0.2, 3, -0.0, 1e16],
            "words": ["yes", "No", "on", "null", "~", "", "010", "12:30:45", "1e-5", "=", "<<", "- a", "a: b", "#"],
            "odd": {"n": "y", "text": "é\u2028\x7f\x85\U0001f600 \n\t", "long": "word " * 100, "empty": [{}, []]},
            "z": None,
            "a": True,
        }
        text = dump_yaml(mapping)
        for read in (
            parse_yaml(text, "x"),
            pyyaml.safe_load(text),
            YAML(typ="safe", pure=True).load(text),
        ):
            assert read == mapping
            assert list(read) == list(mapping)
        assert text.startswith("lr0: 1.0e-05\n")
        assert parse_yaml(dump_yaml({}), "x") == {}


class TestGenes:
    @pytest.mark.parametrize(
        ("gene", "message"),
        [
            ({**LR0, "low": 0}, "low > 0 must hold on a log scale, but got low=0"),
            ({**LR0, "low": 0.2}, "low < high must hold, but got low=0.2, high=0.1"),
            ({**LR0, "high": 1e-5}, "low < high must hold, but got low=1e-05, high=1e-05"),
            ({**LR0, "default": 1}, "default must lie between low=1e-05 and high=0.1, but got 1"),
            ({**LR0, "low": "1e-5"}, "low: must be a number, but got '1e-5'"),
            ({**LR0, "low": True}, "low: must be a number, but got True"),
            ({**LR0, "low": None}, "low: must be a number, but got null"),
            ({**LR0, "high": float("inf")}, "high: must be finite, but got inf"),
            ({**LR0, "high": 10**400}, "high: must be a number, but got 1000"),
            ({**LR0, "high": 1e200}, "bounds must be of a size from 1e-100 to 1e+100"),
            ({**LR0, "low": 1e-200}, "bounds must be of a size from 1e-100 to 1e+100"),
            ({**LR0, "low": 0.1 - 1e-12}, "high must exceed low by a millionth"),
            ({**LR0, "log": "yes"}, "log: must be true or false, but got 'yes'"),
            ({**LR0, "lwo": 1}, "unknown key 'lwo'; did you mean 'low'?"),
            ({**LR0, "type": "flaot"}, "type must be one of 'float', 'int', 'categorical', 'boolean', but got"),
            ({"low": 1, "high": 2, "default": 1}, "key 'type' is required: float, int, categorical or boolean"),
            ({"type": "float", "low": 1, "high": 2}, "default: the key is required; add it"),
            ({**BATCH, "low": 4.0}, "low: must be a whole number, but got 4.0"),
            ({**BATCH, "high": 10**15}, "bounds must lie within +-10**12, but got low=4, high=1000000000000000"),
            ({**BATCH, "low": -1, "log": True}, "low > 0 must hold on a log scale, but got low=-1"),
            ({**OPTIMIZER, "choices": ["SGD"]}, "choices must be 2 to 64 values, but got 1"),
            ({**OPTIMIZER, "choices": list(range(65))}, "choices must be 2 to 64 values, but got 65"),
            ({**OPTIMIZER, "choices": ["SGD", "SGD"]}, "choices must be distinct, but got ['SGD', 'SGD']"),
            ({**OPTIMIZER, "choices": ["SGD", None]}, "choices[1]: must be a number, text, true or false, but got"),
            ({**OPTIMIZER, "choices": "SGD"}, "choices: must be a list, but got 'SGD'"),
            ({**OPTIMIZER, "default": "Adam"}, "default must be one of 'SGD', 'AdamW', but got 'Adam'"),
            ({"type": "boolean", "default": 1}, "default: must be true or false, but got 1"),
            (3, "must be a mapping, but got 3"),
        ],
    )  # fmt: skip
    def test_rules(self, gene, message):
        assert refusal({"x": gene}).startswith(f"gene 'x': {message}")

    @pytest.mark.parametrize(
        ("when", "message"),
        [
            ({"optimiser": "SGD"}, "when: unknown gene 'optimiser'; did you mean 'optimizer'?"),
            ({"optimizer": "sgd"}, "when: optimizer must be one of 'SGD', 'AdamW', but got 'sgd'"),
            ({"batch": 128}, "when: batch must lie between low=4 and high=64, but got 128"),
            ({"batch": 8.0}, "when: batch must be a whole number, but got 8.0"),
            ({"lr0": 0.01}, "when: a condition needs a categorical, boolean or int gene, but 'lr0' is a float"),
            ({"optimizer": []}, "when.optimizer: at least one value is needed, but the list is empty"),
            ({"optimizer": [None]}, "when.optimizer[0]: must be a number, text, true or false, but got null"),
            ("optimizer", "when: must be a mapping, but got 'optimizer'"),
        ],
    )
    def test_conditions(self, when, message):
        genes = {"lr0": LR0, "batch": BATCH, "optimizer": OPTIMIZER, "momentum": {**MOMENTUM, "when": when}}
        assert refusal(genes) == f"gene 'momentum': {message}"

    def test_cycles(self):
        flag = {"type": "boolean", "default": True}
        genes = {"a": {**flag, "when": {"b": True}}, "b": {**flag, "when": {"a": True}}}
        assert refusal(genes).startswith("genes: conditions must not form a cycle, but got ")
        assert "cycle, but got a -> a" in refusal({"a": {**flag, "when": {"a": True}}})

    def test_names_and_number(self):
        assert refusal({}) == "genes: 1 to 200 genes are needed, but got 0"
        assert "1 to 200 genes are needed, but got 201" in refusal({f"x{i}": LR0 for i in range(201)})
        assert "a name must be a letter or '_'" in refusal({"a b": LR0})
        assert "but got 'a\\nb'" in refusal({"a\nb": LR0})
        assert len(space({f"x{i}": LR0 for i in range(200)}).genes) == 200

    def test_truth_is_not_one(self):
        flags = {"type": "categorical", "choices": [0, 1], "default": 1}
        assert refusal({"x": {**flags, "default": True}}).endswith("default must be one of 0, 1, but got True")


class TestDocument:
    @pytest.mark.parametrize(
        ("document", "message"),
        [
            ({"trian": {}}, "unknown key 'trian'; did you mean 'train'?"),
            ({"model": 12}, "model: must be text, but got 12"),
            ({"name": "a b"}, "name: must be letters, digits, '.', '_' or '-', at most 100, but got 'a b'"),
            ({"train": {"a b": 1}}, "train: a name must be a letter or '_'"),
            ({"train": {"epochs": float("nan")}}, "train.epochs: must be finite, but got nan"),
            ({"train": [1]}, "train: must be a mapping, but got [1]"),
            ({"fitness": 3}, "fitness: must be a metric's name or a mapping {metric: weight}, but got 3"),
            ({"fitness": {}}, "fitness: must be a metric's name or a mapping"),
            ({"fitness": {"mAP": "1"}}, "fitness: the weight of 'mAP' must be a finite number, but got '1'"),
            ({"fitness": {"mAP": 0}}, "fitness: one of the weights must differ from 0"),
            ({"search": {"poplation": 3}}, "search: unknown key 'poplation'; did you mean 'population'?"),
            ({"search": {"population": 1}}, "search.population: must be >= 2, but got 1"),
            ({"search": {"population": 4.0}}, "search.population: must be a whole number, but got 4.0"),
            ({"search": {"elites": 8}}, "search: elites < population must hold, but got elites=8, population=8"),
            ({"search": {"start": "random"}}, "search.start: must be one of 'sobol' or 'latin_hypercube', but got"),
            ({"search": {"mutation_probability": 0.0}}, "search.mutation_probability: must be > 0, but got 0.0"),
            ({"search": None}, "search: must be a mapping, but got null"),
            ({"stop": {"hours": 0}}, "stop.hours: must be > 0, but got 0"),
            ({"stop": {"target": "best"}}, "stop.target: must be a number, but got 'best'"),
            ({"constraints": "lr0 < 1"}, "constraints: must be a list, but got 'lr0 < 1'"),
            ({"constraints": ["lr0 < 1"] * 51}, "constraints: must have at most 50 items, but got ["),
            ({"constraints": [1]}, "constraints[0]: must be an expression in quotes, but got 1"),
            ({"constraints": ["lr0 <"]}, "constraints[0]: 'lr0 <' is not an expression: invalid syntax"),
            ({"constraints": ["lr < 1"]}, "constraint 'lr < 1': unknown name 'lr'; did you mean 'lr0'?"),
            (
                {"constraints": ["lr0 < 0.005"]},
                "constraint 'lr0 < 0.005': the default configuration must satisfy it, but does not; change",
            ),
            (
                {"constraints": ["lr0 > 0", "lr0 == 0.01"]},
                "constraints: some configurations must satisfy all of them, but none of 1000 drawn ones did; "
                "'lr0 == 0.01' failed most (1000 times): loosen it or widen the genes' ranges",
            ),
        ],
    )  # fmt: skip
    def test_rules(self, document, message):
        assert refusal(**document).startswith(message)

    def test_genes_are_required(self):
        with pytest.raises(SpaceError, match=r"^x.yaml: genes: the key is required; add it$"):
            SearchSpace.from_document({}, "x.yaml")

    def test_round_trip(self):
        for name in shipped_spaces():
            original = load_space(name)
            copy = SearchSpace.from_document(json.loads(json.dumps(original.document())), "elsewhere.yaml")
            assert copy == original
            assert list(copy.genes) == list(original.genes)
            assert SearchSpace.from_document(parse_yaml(dump_yaml(original.document()), "x"), "x") == original

    def test_is_frozen(self):
        with pytest.raises(ValueError, match="frozen"):
            space().model = "yolo12x"
        with pytest.raises(ValueError, match="frozen"):
            space().genes["lr0"].low = 3

    def test_constraints_see_plain_train_settings(self):
        found = space(train={"imgsz": 1280, "nested": {"a": [1]}}, constraints=["batch <= 32 or imgsz <= 640"])
        assert found.check({"lr0": 0.01, "batch": 32}) == []
        assert found.check({"lr0": 0.01, "batch": 33}) == ["constraint 'batch <= 32 or imgsz <= 640' is violated"]
        assert "unknown name 'nested'" in refusal(train={"nested": {"a": 1}}, constraints=["nested == 1"])

    def test_a_gene_wins_over_a_train_setting_while_it_exists(self):
        genes = {"optimizer": OPTIMIZER, "momentum": MOMENTUM}
        found = space(genes, train={"momentum": 0.5}, constraints=["momentum > 0.55 or optimizer == 'AdamW'"])
        assert found.check({"optimizer": "SGD", "momentum": 0.7}) == []
        assert found.check({"optimizer": "AdamW"}) == []

    def test_a_constraint_on_a_gene_that_does_not_exist_does_not_apply(self):
        found = space({"optimizer": OPTIMIZER, "momentum": MOMENTUM}, constraints=["momentum < 0.95"])
        assert found.check({"optimizer": "SGD", "momentum": 0.97}) != []
        assert found.check({"optimizer": "AdamW"}) == []

    def test_check_names_every_broken_rule(self):
        found = space({"optimizer": OPTIMIZER, "momentum": MOMENTUM, "batch": BATCH})
        assert found.check({"optimizer": "SGD", "momentum": 0.9, "batch": 8}) == []
        assert found.check({"optimizer": "Adam", "momentum": 0.9, "batch": 8.5, "lr": 1}) == [
            "unknown gene 'lr'; known are optimizer, momentum, batch",
            "gene 'optimizer': must be one of 'SGD', 'AdamW', but got 'Adam'",
            "gene 'batch': must be a whole number, but got 8.5",
        ]
        assert found.check({"optimizer": "AdamW", "momentum": 0.9}) == [
            "gene 'batch': a value is required",
            "gene 'momentum': does not exist under these conditions",
        ]

    def test_default_leaves_out_what_does_not_exist(self):
        genes = {"optimizer": {**OPTIMIZER, "default": "AdamW"}, "momentum": MOMENTUM}
        assert space(genes).default() == {"optimizer": "AdamW"}
        assert space(genes).active({"optimizer": "SGD"}) == {"optimizer", "momentum"}


class TestLoading:
    def test_shipped_spaces_load_by_name(self):
        assert set(shipped_spaces()) >= {"demo", "reference", *(f"yolo12{size}" for size in "nsmlx")}
        for name in shipped_spaces():
            assert load_space(name) == load_space(f"{name}.yaml")
            assert load_space(name).check(load_space(name).default()) == []

    def test_the_reference_names_every_key(self):
        document = read_yaml(Path(__file__).parents[1] / "search_spaces" / "reference.yaml")
        assert document.keys() == SearchSpace.model_fields.keys()
        assert document["search"] == SearchSettings().model_dump()
        assert document["stop"].keys() == StopSettings.model_fields.keys()
        fields = {key for gene in load_space("reference").genes.values() for key in type(gene).model_fields}
        assert {key for gene in document["genes"].values() for key in gene} == fields

    def test_bigger_models_have_smaller_batches(self):
        highs = [load_space(f"yolo12{size}").genes["batch"].high for size in "nsmlx"]
        assert highs == sorted(highs, reverse=True)

    def test_a_file_wins_over_a_shipped_space(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("my space.yaml").write_text(dump_yaml({"genes": {"lr0": LR0}}))
        assert load_space("my space.yaml").name == "my-space"
        Path("demo").write_text(dump_yaml({"genes": {"x": LR0}}))
        assert list(load_space("demo").genes) == ["x"]

    def test_unknown_space(self):
        with pytest.raises(
            SpaceError,
            match=r"^nope: there is no such file .* shipped are demo, reference, yolo12_tradeoff, yolo12l",
        ):
            load_space("nope")
        with pytest.raises(SpaceError):
            load_space("../pyproject")
        with pytest.raises(SpaceError):
            load_space("")

    def test_messages_name_the_file_as_it_was_given(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("a.yaml").write_text("genes: {lr0: {type: float, low: 0, high: 1, log: true, default: 1}}")
        with pytest.raises(SpaceError) as caught:
            load_space("a.yaml")
        assert str(caught.value) == "a.yaml: gene 'lr0': low > 0 must hold on a log scale, but got low=0"
        Path("a.yaml").write_text("genes: [")
        with pytest.raises(SpaceError, match=r"^a.yaml:1:9: this is not valid YAML"):
            load_space("a.yaml")

    def test_overrides(self):
        overrides = {
            "search.generations": 2,
            "train.epochs": 3,
            "data": "x.yaml",
            "genes.batch.high": 16,
            "stop.hours": 1,
        }
        found = load_space("demo", overrides)
        assert (found.search.generations, found.train["epochs"], found.data) == (2, 3, "x.yaml")
        assert (found.genes["batch"].high, found.stop.hours) == (16, 1)
        assert load_space("demo").search.generations == 3
        with pytest.raises(SpaceError, match=r"search_spaces/demo.yaml: search: unknown key 'generation'"):
            load_space("demo", {"search.generation": 2})
        with pytest.raises(SpaceError, match=r"model.x: 'model' must be a mapping, but got 'yolo12p'"):
            load_space("demo", {"model.x": 2})


class TestFitness:
    def test_parse_and_document_are_inverse(self):
        for value in ("metrics/mAP50(B)", {"a": 0.5, "b": -2.0}, {"a": 3.0}):
            assert Fitness.parse(value).document() == value
        assert Fitness.parse({"a": 1}).document() == "a"

    def test_value_and_text(self):
        fitness = Fitness({"mAP": 1.0, "latency": -0.01})
        assert fitness.of({"mAP": 0.5, "latency": 10.0, "other": 3.0}) == pytest.approx(0.4)
        assert str(fitness) == "mAP + -0.01 * latency"

    def test_a_missing_metric_names_what_there_is(self):
        with pytest.raises(
            TrialFailed, match=r"needs the metric mAP, which was not reported; it reports a, b"
        ) as caught:
            Fitness({"mAP": 1.0}).of({"a": 1.0, "b": 2.0})
        assert caught.value.failure.kind is FailureKind.CODE

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_what_is_not_finite_has_diverged(self, value):
        with pytest.raises(TrialFailed, match="not a finite number: mAP=") as caught:
            Fitness({"mAP": 1.0}).of({"mAP": value})
        assert caught.value.failure.kind is FailureKind.DIVERGED
