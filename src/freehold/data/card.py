"""The data card: what is in a dataset, said once and written as Markdown, HTML or JSON.

Sections follow "Datasheets for Datasets" (Gebru et al. 2021) as far as they can be counted; what nobody declared is
shown as unknown.
"""

import html
import re
from collections import Counter
from collections.abc import Sequence

from freehold.data.canaries import planted
from freehold.data.captured import SOURCE
from freehold.data.language import language, script
from freehold.data.leakage import leaks
from freehold.data.row import Row
from freehold.records import Dataset, Example, Provenance, Pruning, Record, Split
from freehold.spec import DataSpec

_PLACEHOLDER = re.compile(r"\[([A-Z][A-Z_]*)_[0-9]+\]")
_UNKNOWN = "unknown"
_SHOWN = 80  # characters of what was cut


class Section(Record, frozen=True, kw_only=True):
    """A heading and its rows, the first of which names the columns."""

    title: str
    rows: tuple[tuple[str, ...], ...]


class Card(Record, frozen=True, kw_only=True):
    """A dataset's card."""

    task: str
    digest: str
    sections: tuple[Section, ...]


def card(dataset: Dataset, examples: Sequence[Example], spec: DataSpec) -> Card:
    """Count everything that a reader of the card asks first."""
    sections = [
        _sources(dataset, examples, spec),
        _counts(dataset, examples),
        _table("Dropped rows", ("reason", "rows"), [(reason, n) for reason, n in dataset.dropped.items()]),
        _checks(dataset, examples),
        _constant(dataset),
        _lengths(examples),
        _table("Writing systems", ("system", "examples"), _commonest([script(each.text) for each in examples])),
        _table("Languages (guessed)", ("language", "examples"), _commonest([language(each.text) for each in examples])),
        _labels(dataset, examples),
        _table("Hidden values", ("kind", "placeholders"), _hidden(examples)),
    ]
    return Card(
        task=dataset.task, digest=dataset.digest, sections=tuple(each for each in sections if len(each.rows) > 1)
    )


def markdown(card: Card) -> str:
    """The card as Markdown."""
    parts = [f"# Data card: {card.task}\n\nDataset `{card.digest}`\n"]
    for section in card.sections:
        head, *rows = [f"| {' | '.join(map(_cell, row))} |" for row in section.rows]
        rule = "|" + "---|" * len(section.rows[0])
        parts.append("\n".join([f"## {section.title}\n", head, rule, *rows]) + "\n")
    return "\n".join(parts)


def page(card: Card) -> str:
    """The card as one self-contained HTML page."""
    parts = [f"<h1>Data card: {html.escape(card.task)}</h1>\n<p>Dataset <code>{card.digest}</code></p>"]
    for section in card.sections:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in section.rows[0])
        rows = (
            "<tr>" + "".join(f'<td dir="auto">{html.escape(cell)}</td>' for cell in row) + "</tr>"
            for row in section.rows[1:]
        )
        parts.append(
            f"<h2>{html.escape(section.title)}</h2>\n<table><tr>{head}</tr>\n" + "\n".join(rows) + "\n</table>"
        )
    return _PAGE.format(title=html.escape(card.task), body="\n".join(parts))


def _sources(dataset: Dataset, examples: Sequence[Example], spec: DataSpec) -> Section:
    declared = (spec.licence or _UNKNOWN, spec.consent or _UNKNOWN)
    whose = Counter((_source_of(each.origin), each.provenance) for each in examples)
    rows = [
        (each.name, f"{each.rows:,}", _answers_of(each.name, whose), *declared, each.sha256) for each in dataset.sources
    ]
    return Section(title="Sources", rows=(("source", "rows", "answers", "licence", "consent", "SHA-256"), *rows))


def _source_of(origin: str) -> str:
    return SOURCE if origin.startswith("exchange ") else origin.rpartition(":")[0]


def _answers_of(source: str, whose: Counter[tuple[str, Provenance]]) -> str:
    """Whose a source's kept answers are: `human 506 · incumbent 12`."""
    counts = ((each, whose[source, each]) for each in Provenance)
    return " · ".join(f"{each} {count:,}" for each, count in counts if count) or "none kept"


def _constant(dataset: Dataset) -> Section:
    """What was cut from every request, and how long it is."""
    cut = dataset.pruning or Pruning()
    parts = {
        "system message, beginning": cut.system.prefix,
        "system message, end": cut.system.suffix,
        "user turn, beginning": cut.user.prefix,
        "user turn, end": cut.user.suffix,
    }
    rows = [(name, f"{len(text):,}", " ".join(text.split())[:_SHOWN]) for name, text in parts.items() if text]
    return Section(title="Cut from every request", rows=(("part", "characters", "it begins"), *rows))


def _counts(dataset: Dataset, examples: Sequence[Example]) -> Section:
    rows: list[tuple[str, object]] = [("examples", len(examples))]
    rows += [(split.replace("_", " "), dataset.counts[split]) for split in Split]
    rows += [(f"references: {provenance}", count) for provenance, count in dataset.provenance.items()]
    rows += [("planted secrets, among train", sum(map(planted, examples)))]
    rows += [("sessions", len({each.session for each in examples} - {None}))]
    rows += [("subjects (by keyed hash)", len({each.subject for each in examples} - {None}))]
    return _table("What is in it", ("", "count"), rows)


def _checks(dataset: Dataset, examples: Sequence[Example]) -> Section:
    held_out = [_row(each) for each in examples if each.split is Split.HELD_OUT]
    found = leaks(held_out, [_row(each) for each in examples if each.split is not Split.HELD_OUT])
    rows: list[tuple[str, object]] = [
        ("held-out examples with a near-duplicate or their session in training (must be 0)", len(found)),
        ("inputs that came more than once", dataset.repeated),
        ("of these, answered differently", dataset.disputed),
        ("like pairs with different answers, both kept", dataset.conflicts),
    ]
    return _table("Checks", ("check", "found"), rows)


def _lengths(examples: Sequence[Example]) -> Section:
    rows = []
    for name, texts in (("input", [each.text for each in examples]), ("reference", [e.reference for e in examples])):
        sizes = sorted(map(len, texts))
        middle, high = sizes[len(sizes) // 2], sizes[int(len(sizes) * 0.95)]
        rows.append((name, *(f"{size:,}" for size in (sizes[0], middle, high, sizes[-1]))))
    return Section(title="Lengths in characters", rows=(("", "least", "median", "95th percentile", "most"), *rows))


def _labels(dataset: Dataset, examples: Sequence[Example]) -> Section:
    counts = Counter((each.reference, each.split) for each in examples)
    rows = [(label, *(f"{counts[label, split]:,}" for split in Split)) for label in dataset.labels]
    return Section(title="Labels", rows=(("label", *(split.replace("_", " ") for split in Split)), *rows))


def _hidden(examples: Sequence[Example]) -> list[tuple[str, object]]:
    texts = (message.content for each in examples for message in each.messages)
    return list(Counter(kind for text in texts for kind in _PLACEHOLDER.findall(text)).most_common())


def _commonest(values: Sequence[str | None]) -> list[tuple[str, object]]:
    return list(Counter(value or _UNKNOWN for value in values).most_common())


def _table(title: str, head: tuple[str, str], rows: Sequence[tuple[str, object]]) -> Section:
    cells = ((name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value)) for name, value in rows)
    return Section(title=title, rows=(head, *cells))


def _row(example: Example) -> Row:
    answer, provenance = example.reference, example.provenance
    return Row(0, example.origin, example.messages, answer, provenance, session=example.session)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Data card: {title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse}}th,td{{border:1px solid #bbb;padding:.2rem .6rem;text-align:start}}
td{{overflow-wrap:anywhere}}</style></head>
<body>
{body}
</body></html>
"""
