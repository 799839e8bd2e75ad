"""`freehold data …`: what is in the data, and whether it can be trusted."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from freehold import spec
from freehold.cli.keeping import forget
from freehold.cli.memorised import memorised
from freehold.cli.output import as_json, say, table
from freehold.cli.progress import Terminal
from freehold.cli.task import DEFAULT_TASK_FILE, JsonOption, TaskFileArgument
from freehold.errors import NotFoundError, UserError
from freehold.records import AnswerType, Dataset, Example
from freehold.store.workspace import Workspace, write_atomically

if TYPE_CHECKING:
    from freehold.data.freeze import DroppedRow
    from freehold.data.quality import Suspect
    from freehold.data.sampling import Pick
    from freehold.store.exchanges import Query

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
app.command()(memorised)
app.command()(forget)

_SHOWN = 20


@app.callback()
def data() -> None:
    """What is in the data, and whether it can be trusted."""


@app.command()
def contamination(
    train: Annotated[Path, typer.Argument(help="Training data: a file or a folder of files.")],
    against: Annotated[Path, typer.Option(help="The benchmark: a file or a folder of files.")],
    column: Annotated[str | None, typer.Option(help="The benchmark's column that holds its items.")] = None,
    json: JsonOption = False,
) -> None:
    """Which items of a benchmark stand in the training data."""
    from freehold.data import contamination as search
    from freehold.data.corpus import documents, items

    found = search.contamination(documents(train), items(against, column), Terminal())
    if json:
        return as_json(found)
    share = found.contaminated / found.benchmark_items
    say(f"{found.contaminated:,} of {found.benchmark_items:,} benchmark items ({share:.1%}) stand in the training data")
    say(f"searched {found.documents:,} texts, {found.characters:,} characters, for n-grams of {search.LENGTH} words")
    if found.without_words:
        say(f"{found.without_words:,} items hold no word and cannot be judged")
    if found.items:
        table(["item", "found in", "n-gram"], [[each.item, each.found_in, each.ngram] for each in found.items[:_SHOWN]])
    if len(found.items) > _SHOWN:
        say(f"… and {len(found.items) - _SHOWN:,} more; --json lists all")


@app.command("import")
def import_(  # noqa: PLR0913 (one parameter an option)
    source: Annotated[str, typer.Argument(help="JSONL, CSV or Parquet of another tool; a folder; or `captured`.")],
    out: Annotated[Path, typer.Argument(help="The JSONL file to write.")],
    format: Annotated[str | None, typer.Option(help="Of which tool; left out: told by its fields.")] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave broken rows out, and count them.")] = False,
    task: Annotated[
        str | None, typer.Option(help="Of what was captured: tagged with this task, or asked of it.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Of what was captured: asked of this model.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Of what was captured: with this tag, as NAME=VALUE.")] = None,
    since: Annotated[str | None, typer.Option(help="Of what was captured: from this time on (ISO 8601, zone).")] = None,
    until: Annotated[str | None, typer.Option(help="Of what was captured: before this time.")] = None,
    feedback: Annotated[
        Literal["accepted", "rejected", "corrected", "none"] | None,
        typer.Option(help="Of what was captured: with this last word."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Turn other tools' records, a folder of documents or captured exchanges into one JSONL file; resumable."""
    from freehold.data import importing, intake
    from freehold.data.captured import SOURCE

    asked = {"--task": task, "--model": model, "--tag": tag, "--since": since, "--until": until, "--feedback": feedback}
    taken: intake.Intake
    if source == SOURCE:
        query = _query(task, model or [], tag or [], (since, until), feedback)
        taken = intake.Captured(Workspace.here(), query)
    else:
        needless = next((option for option, value in asked.items() if value), None)
        if needless:
            raise UserError(f"{needless} goes with `freehold data import captured`, not with a file")
        taken = intake.Documents(Path(source)) if Path(source).is_dir() else intake.Records(Path(source), format)
    done = importing.import_rows(taken, out, skip_broken, Terminal())
    if json:
        return as_json(done)
    say(f"{done.rows:,} rows of {done.format} → {done.kept:,} in {out}")
    for reason, count in done.faults.items():
        say(f"  {count:,} of them a dataset will leave out: {reason.replace('_', ' ')}")
    if done.duplicates:
        say(f"  {done.duplicates:,} stood before under the same id")
    if done.broken:
        say(f"  {done.broken:,} broken and left out, such as: {done.first_broken[0]}")


def _query(
    task: str | None, models: list[str], tags: list[str], span: tuple[str | None, str | None], feedback: str | None
) -> "Query":
    from freehold.data.moment import moment
    from freehold.store.exchanges import Query

    odd = next((tag for tag in tags if "=" not in tag), None)
    if odd is not None:
        raise UserError(f"--tag {odd}: write NAME=VALUE")
    named = ("--since", "--until")
    since, until = (
        None if text is None else round(moment(text, "it", option) * 1e6)
        for option, text in zip(named, span, strict=True)
    )
    pairs = {name: value for name, _, value in (tag.partition("=") for tag in tags)}
    return Query(models=tuple(models), task=task, tags=pairs, since=since, until=until, verdict=feedback)


@app.command()
def review(
    path: TaskFileArgument = DEFAULT_TASK_FILE,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = _SHOWN,
    apply: Annotated[Path | None, typer.Option(help="A file of `id` and `answer`: take these verdicts.")] = None,
    json: JsonOption = False,
) -> None:
    """Labels that may be wrong, worst first, for a person to confirm or mend; verdicts become human references."""
    from freehold.data import quality, verdicts

    file, workspace, dataset, examples = _built(path)
    if apply is not None:
        return say(f"{verdicts.apply(workspace, dataset, examples, apply):,} verdicts kept; `freehold run` uses them")
    if dataset.answer_type is not AnswerType.LABEL:
        raise UserError(f"{path}: answer.type is {dataset.answer_type}; only labels can be reviewed this way")
    found = quality.suspects(examples, file.task.seed)[:limit]
    if json:
        as_json(found)
    elif sys.stdin.isatty():
        _ask(workspace, dataset, examples, found)
    else:
        table(["id", "origin", "label", "suggested", "text"], [_line(each) for each in found])
        say("in a terminal, the same command asks for a verdict on each; or give verdicts with --apply")


@app.command()
def sample(
    path: TaskFileArgument = DEFAULT_TASK_FILE,
    out: Annotated[Path | None, typer.Option(help="Write a CSV here, to be filled in.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    purpose: Annotated[
        Literal["training", "proof"],
        typer.Option("--for", help="For training, the most doubtful and diverse; for proof, held-out ones at random."),
    ] = "training",
    json: JsonOption = False,
) -> None:
    """Which examples without a trusted reference to label first; `review --apply` takes the file back."""
    from freehold.data import sampling

    _, _, dataset, examples = _built(path)
    found = sampling.sample(dataset, examples, count, purpose)
    if out is not None:
        write_atomically(out, sampling.table(found))
    if json:
        return as_json(found)
    if out is None:
        return table(["id", "origin", "incumbent", "text"], [_row(each) for each in found])
    say(f"{len(found):,} examples in {out}: fill in `answer`, then `freehold data review {path} --apply {out}`")


@app.command()
def why(
    id: Annotated[str, typer.Argument(help="An example's id, or how it begins.")],
    json: JsonOption = False,
) -> None:
    """What became of a row: its split, or the reason that it was dropped."""
    from freehold.data import freeze

    found = freeze.find(Workspace.here(), id)
    if not found:
        raise NotFoundError(f"no example or dropped row has an id that begins with {id!r}")
    if json:
        return as_json([{"dataset": digest, **_fate(each)} for digest, each in found])
    for digest, each in found:
        fate = _fate(each)
        because = f", displaced by {fate['because']}" if fate["because"] else ""
        reason = str(fate["reason"]).replace("_", " ")
        kept = f"kept for {fate['split']}" if fate["split"] else f"dropped: {reason}{because}"
        say(f"{each.id[:12]}  {each.origin}  {kept}  (dataset {digest[:12]})")


@app.command()
def card(
    path: TaskFileArgument = DEFAULT_TASK_FILE,
    out: Annotated[Path | None, typer.Option(help="Write the card here: .md or .html.")] = None,
    json: JsonOption = False,
) -> None:
    """What is in the dataset: counts, lengths, languages, labels, duplicates, licence, consent, provenance, digest."""
    from freehold.data import card as cards
    from freehold.data import freeze

    file, workspace, dataset, _ = _built(path)
    made = cards.card(dataset, freeze.examples(workspace, dataset.digest), file.task.data)
    if json:
        return as_json(made)
    if out is None:
        return say(cards.markdown(made))
    if out.suffix not in (".md", ".html"):
        raise UserError(f"{out}: a card is written as .md or .html")
    write_atomically(out, (cards.page(made) if out.suffix == ".html" else cards.markdown(made)).encode())
    say(f"wrote {out}")


@app.command()
def enough(path: TaskFileArgument = DEFAULT_TASK_FILE, json: JsonOption = False) -> None:
    """How accuracy grows with more examples, and how many are still worth collecting."""
    from freehold.data import enough as curve

    file, _, dataset, examples = _built(path)
    if dataset.answer_type is not AnswerType.LABEL:
        raise UserError(f"{path}: answer.type is {dataset.answer_type}; a curve can be drawn for labels only")
    found = curve.enough(examples, file.task.seed, Terminal())
    if json:
        return as_json(found)
    points = [("measured", each) for each in found.measured] + [("forecast", each) for each in found.forecast]
    table(["", "examples", "accuracy", "low", "high"], [[kind, p.n, p.value, p.low, p.high] for kind, p in points])
    between = f"{_or_more(found.collect_low)} to {_or_more(found.collect_high)}"
    say(f"until a doubling adds less than a point: {_or_more(found.collect)} more examples ({between})")
    say(f"accuracies of a {found.model}, not of a tuned model; held-out examples were not touched")


def _built(path: Path) -> tuple[spec.TaskFile, Workspace, Dataset, list[Example]]:
    from freehold.data import build, canaries

    file = spec.load(path)
    workspace = Workspace.beside(path)
    dataset = build.build(file, workspace, Terminal())
    written = [each for each in build.examples(workspace, dataset.digest) if not canaries.planted(each)]
    return file, workspace, dataset, written


def _line(suspect: "Suspect") -> list[object]:
    return [suspect.id[:12], suspect.origin, suspect.label, suspect.suggested, _short(suspect.text)]


def _row(pick: "Pick") -> list[object]:
    return [pick.id[:12], pick.origin, pick.incumbent, _short(pick.text)]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text[:80] + ("…" if len(text) > 80 else "")


def _ask(workspace: Workspace, dataset: Dataset, examples: Sequence[Example], found: "Sequence[Suspect]") -> None:
    from freehold.data import verdicts

    by_id = {each.id: each for each in examples}
    say("Enter keeps the label · s takes the suggested one · a label sets that · - skips · q stops")
    for number, suspect in enumerate(found, 1):
        say(f"\n{number}/{len(found)}  {suspect.origin}\n  {suspect.text}")
        said = typer.prompt(f"  {suspect.label}  (suggested: {suspect.suggested})", default="", show_default=False)
        if said == "q":
            break
        if said != "-":
            answer = {"": suspect.label, "s": suspect.suggested}.get(said, said)
            verdicts.keep(workspace, dataset, by_id[suspect.id], answer)
    say("verdicts are kept; `freehold run` uses them")


def _fate(each: "Example | DroppedRow") -> dict[str, object]:
    known: dict[str, object] = {"id": each.id, "origin": each.origin}
    if isinstance(each, Example):
        return {**known, "split": each.split, "reason": None, "because": None}
    return {**known, "split": None, "reason": each.reason, "because": each.because}


def _or_more(count: int | None) -> str:
    return "more than 64 times as many" if count is None else f"{count:,}"
