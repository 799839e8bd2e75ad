"""The task file: every wrong field is named at once with its line and what would be right; every value has a source."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold import spec
from freehold.errors import TaskFileError
from freehold.records import AnswerType, Provenance

HEAD = "task: t\ndescription: d\n"
DATA = "data: {source: x.csv}\n"

Fault = Callable[[str], list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], spec.TaskFile]:
    def call(text: str) -> spec.TaskFile:
        path = tmp_path / "t.yaml"
        path.write_text(text, encoding="utf-8")
        return spec.load(path)

    return call


@pytest.fixture
def faults(load: Callable[[str], spec.TaskFile], tmp_path: Path) -> Fault:
    """The lines of the error, without the folder."""

    def call(text: str) -> list[str]:
        with pytest.raises(TaskFileError) as caught:
            load(text)
        return str(caught.value).replace(f"{tmp_path}/", "").splitlines()

    return call


# -- wrong files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # an unknown key, with the near name and the line
        (HEAD + "data:\n  source: x\n  anwser: y\n", "t.yaml:5: data.anwser is not a field; did you mean data.answer?"),
        (HEAD + DATA + "dta: 1\n", "t.yaml:4: dta is not a field; did you mean data?"),
        (HEAD + DATA + "zzzz: 1\n", "t.yaml:4: zzzz is not a field"),
        (HEAD + DATA + "use: {text: x}\n", "t.yaml:4: use.text is not a field"),
        (HEAD + DATA + "1: 2\n", "t.yaml:4: 1 is not a field"),
        # tags
        (HEAD + DATA + "answer:\n  type: lable\n", "t.yaml:5: answer.type is 'lable'; it may be label or json or text"),
        (
            HEAD + DATA + "answer: {labels: [a, b]}\n",
            "t.yaml:4: answer.type is missing; it may be label or json or text",
        ),
        (
            HEAD + DATA + "tune: {method: full}\n",
            "t.yaml:4: tune.method is 'full'; it may be lora or upper-lora or none",
        ),
        (
            HEAD + DATA + "tune: {method: none, rank: 3}\n",
            "t.yaml:4: tune.rank does not go with this tune.method; leave it out",
        ),
        (HEAD + DATA + "tune: {method: lora, rnk: 3}\n", "t.yaml:4: tune.rnk is not a field; did you mean tune.rank?"),
        # wrong types and values
        (HEAD + "data: x.csv\n", "t.yaml:3: data is 'x.csv', but it should hold fields of its own"),
        (HEAD + "data:\n", "t.yaml:3: data is empty, but it should hold fields of its own"),
        (HEAD + DATA + "decide: {margin: lots}\n", "t.yaml:4: decide.margin is 'lots', but it should be a number"),
        (HEAD + DATA + "decide: {margin: -1}\n", "t.yaml:4: decide.margin is -1, but it should be greater than 0"),
        (HEAD + "data: {source: x, limit: 1.5}\n", "t.yaml:3: data.limit is 1.5, but it should be a whole number"),
        (
            HEAD + "data: {source: 2024-01-01}\n",
            "t.yaml:3: data.source is 2024-01-01, but it should be text; put it in",
        ),
        (HEAD + "data: {source: [x]}\n", "t.yaml:3: data.source is ['x'], but it should be text"),
        (
            HEAD + DATA + "use: {commercial: maybe}\n",
            "t.yaml:4: use.commercial is 'maybe', but it should be true or fal",
        ),
        (
            "task: Front Line!\ndescription: d\n" + DATA,
            "t.yaml:1: task is 'Front Line!', but it may hold only a–z, 0–9",
        ),
        ("task: t\ndescription: ''\n" + DATA, "t.yaml:2: description is '', but it should say something"),
        (HEAD + DATA + "candidates: smollm2\n", "t.yaml:4: candidates is 'smollm2', but it should be a list, such as"),
        (
            HEAD + DATA + "answer: {type: text}\ncandidates: []\n",
            "t.yaml:5: candidates names no model; only labels can do without one",
        ),
        (HEAD + DATA + "candidates: [a, a]\n", "t.yaml:4: candidates names a model twice"),
        (
            HEAD + DATA + "candidates: {max_params: huge}\n",
            "t.yaml:4: candidates.max_params is 'huge', but it should be ",
        ),
        # labels
        (HEAD + DATA + "answer: {type: label, labels: [a, a]}\n", "t.yaml:4: answer.labels names 'a' twice"),
        (HEAD + DATA + "answer: {type: label, labels: [a]}\n", "t.yaml:4: answer.labels names fewer than two labels"),
        (HEAD + DATA + "answer: {type: label, labels: ['', a]}\n", "t.yaml:4: answer.labels holds an empty label"),
        # JSON answers
        (HEAD + DATA + "answer: {type: json}\n", "t.yaml:4: answer.schema is missing; `freehold spec --schema` says"),
        (
            HEAD + DATA + "answer: {type: json, schema: {type: banana}}\n",
            "t.yaml:4: answer.schema is not a JSON Schema: 'banana'",
        ),
        # the incumbent
        (
            HEAD + DATA + "incumbent: {model: m, api_key: sk-secret}\n",
            "t.yaml:4: incumbent.api_key is a literal key; write a reference to the environment",
        ),
        (
            HEAD + DATA + "incumbent: {model: m, price: {input: 1, output: 1, currency: dollars}}\n",
            "t.yaml:4: incumbent.price.currency is 'dollars', but it should be a currency's three capitals",
        ),
        # a metric of another answer type
        (
            HEAD + DATA + "decide:\n  metric: rouge_l\n",
            "t.yaml:5: decide.metric is rouge_l, which does not fit answer.type label; write accuracy",
        ),
        # a field that stands twice
        (HEAD + "data:\n  source: x\n  source: y\n", "t.yaml:5: data.source stands twice; keep one"),
        # not YAML, or not a task file
        (HEAD + "data: [\n", "t.yaml:4: not YAML: while parsing a flow node, expected the node content"),
        (HEAD + "data:\n\tsource: x\n", "t.yaml:4: not YAML: while scanning for the next token, found character '\\t'"),
        (HEAD + DATA + "---\na: 1\n", "t.yaml:4: not YAML: expected a single document"),
        ("data: !!python/object/apply:os.system ['true']\n", "t.yaml:1: not YAML: could not determine a constructor"),
        ("task: \x00", "t.yaml: not YAML: it holds a character that no text file may hold"),
        ("data: " + "[" * 3000 + "]" * 3000, "t.yaml: is nested too deeply for a task file"),
        ("", "t.yaml: a task file is a list of `field: value` lines; `freehold init` writes one"),
        ("- a\n", "t.yaml: a task file is a list of `field: value` lines; `freehold init` writes one"),
    ],
)
def test_one_sentence_says_what_where_and_what_would_be_right(faults: Fault, text: str, said: str) -> None:
    (sentence,) = faults(text)
    assert sentence.startswith(said)


def test_all_faults_are_named_at_once(faults: Fault) -> None:
    assert faults("task: t\ndata: {sorce: x, limit: 0}\nuse: {comercial: true}\n") == [
        "t.yaml: description is missing; `freehold spec --schema` says what it holds",
        "t.yaml:2: data.source is missing; `freehold spec --schema` says what it holds",
        "t.yaml:2: data.limit is 0, but it should be greater than 0",
        "t.yaml:2: data.sorce is not a field; did you mean data.source?",
        "t.yaml:3: use.comercial is not a field; did you mean use.commercial?",
    ]


def test_what_yaml_takes_for_another_type_is_to_be_quoted(faults: Fault) -> None:
    assert faults(HEAD + DATA + "answer:\n  type: label\n  labels:\n    - yes\n    - 7\n") == [
        "t.yaml:7: answer.labels.0 is true, but it should be text; put it in quotes",
        "t.yaml:8: answer.labels.1 is 7, but it should be text; put it in quotes",
    ]


def test_a_literal_key_is_never_repeated(faults: Fault) -> None:
    said = faults(HEAD + DATA + "incumbent: {model: m, api_key: 'sk-live-123 ${X}'}\n")
    assert "sk-live-123" not in "".join(said)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TaskFileError, match=r"no such file; `freehold init .*none\.yaml` writes one"):
        spec.load(tmp_path / "none.yaml")
    with pytest.raises(TaskFileError, match="is a folder; name the task file in it"):
        spec.load(tmp_path)
    (tmp_path / "t.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TaskFileError, match="is not UTF-8 text"):
        spec.load(tmp_path / "t.yaml")


FIELDS = ["task", "description", "answer", "data", "incumbent", "use", "candidates", "tune", "decide", "seed", "judge"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats()
    | st.sampled_from(["label", "json", "lora", "x", "${A}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "labels", "schema", "source", "method", "rank", "model", "price", "margin", "input"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(content=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6))
def test_any_content_either_loads_or_is_a_list_of_sentences(
    content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        spec.load(path)
    except TaskFileError as error:
        for line in str(error).splitlines():
            assert line.startswith(str(path)) and ": " in line
            assert "tag" not in line and "Input" not in line and "instance of" not in line


# -- right files -----------------------------------------------------------------------------------------------------


def test_what_is_left_out_has_its_default(load: Callable[[str], spec.TaskFile]) -> None:
    task = load(HEAD + DATA).task
    assert task.answer_type is AnswerType.LABEL
    assert task.metric == "accuracy"
    assert task.data.provenance is Provenance.HUMAN
    assert task.candidates == ("smollm2-135m-instruct",)
    assert isinstance(task.tune, spec.LoraSettings)
    assert task.use.commercial is None
    assert (task.decide.margin, task.decide.confidence, task.seed) == (0.02, 0.95, 0)


@pytest.mark.parametrize(
    ("answer", "metric"),
    [
        ("{type: label}", "accuracy"),
        ("{type: json, schema: {type: object}}", "exact_match"),
        ("{type: text}", "rouge_l"),
    ],
)
def test_the_metric_follows_the_answer(load: Callable[[str], spec.TaskFile], answer: str, metric: str) -> None:
    assert load(HEAD + DATA + f"answer: {answer}\n").task.metric == metric


def test_each_form_of_a_tagged_field_loads(load: Callable[[str], spec.TaskFile]) -> None:
    task = load(
        HEAD + DATA + "answer: {type: text, max_tokens: 9}\ntune: {method: none}\ncandidates: {max_params: 1B}\n"
    )
    assert isinstance(task.task.answer, spec.TextAnswer) and task.task.answer.max_tokens == 9
    assert isinstance(task.task.tune, spec.NoTuning)
    assert isinstance(task.task.candidates, spec.CandidateFilter) and task.task.candidates.max_params == "1B"


def test_any_script_in_labels_and_description(load: Callable[[str], spec.TaskFile]) -> None:
    file = load("task: t\ndescription: صنّف الرسالة\n" + DATA + "answer: {type: label, labels: [راتب, 安全, gaji]}\n")
    assert isinstance(file.task.answer, spec.LabelAnswer)
    assert file.task.answer.labels == ("راتب", "安全", "gaji")
    assert file.task.description == "صنّف الرسالة"


def test_every_resolved_value_says_where_it_came_from(load: Callable[[str], spec.TaskFile]) -> None:
    rows = spec.resolved(load(HEAD + "data:\n  source: x.csv\n  redact: true\n"))
    found = {row.field: (row.value, row.source) for row in rows}
    assert found["data.source"] == ("x.csv", "t.yaml:4")
    assert found["data.redact"] == (True, "t.yaml:5")
    assert found["data.input"] == ("text", "default")
    assert found["decide.margin"] == (0.02, "default")
    assert found["candidates"] == (["smollm2-135m-instruct"], "default")
    assert len(found) == len(rows)


def test_references_to_the_environment(
    load: Callable[[str], spec.TaskFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = load(HEAD + "data: {source: '${WHERE}/x.csv'}\n")
    with pytest.raises(
        TaskFileError, match=r"environment variable WHERE is not set; the task file refers to \${WHERE}"
    ):
        file.resolve(file.task.data.source)
    monkeypatch.setenv("WHERE", "sub")
    assert file.resolve(file.task.data.source) == tmp_path / "sub" / "x.csv"
    assert spec.expand("$WHERE and {WHERE} stay") == "$WHERE and {WHERE} stay"


def test_a_key_reference_is_kept_as_a_reference(
    load: Callable[[str], spec.TaskFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-live-123")
    file = load(HEAD + DATA + "incumbent: {model: m, api_key: '${OPENAI_API_KEY}'}\n")
    assert file.task.incumbent is not None and file.task.incumbent.api_key == "${OPENAI_API_KEY}"
    assert "sk-live-123" not in str(spec.resolved(file))


# -- the schema ------------------------------------------------------------------------------------------------------


def test_the_schema_accepts_what_loads_and_refuses_what_does_not(load: Callable[[str], spec.TaskFile]) -> None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(spec.schema())
    examples = Path(__file__).parent.parent / "examples"
    for path in examples.glob("*/*.yaml"):
        spec.load(path)
        assert validator.is_valid(yaml.safe_load(path.read_text()))
    assert not validator.is_valid({"task": "t", "description": "d", "data": {"source": "x", "anwser": "y"}})
    assert not validator.is_valid({"task": "t"})


def test_every_field_of_the_schema_has_a_sentence() -> None:
    schema = spec.schema()
    sections = {"Task": schema, **schema["$defs"]}
    silent = [
        f"{name}.{field}"
        for name, section in sections.items()
        for field, about in section.get("properties", {}).items()
        if not (about.get("description") or sections[about["$ref"].rpartition("/")[2]].get("description"))
    ]
    assert not silent
