"""`freehold benchmark …`: what a model knows besides its task, before and after tuning."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import asdict

from freehold.cli.output import as_json, say, table
from freehold.cli.progress import Terminal
from freehold.errors import NotFoundError
from freehold.evaluation.asking import Asked
from freehold.evaluation.benchmarks import harness, mmlu, perplexity, programs
from freehold.evaluation.benchmarks.continuations import Continuations, require_scoring
from freehold.evaluation.benchmarks.sitting import Sitting
from freehold.evaluation.judge import judge as judges
from freehold.evaluation.scorers import leash
from freehold.records import Base, Interval, digest
from freehold.render import Renderer
from freehold.spec import Judge as JudgeSpec
from freehold.store.answers import Answers
from freehold.store.database import connect
from freehold.store.layout import BASE_FILE
from freehold.store.workspace import Workspace, read_record

benchmark = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="Standard benchmarks from local files, before and after tuning."
)

BaseArgument = Annotated[str, typer.Argument(help="A base of this workspace.", metavar="BASE")]
AdapterOption = Annotated[str | None, typer.Option(help="An adapter's digest: measured beside its base.")]
EngineOption = Annotated[str, typer.Option(help="What scores; one that cannot says so.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@benchmark.command(name="mmlu")
def run_mmlu(  # noqa: PLR0913 (one parameter an option)
    folder: Annotated[Path, typer.Argument(help="A folder with dev/ and test/, one CSV a subject.", metavar="FOLDER")],
    base: BaseArgument,
    adapter: AdapterOption = None,
    sample: Annotated[int | None, typer.Option(min=1, help="This many questions at random; left out: all.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample.")] = 0,
    engine: EngineOption = "torch",
    json: JsonOption = False,
) -> None:
    """MMLU, 5-shot, in its published format, as a micro average."""
    require_scoring(engine)
    dev, test = mmlu.read(folder)
    asked, every = mmlu.sample(test, sample, seed), sum(map(len, test.values()))
    renderer, answers = Renderer(_base(base)), Answers(connect(Workspace.here().database_url))
    results = []
    for name, scores, identity in _models(base, adapter):
        sitting: Sitting[mmlu.Scores] = Sitting(name, scores, renderer, answers, digest(["mmlu", identity]))
        results.append(mmlu.summed(name, mmlu.measure(sitting, asked, dev, Terminal()), every))
    change = mmlu.change(*results) if len(results) > 1 else None
    published = mmlu.PUBLISHED.get(base)
    if json:
        as_json({"results": results, "change": change, "published": published})
        return
    table(["model", "mmlu 5-shot", "95 % interval", "questions"], [_line(each) for each in results])
    if change:
        say(f"\n  change     {_percent(change)} on the same questions")
    say(f"\n  published  {published or 'no figure is on record here for this base'}")


@benchmark.command(name="perplexity")
def run_perplexity(
    text: Annotated[Path, typer.Argument(help="General text that nothing was trained on, one document a line.")],
    base: BaseArgument,
    adapter: AdapterOption = None,
    engine: EngineOption = "torch",
    json: JsonOption = False,
) -> None:
    """Perplexity on general text; what rises by tuning was forgotten."""
    require_scoring(engine)
    documents = perplexity.read(text)
    renderer, answers = Renderer(_base(base)), Answers(connect(Workspace.here().database_url))
    measured = {}
    for name, scores, identity in _models(base, adapter):
        sitting: Sitting[perplexity.Surprises] = Sitting(
            name, scores, renderer, answers, digest(["perplexity", identity])
        )
        measured[name] = perplexity.surprises(sitting, documents, Terminal())
    figures = {name: perplexity.perplexity(nats) for name, nats in measured.items()}
    change = perplexity.change(*measured.values()) if adapter else None
    if json:
        as_json({"perplexity": figures, "change": change})
        return
    rows = [[name, f"{each.value:.2f}", f"[{each.low:.2f}, {each.high:.2f}]", each.n] for name, each in figures.items()]
    table(["model", "perplexity", "95 % interval", "documents"], rows)
    if change:
        say(f"\n  change     × {change.value:.3f} [{change.low:.3f}, {change.high:.3f}] on the same documents")


@benchmark.command(name="harness")
def run_harness(
    task: Annotated[str, typer.Argument(help="The name of one of lm-eval's tasks in that folder.")],
    folder: Annotated[Path, typer.Argument(help="A folder of lm-eval's task files (YAML).", metavar="FOLDER")],
    base: BaseArgument,
    adapter: AdapterOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many documents.")] = None,
    json: JsonOption = False,
) -> None:
    """Any task of lm-eval's, from local files, before and after tuning; needs the extra `benchmarks`."""
    found = {
        name: harness.measure(task, folder, _base(base), scores, limit) for name, scores, _ in _models(base, adapter)
    }
    changes = [harness.change(*pair) for pair in zip(*found.values(), strict=True)] if adapter else None
    if json:
        figures = {
            name: [{"task": e.task, "metric": e.metric, **asdict(e.figure)} for e in each]
            for name, each in found.items()
        }
        as_json({"figures": figures, "changes": changes})
        return
    rows = [[name, e.task, e.metric, *_figure(e.figure)] for name, each in found.items() for e in each]
    table(["model", "task", "metric", "value", "95 % interval", "documents"], rows)
    for each in changes or ():
        say(f"\n  change     {_percent(each)} on the same documents")


@benchmark.command(name="programs")
def run_programs(
    file: Annotated[Path, typer.Argument(help="Problems: JSONL of prompt and tests.", metavar="FILE")],
    base: BaseArgument,
    samples: Annotated[int, typer.Option(min=1, help="Programs asked for a problem.")] = 10,
    k: Annotated[list[int] | None, typer.Option("--k", help="pass@k; may be given several times. Left out: 1.")] = None,
    json: JsonOption = False,
) -> None:
    """pass@k: programs are sampled from a base and run against their tests in a child process with limits."""
    problems, folder = programs.read(file), _base(base)
    store = Answers(connect(Workspace.here().database_url))
    identity = digest(["programs", read_record(folder / BASE_FILE, Base).digest])
    with judges.endpoint(JudgeSpec(model=base), Workspace.here()) as endpoint:
        found = programs.measure(Asked(base, identity, endpoint, store), problems, samples, Terminal())
    figures = {f"pass@{each}": found.at(each) for each in k or [1]}
    if json:
        as_json({"figures": figures, "right": found.right, "samples": samples, "holes": leash.holes()})
        return
    rows = [[name, *_figure(each), f"{samples} programs a problem"] for name, each in figures.items()]
    table([base, "value", "95 % interval", "problems", ""], rows)
    reached = " and ".join(leash.holes())
    say(f"\n  programs   could reach {reached or 'neither the network nor files outside their folder'}")


def _figure(figure: Interval) -> list[object]:
    return [f"{figure.value:.1%}", f"[{figure.low:.1%}, {figure.high:.1%}]", figure.n]


def _models(base: str, adapter: str | None) -> Iterator[tuple[str, Continuations, list[str]]]:
    """The base, then the base with its adapter, with their digests; one is let go before the next is opened."""
    folder = _base(base)
    known = read_record(folder / BASE_FILE, Base).digest
    yield base, Continuations(folder), [known]
    if adapter is not None:
        tuned = _adapter(adapter)
        yield f"{base} + {tuned.name[:12]}", Continuations(folder, tuned), [known, tuned.name]


def _base(name: str) -> Path:
    folder = Workspace.here().models / name
    if not folder.is_dir():
        raise NotFoundError(f"{name}: no such base in this workspace; `freehold pull {name}` fetches it")
    return folder


def _adapter(wanted: str) -> Path:
    folder = Workspace.here().adapters
    found = [each for each in folder.glob(f"{wanted}*") if each.is_dir()] if len(wanted) >= 6 else []
    if len(found) != 1:
        raise NotFoundError(f"{wanted}: {len(found)} adapters of that digest in {folder}; give six or more characters")
    return found[0]


def _line(each: mmlu.Result) -> list[object]:
    asked = f"{each.asked:,}" if each.asked == each.all else f"{each.asked:,} of {each.all:,}"
    return [each.model, f"{each.micro.value:.1%}", f"[{each.micro.low:.1%}, {each.micro.high:.1%}]", asked]


def _percent(figure: Interval) -> str:
    return f"{figure.value:+.1%} [{figure.low:+.1%}, {figure.high:+.1%}]"
