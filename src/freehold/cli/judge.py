"""`freehold judge …`: a language model as a judge, and how far to trust it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from freehold.cli.evals import every_report, examples_of
from freehold.cli.output import as_json, say, table
from freehold.cli.progress import Terminal
from freehold.cli.task import DEFAULT_TASK_FILE
from freehold.errors import TaskFileError
from freehold.evaluation import compare as compares
from freehold.evaluation.arena.votes import LEFT, RIGHT
from freehold.evaluation.asking import Asked
from freehold.evaluation.judge import agreement as agreements
from freehold.evaluation.judge import conversations, grades, pairwise, questions
from freehold.evaluation.judge import judge as judges
from freehold.records import Interval, digest
from freehold.spec import Judge as JudgeSpec
from freehold.spec import load
from freehold.store.answers import Answers
from freehold.store.database import connect
from freehold.store.workspace import Workspace

judge = typer.Typer(add_completion=False, rich_markup_mode=None, help="A language model as a judge, checked on people.")

TaskFileOption = Annotated[Path, typer.Option("--task-file", help="Whose `judge` it is.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@judge.callback()
def _group() -> None:
    pass


@judge.command()
def agreement(
    people: Annotated[Path, typer.Argument(help="People's votes: CSV with left,right,winner and the item's column.")],
    verdicts: Annotated[Path, typer.Argument(help="The judge's verdicts, one an item, in the same form.")],
    item: Annotated[str, typer.Option(help="The column that says which item a vote is on.")] = "id",
    labelled: Annotated[int | None, typer.Option(min=2, help="Use people's votes on this many items only.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of which items those are.")] = 0,
    json: JsonOption = False,
) -> None:
    """Compare a judge with people, and correct its estimates by their votes (prediction-powered inference)."""
    found = agreements.agree(agreements.items(people, verdicts, item, labelled, seed), seed=seed)
    if json:
        as_json(found)
        return
    say(f"  {found.items} items with {found.votes} votes by people")
    say(f"  agreement  {_share(found.agreement)} of people's votes are the judge's")
    kappa = found.kappa
    say(f"  kappa      {kappa.value:.2f} [{kappa.low:.2f}, {kappa.high:.2f}] judge against the people's majority")
    if found.among_people is not None:
        say(f"  people     alpha {found.among_people:.2f} among themselves")
    say()
    table(
        ["share won by", "people alone", "judge alone", "corrected", "items"],
        [
            [each.what, _share(each.people), _share(each.judge), _share(each.corrected), each.items]
            for each in (found.left, *sorted(found.models, key=lambda each: -each.judge.value))
        ],
    )


@judge.command()
def compare(
    left: Annotated[str, typer.Argument(help="A measured candidate, by name or the start of its digest.")],
    right: Annotated[str, typer.Argument(help="Another one.")],
    task_file: TaskFileOption = DEFAULT_TASK_FILE,
    json: JsonOption = False,
) -> None:
    """Let the task file's judge compare two candidates' kept answers, each pair in both orders."""
    spec, workspace = _judge_of(task_file)
    reports = every_report(workspace, None)
    one, other = (compares.find(workspace, reports, wanted) for wanted in (left, right))
    pairs = pairwise.of_rows(one.rows, other.rows, examples_of(workspace, one.report))
    own = pairwise.which_is(spec.model, one.candidate, other.candidate)
    with _judging(spec, workspace) as who:
        found = pairwise.duel(who, (one.candidate.name, other.candidate.name), pairs, own, Terminal())
    if json:
        as_json(found)
    else:
        _print_duel(found)


@judge.command()
def grade(
    candidate: Annotated[str, typer.Argument(help="A measured candidate, by name or the start of its digest.")],
    task_file: TaskFileOption = DEFAULT_TASK_FILE,
    json: JsonOption = False,
) -> None:
    """Let the task file's judge grade a candidate's kept answers from 1 to 10."""
    spec, workspace = _judge_of(task_file)
    measured = compares.find(workspace, every_report(workspace, None), candidate)
    talks = conversations.of_rows(measured.rows, examples_of(workspace, measured.report))
    with _judging(spec, workspace) as who:
        found = grades.graded(who, measured.candidate.name, talks, Terminal())
    if json:
        as_json(found)
    else:
        _print_grades(found)


@judge.command(name="mt-bench")
def mt_bench(  # noqa: PLR0913 (one parameter an option)
    file: Annotated[
        Path, typer.Argument(help="JSONL of question_id, turns, category, reference.", metavar="QUESTIONS")
    ],
    model: Annotated[str, typer.Argument(help="A base of this workspace, or the model's name at --base-url.")],
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible address of the model.")] = None,
    api_key: Annotated[str | None, typer.Option(help="A reference such as '${OPENAI_API_KEY}'.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Another base of this workspace, or model at that address: judged side by side.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of one answer.")] = 1024,
    task_file: TaskFileOption = DEFAULT_TASK_FILE,
    json: JsonOption = False,
) -> None:
    """Ask a model two-turn questions and let the task file's judge grade either turn; with --against, compare two."""
    asked = questions.read(file)
    spec, workspace = _judge_of(task_file)
    players = [JudgeSpec(model=each, base_url=base_url, api_key=api_key) for each in (model, against) if each]
    judges.identity(spec, workspace)  # says what is missing before anybody is asked
    talks = [_conversations(each, workspace, asked, max_tokens) for each in players]
    with _judging(spec, workspace) as who:
        found = [grades.graded(who, each.model, mine, Terminal()) for each, mine in zip(players, talks, strict=True)]
        duel = _duel_of(who, players, talks) if against else None
    if json:
        as_json({"grades": found, "duel": duel} if duel else found[0])
        return
    for each in found:
        _print_grades(each)
        say()
    if duel:
        _print_duel(duel)


def _conversations(
    player: JudgeSpec, workspace: Workspace, asked: Sequence[questions.Question], longest: int
) -> list[conversations.Conversation]:
    identity = digest(["conversation", judges.identity(player, workspace)])
    with judges.endpoint(player, workspace) as endpoint:
        model = Asked(player.model, identity, endpoint, Answers(connect(workspace.database_url)), concurrency=4)
        return conversations.converse(model, asked, longest, Terminal())


def _duel_of(
    who: judges.Judge, players: Sequence[JudgeSpec], talks: Sequence[Sequence[conversations.Conversation]]
) -> pairwise.Duel:
    left, right = (each.model for each in players)
    own = None if left == right else {left: LEFT, right: RIGHT}.get(who.name)
    return pairwise.duel(who, (left, right), pairwise.of_conversations(*talks), own, Terminal())


@contextmanager
def _judging(spec: JudgeSpec, workspace: Workspace) -> Iterator[judges.Judge]:
    """The judge, its engine started and stopped with the block."""
    identity = judges.identity(spec, workspace)
    with judges.endpoint(spec, workspace) as endpoint:
        yield judges.Judge(spec.model, endpoint, Answers(connect(workspace.database_url)), spec.rubric, identity)


def _judge_of(task_file: Path) -> tuple[JudgeSpec, Workspace]:
    task = load(task_file).task
    if task.judge is None:
        raise TaskFileError(f"{task_file}: has no judge; add `judge: {{model: NAME, rubric: …}}` (docs/judge.md)")
    return task.judge, Workspace.beside(task_file)


def _print_duel(found: pairwise.Duel) -> None:
    say(f"  {found.left} wins {found.wins}, loses {found.losses}, ties {found.ties} against {found.right}")
    say(f"  won        {_share(found.won)} (a tie is half a win) by {found.judge}")
    of = f"of {len(found.rulings)} pairs"
    say(f"  nonsense   {found.nonsense} {of} could not be read and count for nobody")
    if found.failed:
        say(f"  failed     {found.failed} {of} got no verdict at all and count for nobody either")
    bias = found.bias
    coin = "" if bias.first_p is None else f" (p = {bias.first_p:.2g})"
    say(f"  order      {_share(bias.consistent)} judged alike in both orders")
    say(f"  first      {_share(bias.first)} of the rest went to the first answer{coin}")
    say(f"  length     {_share(bias.longer)} of decided pairs went to the longer answer")
    say(f"  itself     {_share(bias.own)} more for its own answers than the task's metric gives")


def _print_grades(found: grades.Grades) -> None:
    named = [("all", found.mean)]
    named += [(f"turn {at}", each) for at, each in enumerate(found.turns, 1) if len(found.turns) > 1]
    named += [(name, each) for name, each in found.categories.items() if len(found.categories) > 1]
    table([f"{found.model}, by {found.judge}", "grade", "95 % interval", "n"], [_grade_line(*each) for each in named])
    of = f"of {len(found.rows)}"
    say(f"\n  {found.nonsense} {of} verdicts could not be read")
    if found.failed:
        say(f"  {found.failed} {of} answers got no verdict: the judge failed")
    if found.unanswered:
        say(f"  {found.unanswered} {of} turns were not answered: the model failed")
    say(f"  {found.without_reference} {of} answers had no reference beside them")


def _grade_line(name: str, figure: Interval | None) -> list[object]:
    if figure is None:
        return [name, "–", "–", 0]
    return [name, f"{figure.value:.2f}", f"[{figure.low:.2f}, {figure.high:.2f}]", figure.n]


def _share(figure: Interval | None) -> str:
    return f"{figure.value:.1%} [{figure.low:.1%}, {figure.high:.1%}]" if figure else "–"
