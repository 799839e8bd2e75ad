"""Blind side-by-side chat: two candidates of a task answer the same words, a person votes, and only then sees who.

A comparison is dealt once (`store/bouts.py`), and only the server knows whose side is whose. Ratings are those of
`freehold arena`: Bradley-Terry with intervals, and ranks that a difference within the noise does not make.
"""

from random import SystemRandom

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Send

from freehold.console import charts, chat
from freehold.console.charts import Measured
from freehold.console.house import Visit
from freehold.console.page import Page
from freehold.errors import NotFoundError, UndeterminedError, UserError
from freehold.evaluation import report as reports
from freehold.evaluation.arena import rank as ranking
from freehold.evaluation.arena import votes as ballots
from freehold.evaluation.arena.ballot import wins
from freehold.evaluation.arena.pairing import draw
from freehold.evaluation.arena.rank import Rating
from freehold.release import served_name
from freehold.store import deployments, stages
from freehold.store.bouts import Bout, Bouts
from freehold.store.documents import Documents
from freehold.store.users import Role

LIVE = "live"  # what stands where a bout names its example, for a comparison on the voter's own words
_ENOUGH = 2


def show(visit: Visit) -> Response:
    """The tasks that have two candidates or more to tell apart."""
    tasks = {name.split(":")[0] for name in deployments.all_current(visit.store) if ":" in name}
    tasks |= set(stages.tasks(visit.store))
    counts = {task: (len(contestants(visit, task)), len(Bouts(visit.store).votes(task))) for task in sorted(tasks)}
    return visit.page("arenas.html", counts=counts)


def one(visit: Visit) -> Response:
    """The chat, and the ratings so far."""
    task = visit.params["task"]
    found = contestants(visit, task)
    votes = Bouts(visit.store).votes(task)
    ratings, why = rated(votes)
    drawn = [Measured(each.model, each.rating, each.low, each.high) for each in ratings]
    return visit.page(
        "arena.html",
        task=task,
        enough=len(found) >= _ENOUGH,
        votes=len(votes),
        mine=sum(each.voter == visit.user.user for each in votes),
        ratings=ratings,
        why=why,
        chart=charts.intervals(drawn, "rating, points; 400 are a factor of ten", "Ratings with 95 % intervals"),
    )


def deal(visit: Visit) -> Response:
    """A new comparison: two candidates drawn so that the vote tells most; says nothing but its id."""
    task = visit.params["task"]
    names = sorted(contestants(visit, task))
    if len(names) < _ENOUGH:
        raise NotFoundError(f"{task}: there are no two candidates to tell apart; a run deploys them")
    bouts = Bouts(visit.store)
    left, right = draw(wins(bouts.votes(task), names), SystemRandom())
    return JSONResponse({"id": bouts.deal(task, LIVE, names[left], names[right])})


async def answer(visit: Visit, receive: Receive, send: Send) -> None:
    """One side's next words, streamed, without a sign of whose they are."""
    import asyncio

    model = await asyncio.to_thread(_behind, visit)
    asking = chat.Asking(model, chat.turns(visit.form.get("messages")), {"max_tokens": 512}, "arena", blind=True)
    await chat.ask(visit.house.desk, asking, receive, send)


def vote(visit: Visit) -> Response:
    """Keep a vote, and now say who was who."""
    bouts = Bouts(visit.store)
    bout = bouts.find(visit.params["id"])
    bouts.cast(bout.id, visit.form.get("winner"), visit.user.user)
    return JSONResponse({"left": bout.left_model, "right": bout.right_model, "winner": visit.form.get("winner")})


def contestants(visit: Visit, task: str) -> dict[str, str]:
    """The task's candidates that can be asked: their name (as reports have it) and the public name behind it."""
    served = [name for name in deployments.all_current(visit.store) if name.startswith(f"{task}:")]
    document = Documents(visit.store).newest("report", task)
    known: dict[str, str] = {}
    if document is not None:
        try:
            figures = reports.read(visit.workspace, document.digest).figures
            known = {served_name(task, each.candidate): each.candidate.name for each in figures}
        except NotFoundError:
            known = {}
    return {known.get(name, name): name for name in served}


def rated(votes: list[Bout]) -> tuple[list[Rating], str]:
    """The ratings, or why there are none yet."""
    if not votes:
        return [], "Nobody has voted yet."
    triples = [(each.left_model, each.right_model, each.winner or "tie") for each in votes]
    try:
        return ranking.rank(ballots.of(triples), ranking.Method.BT, ranking.Scale(), ranking.Resampling(rounds=0)), ""
    except UndeterminedError as error:
        return [], str(error)


def _behind(visit: Visit) -> str:
    """The public name behind one side of a comparison."""
    bout, side = Bouts(visit.store).find(visit.params["id"]), visit.params["side"]
    if side not in ("left", "right"):
        raise UserError(f"{side}: a comparison has a left and a right side")
    name = bout.left_model if side == "left" else bout.right_model
    found = contestants(visit, bout.task).get(name)
    if found is None:
        raise NotFoundError("a side of this comparison is not deployed any more; begin a new one")
    return found


PAGES = (
    Page("/arena", show),
    Page("/arena/{task}", one),
    Page("/arena/{task}/deal", deal, method="POST", role=Role.VOTER),
    Page("/arena/bouts/{id}/vote", vote, method="POST", role=Role.VOTER),
    Page("/arena/bouts/{id}/{side}", method="POST", role=Role.VOTER, stream=answer),
)
