"""What a running gateway says on standard error: in words, or as JSON, a line a request. Never content (invariant 5).

A line holds names, times and counts. Of an error it holds the kind and the place, and not its words, which may repeat
what a caller sent. Lines are written by a thread of their own: a slow reader of them delays nobody.
"""

import json
import logging
import logging.handlers
import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from freehold.store.exchanges import Entry

Format = Literal["text", "json"]
_LONGEST_NAME = 128
_REQUESTS = logging.getLogger("freehold.requests")


@contextmanager
def logging_to_stderr(form: Format) -> Iterator[None]:
    """Log while the block runs; what waits is written at its end."""
    out = logging.StreamHandler(sys.stderr)
    out.setFormatter(_Lines() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(waiting, out)
    handler = _Handed(waiting)
    root = logging.getLogger()
    root.addHandler(handler)
    _REQUESTS.setLevel(logging.INFO)
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(handler)
        listener.stop()


def request_line(key_names: Callable[[str], str]) -> Callable[[Entry], None]:
    """Writes the line of a request; `key_names` is the name of a key by its id."""

    def write(entry: Entry) -> None:
        _REQUESTS.info("request", extra={"fields": fields_of(entry, key_names)})

    return write


def fields_of(entry: Entry, key_names: Callable[[str], str]) -> dict[str, Any]:
    """What a line says of a request."""
    exchange, attempts = entry.exchange, entry.attempts
    costs = [each.cost for each in attempts]
    return {
        "exchange": exchange.id,
        "endpoint": exchange.endpoint,
        "model": exchange.model[:_LONGEST_NAME],
        "key": key_names(exchange.key) if exchange.key is not None else None,
        "status": exchange.status,
        "finished": exchange.finished,
        "stream": exchange.stream,
        "latency_ms": round(exchange.latency_ms, 2),
        "first_byte_ms": round(exchange.first_byte_ms, 2) if exchange.first_byte_ms is not None else None,
        "outcomes": [each.outcome for each in attempts],
        "input_tokens": sum(each.input_tokens for each in attempts),
        "output_tokens": sum(each.output_tokens for each in attempts),
        "cost_pico": None if None in costs else sum(cost or 0 for cost in costs),
        "currency": attempts[-1].currency if attempts else None,
        "shadow_of": exchange.shadow_of,
    }


class _Handed(logging.handlers.QueueHandler):
    """Hands records over as they are: the formatter wants the error itself, and not its words."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


class _Lines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {"at": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
        fields = getattr(record, "fields", None)
        if fields is not None:
            line |= {"event": "request", **fields}
        else:
            line |= {"event": "log", "from": record.name, "message": _message(record)}
        if record.exc_info and record.exc_info[0] is not None:
            line |= {"error": record.exc_info[0].__name__, "where": _where(record)}
        return json.dumps(line)


def _message(record: logging.LogRecord) -> str:
    """The message, with the kind of each error in the place of its words, unless the error is one of ours."""
    from freehold.errors import FreeholdError

    if not isinstance(record.args, tuple):
        return record.getMessage()
    known = [
        type(each).__name__ if isinstance(each, BaseException) and not isinstance(each, FreeholdError) else each
        for each in record.args
    ]
    return str(record.msg) % tuple(known) if known else str(record.msg)


def _where(record: logging.LogRecord) -> list[str]:
    places, trace = [], record.exc_info[2] if record.exc_info else None
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return places[-8:]
