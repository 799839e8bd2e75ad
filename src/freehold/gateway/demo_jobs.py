"""The five jobs of an invented company, for `freehold demo --traffic`: what it asks, and what comes back.

Every name, address and number is made up. More than half of the requests hold something personal, so that redaction
shows.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

_NAMES = ("Ana Brandt", "Jo Blake", "Priya Nair", "Tom Okafor", "Lena Vogt", "Sam Reyes", "Mei Tan", "Luca Moretti")
_PLACES = ("Leeds", "Bristol", "Utrecht", "Graz", "Porto", "Gdansk", "Cork", "Malmö")
_THINGS = ("till 3", "the walk-in freezer", "the pallet truck", "the label printer", "the back door", "my scanner")
_GOODS = ("oat milk 1 l", "A4 paper", "nitrile gloves M", "hand soap 5 l", "receipt rolls", "cable ties", "dish tabs")

_TRIAGE = {
    "payroll": ("my pay is short by {n} hours, the clock prints say otherwise", "no overtime on the slip again, {who}"),
    "scheduling": ("can someone take my late on the {n}th", "rota for {place} has me on twice at the same time"),
    "equipment-fault": ("{thing} is dead again, third time this month", "{thing} makes a grinding noise since {n}:00"),
    "safety-incident": ("slipped by {thing}, elbow hurts, {n} people saw it", "box fell off the rack near {thing}"),
    "it-access": ("locked out, user {mail}, says expired", "new starter {who} has no login, start is today"),
    "leave": ("want {n} days off in august, who signs", "my leave is not in the system, I asked {who} in may"),
    "customer-complaint": ("customer {who} wants a refund and a call on {phone}", "lady shouting about order {n}4418"),
    "facilities": ("no hot water in {place} staff kitchen", "bins behind {thing} not emptied for {n} days"),
}
_REPLIES = (
    "I am sorry that this took so long. Your parcel left {place} this morning and should be with you tomorrow.",
    "Thank you for writing. I have refunded {n}.90 to your card; your bank shows it within three working days.",
    "You can send it back free of charge. I have mailed a label to {mail}; any post office takes it.",
)
_OPENINGS = ("Dear {who},", "Hello {who},", "Hi {who}, thanks for your patience.", "Good morning {who},")
_CLOSINGS = ("Kind regards from {place}", "Is there anything else that I can do?", "Write to me any time.", "")
_ASKS = (
    "Where is my parcel? Order {n}55{n}, it should have been in {place} on monday. {mail}",
    "I was charged twice for the same order, please call me on {phone}",
    "The {goods} you sent are the wrong size, how do I send them back?",
    "And how long does that take?",
    "Thanks, but my address changed, I am in {place} now",
)


@dataclass(frozen=True)
class Told:
    """One request and its answer; `right` is what the answer should have been, where somebody knows."""

    request: dict[str, Any]
    answer: str
    right: str | None = None


@dataclass(frozen=True)
class Job:
    """`share` is of the day's requests; `by_hour` weighs the hours of a day, 0 to 23. `key` is who asks."""

    name: str
    model: str
    key: str
    share: float
    by_hour: tuple[int, ...]
    ask: Callable[[random.Random], Told]
    stream: bool = False
    endpoint: str = "chat.completions"
    seconds: float = 0.9
    longest_session: int = 1


def fill(template: str, luck: random.Random) -> str:
    """A template with invented particulars."""
    who = luck.choice(_NAMES)
    return template.format(
        who=who,
        n=luck.randrange(2, 10),
        place=luck.choice(_PLACES),
        thing=luck.choice(_THINGS),
        goods=luck.choice(_GOODS),
        mail=f"{who.split()[0].lower()}.{who.split()[1].lower()}@example.com",
        phone=f"+44 20 7946 0{luck.randrange(100, 1000)}",
    )


def _triage(luck: random.Random) -> Told:
    right = luck.choice(list(_TRIAGE))
    said = right if luck.random() > 0.09 else luck.choice(list(_TRIAGE))
    system = f"You route messages of shop staff to the team that owns them. Answer with one of: {', '.join(_TRIAGE)}."
    asked = _messages(system, fill(luck.choice(_TRIAGE[right]), luck))
    return Told({"messages": asked, "temperature": 0, "max_tokens": 8}, said, right)


def _orders(luck: random.Random) -> Told:
    lines = [(luck.choice(_GOODS), luck.randrange(1, 60)) for _ in range(luck.randrange(1, 5))]
    asked = f"{fill('From {who}, {mail}', luck)}. Please send " + ", ".join(f"{n} x {what}" for what, n in lines)
    right = _json({"lines": [{"article": what, "quantity": n} for what, n in lines]})
    wrong = _json({"lines": [{"article": what, "quantity": n + 1} for what, n in lines]})
    system = "Extract the order lines of the message as JSON with article and quantity. Answer with JSON only."
    request = {"messages": _messages(system, asked), "temperature": 0, "response_format": {"type": "json_object"}}
    return Told(request, right if luck.random() > 0.04 else wrong, right)


def _reply(luck: random.Random) -> Told:
    system = "You draft replies for the customer service of a web shop: friendly, plain, at most three sentences."
    parts = (luck.choice(_OPENINGS), *luck.sample(_REPLIES, luck.randrange(1, 3)), luck.choice(_CLOSINGS))
    return Told({"messages": _messages(system, fill(luck.choice(_ASKS), luck))}, fill(" ".join(parts), luck))


def _handover(luck: random.Random) -> Told:
    notes = " ".join(fill(luck.choice(luck.choice(list(_TRIAGE.values()))), luck) + "." for _ in range(12))
    system = "Summarise the shift's notes for whoever takes over: what is open, who is waiting, what to check first."
    answer = fill("Open: {thing} and a refund for {who}. Check {thing} first; {n} people wait in {place}.", luck)
    return Told({"messages": _messages(system, notes)}, answer)


def _embed(luck: random.Random) -> Told:
    return Told({"input": [fill(luck.choice(_ASKS), luck) for _ in range(8)]}, "")


_SHOP = (1, 0, 0, 0, 1, 3, 9, 14, 16, 15, 14, 13, 9, 11, 14, 15, 14, 12, 9, 6, 4, 3, 2, 1)
_EVENING = (3, 2, 1, 0, 0, 1, 2, 4, 8, 11, 12, 11, 10, 9, 9, 9, 10, 12, 14, 15, 14, 11, 8, 5)
_NIGHT = (0, 2, 20, 18, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

JOBS = (
    Job("route-message", "gpt-4o-mini", "shop-floor", 0.42, _SHOP, _triage, seconds=0.5),
    Job("extract-order-lines", "gpt-4o-mini", "order-desk", 0.24, _SHOP, _orders, seconds=1.1),
    Job("reply-draft", "gpt-4o", "customer-service", 0.2, _EVENING, _reply, True, seconds=2.6, longest_session=4),
    Job("shift-handover", "gpt-4.1", "shop-floor", 0.06, _NIGHT, _handover, seconds=3.4),
    Job("search-index", "text-embedding-3-small", "order-desk", 0.08, _NIGHT, _embed, False, "embeddings", 0.2),
)


def _messages(system: str, asked: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": asked}]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
