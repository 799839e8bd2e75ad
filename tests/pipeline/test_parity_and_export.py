"""A tuned adapter on its way out: compared with the trainer, written for other servers, and what is refused."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from things import things, write_task

from freehold import spec
from freehold.data import build as data
from freehold.data import freeze
from freehold.engines import ways
from freehold.engines.random_adapter import write_random_adapter
from freehold.errors import ModelFileError, NotFoundError, RefusedError, UserError
from freehold.evaluation import adapter_parity, parity
from freehold.evaluation.adapter_parity import Wanted
from freehold.evaluation.parity import Figures, Parity
from freehold.evaluation.statistics import wilson
from freehold.progress import SILENT
from freehold.records import AdapterManifest, Base, Message
from freehold.render import ChatTemplate, Prompt, Renderer
from freehold.store import exports
from freehold.store.layout import ADAPTER_GGUF, BASE_FILE, WEIGHTS_FILE, encoded_file, passed, serving_weights
from freehold.store.taints import Taint, mark
from freehold.store.workspace import Workspace, file_sha256, read_record
from freehold.tuning import adapter
from freehold.tuning.export import FORMATS, Order, adapters_of, export
from freehold.tuning.modelfile import go_template, modelfile
from freehold.tuning.recipe import LoraRecipe

RECIPE = LoraRecipe(rank=4, alpha=8.0, learning_rate=1e-2, epochs=2, batch_tokens=256)


@pytest.fixture(scope="module")
def tuned(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, AdapterManifest]:
    """A workspace with a dataset and an adapter that was really tuned on the tiny base."""
    folder = tmp_path_factory.mktemp("tuned")
    workspace = Workspace(folder / ".freehold")
    shutil.copytree(tiny_base, workspace.models / "smollm2-135m-instruct")
    file = spec.load(write_task(folder, things()))
    dataset = data.build(file, workspace, SILENT)
    base = read_record(workspace.models / "smollm2-135m-instruct" / BASE_FILE, Base)
    tuning = adapter.Tuning(base, dataset, Prompt(system=file.task.description), RECIPE, seed=0)
    made = adapter.tune(tuning, freeze.examples(workspace, dataset.digest), workspace, SILENT)
    return workspace, adapter.read_adapter(workspace, made.digest, base)


@pytest.fixture(scope="module")
def compared(tuned: tuple[Workspace, AdapterManifest]) -> Parity:
    workspace, manifest = tuned
    return adapter_parity.measured(
        workspace, manifest, Wanted(merged=("F16", "Q4_0"), as_trained=True), SILENT, most=12
    )


def test_every_way_is_compared_with_the_trainer_on_held_out_data(compared: Parity) -> None:
    assert [each.name for each in compared.ways] == [
        adapter_parity.AS_TRAINED,
        adapter_parity.SERVED,
        "merged F16",
        "merged Q4_0",
    ]
    assert compared.examples == 12
    trained, served, exact, coarse = compared.ways
    assert trained.ids_differ == served.ids_differ == exact.ids_differ == 0
    assert served.drift < 0.05
    assert exact.drift < 0.05
    assert coarse.drift > exact.drift
    assert exact.passes
    assert all(each.agreement.n == 12 and each.answer_ms > 0 for each in compared.ways)


def test_what_was_compared_is_kept_and_not_compared_again(
    tuned: tuple[Workspace, AdapterManifest], compared: Parity, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, manifest = tuned
    assert parity.kept(workspace, manifest.digest) == compared
    monkeypatch.setattr(adapter_parity, "Bench", None)
    chosen = adapter_parity.encoding_for(workspace, manifest, "F16", SILENT)
    assert (chosen.encoding, chosen.parity) == ("F16", compared.digest)
    assert chosen.reason.startswith("merged F16: ")


def _figures(name: str, same: int, n: int, ms: float, ids_differ: int = 0) -> Figures:
    apart = tuple(str(at) for at in range(n - same))
    drift = {"drift": 0.0, "drift_most": 0.0}
    return Figures(name=name, agreement=wilson(same, n), ids_differ=ids_differ, apart=apart, answer_ms=ms, **drift)


def _parity(*ways: Figures) -> Parity:
    return parity.named(Parity(digest="", task="t", adapter="a" * 64, dataset="d" * 64, examples=200, ways=ways))


def test_the_quickest_that_answers_as_trained_is_chosen() -> None:
    found = _parity(_figures("slow", 200, 200, 9), _figures("quick", 198, 200, 5), _figures("wrong", 197, 200, 1))
    quickest = parity.fastest(found, ["slow", "quick", "wrong"])
    assert quickest.name == "quick"
    assert adapter_parity.reason_for(found, quickest, ["slow", "quick", "wrong"]) == (
        "quick: 5 ms an answer, 99.0% of 200 the trainer's, asked one by one here; the quickest of those that answer "
        "as trained (others: slow 9 ms an answer, 100.0% of 200 the trainer's); refused: wrong 1 ms an answer, 98.5% "
        "of 200 the trainer's"
    )


def test_under_ninety_nine_percent_is_refused_with_the_reason() -> None:
    reason = r"merged Q4_0: 98\.5% of 200 answers are the trainer's, and 99% is needed"
    with pytest.raises(RefusedError, match=reason) as refused:
        parity.require(_figures("merged Q4_0", 197, 200, 1))
    assert refused.value.exit_code == 3
    with pytest.raises(RefusedError, match="2 of 200 prompts get other token ids"):
        parity.require(_figures("x", 200, 200, 1, ids_differ=2))
    with pytest.raises(RefusedError, match=r"98\.5%"):
        parity.fastest(_parity(_figures("x", 197, 200, 1)), ["x"])


def test_a_base_is_served_in_the_quickest_encoding_that_all_its_adapters_pass(
    tuned: tuple[Workspace, AdapterManifest], tmp_path: Path
) -> None:
    one = _parity(_figures("a", 200, 200, 9), _figures("b", 198, 200, 5), _figures("c", 190, 200, 1))
    other = _parity(_figures("a", 200, 200, 9), _figures("b", 199, 200, 6), _figures("c", 200, 200, 1))
    assert parity.passing([one, other], ["a", "b", "c"]) == ["b", "a"]
    with pytest.raises(RefusedError, match=r"c: 95\.0% of 200 .* \(10 differ; 95 % interval 91"):
        parity.passing([one, other], ["c"])
    ours = Workspace(tmp_path / ".freehold")
    shutil.copytree(tuned[0].root, ours.root)
    folder = ours.models / "smollm2-135m-instruct"
    chosen = adapter_parity.choose_beside(ours, "smollm2-135m-instruct", SILENT, most=8)
    assert chosen == passed(folder)
    assert serving_weights(folder) == folder / encoded_file(chosen.encodings[0])
    assert tuned[1].digest[:12] in chosen.reason


def test_before_a_deployment_it_is_compared_once(
    tuned: tuple[Workspace, AdapterManifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, manifest = tuned
    first = adapter_parity.before_deployment(workspace, manifest, SILENT)
    assert first.refusal is None
    assert first.figures.agreement.n == first.parity.examples
    with monkeypatch.context() as patched:
        patched.setattr(adapter_parity, "Bench", None)
        assert adapter_parity.before_deployment(workspace, manifest, SILENT) == first
    monkeypatch.setattr(ways, "version", lambda _: "of tomorrow")
    monkeypatch.setattr(adapter_parity, "Bench", None)
    with pytest.raises(TypeError):  # another engine is another comparison
        adapter_parity.before_deployment(workspace, manifest, SILENT)


def test_an_adapter_that_answers_unlike_the_trainer_may_not_be_deployed(
    tuned: tuple[Workspace, AdapterManifest], tmp_path: Path
) -> None:
    """Another tuning's GGUF in the adapter's place: what would be served is not what was trained."""
    workspace, manifest = tuned
    theirs = Workspace(tmp_path / ".freehold")
    shutil.copytree(workspace.root, theirs.root)
    shutil.rmtree(theirs.root / "parity", ignore_errors=True)
    path = theirs.adapters / manifest.digest / ADAPTER_GGUF
    base = theirs.models / "smollm2-135m-instruct" / WEIGHTS_FILE
    write_random_adapter(base, path, seed=3, rank=4, strength=5.0)
    standing = adapter_parity.before_deployment(theirs, manifest, SILENT)
    assert re.search(r"\d+\.\d% of \d+ answers|\d\.\d+ nats from the trainer's", standing.refusal or "")


@pytest.mark.parametrize(("drift", "words"), [(0.05, None), (0.3, "0.3 nats from the trainer's; at most 0.1")])
def test_free_text_is_judged_by_its_log_probabilities(drift: float, words: str | None) -> None:
    figures = msgspec.structs.replace(_figures("x", 10, 20, 1), drift=drift)
    refusal = adapter_parity.unlike(figures, labelled=False)
    assert (refusal is None) == (words is None)
    assert (words or "") in (refusal or "")
    for same, n, refused in ((198, 200, False), (197, 200, True), (8, 8, False), (7, 8, True)):
        assert (adapter_parity.unlike(_figures("x", same, n, 1), labelled=True) is not None) == refused
    constant = msgspec.structs.replace(_figures("x", 100, 100, 1), drift=5.0)
    assert "5.0 nats from the trainer's; at most 0.5" in (adapter_parity.unlike(constant, labelled=True) or "")
    other_ids = msgspec.structs.replace(figures, ids_differ=1)
    assert "other token ids" in (adapter_parity.unlike(other_ids, labelled=False) or "")


def test_engines_that_are_not_here_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_parity, "engines_here", lambda: ("wheel",))
    assert adapter_parity.engines_of("wheel") == ("wheel",)
    with pytest.raises(UserError, match="native is not installed here; `freehold engines`"):
        adapter_parity.engines_of("wheel,native")
    with pytest.raises(UserError, match="did you mean native"):
        adapter_parity.engines_of("nativ")


def test_times_are_outside_the_digest() -> None:
    assert _parity(_figures("x", 200, 200, 1)).digest == _parity(_figures("x", 200, 200, 2)).digest
    assert _parity(_figures("x", 200, 200, 1)).digest != _parity(_figures("x", 199, 200, 1)).digest


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_holds_what_its_reader_needs(
    name: str, tuned: tuple[Workspace, AdapterManifest], tmp_path: Path
) -> None:
    workspace, manifest = tuned
    target = tmp_path / "out"
    made = export(Order(adapter=manifest.digest, format=name), workspace, target, SILENT)
    found = {path.name for path in target.iterdir()}
    assert {"NOTICE", "MODEL_CARD.md", "README.md", "prompt.json", "export.json"} <= found
    assert made.files == {each: file_sha256(target / each) for each in found - {"export.json"}}
    assert made.encoding == ("F16" if FORMATS[name].encoded else None)
    assert read_record(target / "export.json", exports.Export) == made
    assert made in exports.every(workspace)
    assert msgspec.json.decode((target / "prompt.json").read_bytes()) == manifest.render
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # nothing unfinished is left


def test_the_safetensors_answer_as_the_trainer_does(
    tuned: tuple[Workspace, AdapterManifest], compared: Parity, tmp_path: Path
) -> None:
    """transformers reads the folder, makes the same ids by its template, and the same likeliest token."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from freehold.evaluation.trainer_voice import TrainerVoice

    workspace, manifest = tuned
    export(Order(adapter=manifest.digest, format="vllm"), workspace, tmp_path / "hub", SILENT)
    base = workspace.models / manifest.base
    trainer = TrainerVoice(base, workspace.adapters / manifest.digest, manifest, (), 4)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hub", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hub")
    prompt = msgspec.convert(manifest.render, Prompt)
    for text, _ in things()[::16]:
        messages = prompt.messages([Message(role="user", content=text)])
        ids = tokenizer.apply_chat_template(msgspec.to_builtins(messages), add_generation_prompt=True)["input_ids"]
        assert tuple(ids) == Renderer(base).ids(messages)
        with torch.no_grad():
            scores = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        wanted = trainer.speak(ids).first
        likeliest = max(wanted, key=lambda id: wanted[id])
        assert int(scores.argmax()) == likeliest
        assert abs(float(scores[likeliest]) - wanted[likeliest]) < 0.1


def test_peft_reads_the_adapter_with_the_hubs_name(tuned: tuple[Workspace, AdapterManifest], tmp_path: Path) -> None:
    from peft import LoraConfig

    workspace, manifest = tuned
    export(Order(adapter=manifest.digest, format="peft"), workspace, tmp_path / "peft", SILENT)
    config = LoraConfig.from_pretrained(tmp_path / "peft")
    assert (config.r, config.base_model_name_or_path) == (4, "HuggingFaceTB/SmolLM2-135M-Instruct")


def test_what_exists_is_not_written_over(tuned: tuple[Workspace, AdapterManifest], tmp_path: Path) -> None:
    workspace, manifest = tuned
    with pytest.raises(UserError, match="exists already; name another folder with --to"):
        export(Order(adapter=manifest.digest, format="peft"), workspace, tmp_path, SILENT)


def test_names_that_there_are_not(tuned: tuple[Workspace, AdapterManifest], tmp_path: Path) -> None:
    workspace, manifest = tuned
    assert adapters_of(workspace, "things")[0] == adapters_of(workspace, manifest.digest[:8])[0] == manifest
    with pytest.raises(NotFoundError, match="thing: no adapter of such a task or digest here; did you mean things"):
        adapters_of(workspace, "thing")
    with pytest.raises(NotFoundError, match="olama: no such format; did you mean ollama"):
        export(Order(adapter=manifest.digest, format="olama"), workspace, tmp_path / "x", SILENT)
    with pytest.raises(UserError, match="Q4_K: no such encoding; did you mean Q4_K_M"):
        adapter_parity.encodings_of("F16,Q4_K")


def test_a_damaged_file_is_refused_and_nothing_is_left(
    tuned: tuple[Workspace, AdapterManifest], tmp_path: Path
) -> None:
    """Truncated weights, a missing tokenizer, a cut adapter: one sentence each."""
    workspace, manifest = tuned
    broken = Workspace(tmp_path / ".freehold")
    for file, message in (
        (broken.models / manifest.base / WEIGHTS_FILE, "is not the file that was pulled"),
        (broken.adapters / manifest.digest / "adapter_model.safetensors", "is not the file that was recorded"),
        (broken.adapters / manifest.digest / ADAPTER_GGUF, "no whole GGUF file"),
        (broken.models / manifest.base / "tokenizer.json", "tokenizer or template is missing"),
    ):
        shutil.rmtree(broken.root, ignore_errors=True)
        shutil.copytree(workspace.root, broken.root)
        file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(ModelFileError, match=message):
            export(Order(adapter=manifest.digest, format="llama.cpp"), broken, tmp_path / "out", SILENT)
        assert [path.name for path in tmp_path.iterdir()] == [".freehold"]


def test_what_learned_from_forgotten_data_is_not_exported(
    tuned: tuple[Workspace, AdapterManifest], tmp_path: Path
) -> None:
    workspace, manifest = tuned
    tainted = Workspace(tmp_path / ".freehold")
    shutil.copytree(workspace.root, tainted.root)
    mark(tainted, Taint(digest=manifest.digest, kind="adapter", dataset=manifest.dataset, examples=2))
    with pytest.raises(RefusedError, match="learned from 2 examples that were forgotten"):
        export(Order(adapter=manifest.digest, format="peft"), tainted, tmp_path / "out", SILENT)


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}<start_of_turn>user\n{{ m.content }}\n\n"
    "{% elif m.role == 'user' %}{% if not loop.first and messages[loop.index0 - 1].role != 'system' %}"
    "<start_of_turn>user\n{% endif %}{{ m.content }}<end_of_turn>\n"
    "{% else %}<start_of_turn>model\n{{ m.content }}<end_of_turn>\n{% endif %}{% endfor %}"
    "{{ '<start_of_turn>model\n' }}"
)


def _template(source: str, bos: str, eos: str) -> ChatTemplate:
    return ChatTemplate(source=source, bos_token=bos, eos_token=eos, special_tokens=())


def _as_ollama(template: str, system: str, rounds: list[tuple[str, str]]) -> str:
    """Go's template of one condition and three fields, applied once a round as Ollama does."""
    head, _, tail = template.removeprefix("{{ if .System }}").partition("{{ else }}")
    later, _, body = tail.partition("{{ end }}")
    text = ""
    for at, (asked, answered) in enumerate(rounds):
        text += head.replace("{{ .System }}", system) if at == 0 else later
        text += body.replace("{{ .Prompt }}", asked).replace("{{ .Response }}", answered)
    return text


@pytest.mark.parametrize(
    ("template", "beginning"),
    [
        (_template(CHATML, "<|im_start|>", "<|im_end|>"), ""),
        (_template(GEMMA, "<bos>", "<end_of_turn>"), "<bos>"),
    ],
    ids=["chatml", "gemma"],
)
def test_ollamas_template_writes_what_was_trained(template: ChatTemplate, beginning: str) -> None:
    turns = [
        Message(role="system", content="Route it."),
        Message(role="user", content="the till"),
        Message(role="assistant", content="it-help"),
        Message(role="user", content="دفع"),
    ]
    for messages, rounds in (
        (turns[:2], [("the till", "")]),
        (turns, [("the till", "it-help"), ("دفع", "")]),
    ):
        assert beginning + _as_ollama(go_template(template), "Route it.", rounds) == template.text(messages)


def test_the_modelfile_names_weights_prompt_and_end() -> None:
    text = modelfile("model.gguf", _template(CHATML, "<|im_start|>", "<|im_end|>"), Prompt(system='Say "it".'), 2048)
    assert text.startswith("FROM ./model.gguf\n")
    assert 'SYSTEM """Say "it"."""' in text
    assert 'PARAMETER stop "<|im_end|>"\nPARAMETER temperature 0\nPARAMETER num_ctx 2048\n' in text
    with pytest.raises(ModelFileError, match="which a Modelfile cannot"):
        modelfile("m", _template(CHATML, "<|im_start|>", "<|im_end|>"), Prompt(system='"""'), 1)


def test_the_commands(
    freehold: Callable[..., int],
    tuned: tuple[Workspace, AdapterManifest],
    compared: Parity,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FREEHOLD_HOME", str(tuned[0].root))
    assert freehold("export", "things", "--format", "ollama", "--encoding", "F16", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["format"], made["encoding"], made["parity"]) == ("ollama", "F16", compared.digest)
    assert (tmp_path / "things-ollama" / "Modelfile").is_file()
    assert freehold("export", "nothing") == 2
    assert freehold("parity", "things", "--encodings", "Q9") == 2
