"""What fits in a machine's memory, and how fast it would answer.

Memory is added up from the model's shape and what the engine and the trainer were measured to take; for models at hand
`tests/catalogue/test_fit.py` holds the estimate within 20 % of the measured peak. Speed is scaled from a calibration:
decoding reads all weights once a token, reading a prompt does two operations a parameter and token.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from freehold.catalogue import model, shape
from freehold.catalogue.model import Model
from freehold.catalogue.shape import Shape
from freehold.errors import NotFoundError, ResourceError, UserError
from freehold.records import Record
from freehold.store.workspace import Workspace, read_record, write_record

MIB = 1024 * 1024
BITS = {"Q4_0": 4.5, "Q8_0": 8.5, "BF16": 16.0}  # a weight, block scales included
AS_SHIPPED = "as shipped"
ENCODINGS = (AS_SHIPPED, *BITS)
_REPACKED = {"Q4_0"}  # llama.cpp keeps a second copy of these, arranged for the processor's vector units

# Measured with xllamacpp 2026.10 on x86-64 (VmHWM after eight requests), see docs/fit.md.
_ENGINE = 46 * MIB  # the process itself
_ENGINE_PER_TOKEN_KIND = 192  # bytes: sampling and logits
_PROMPT_CACHE = 1024  # tokens of finished prompts that the server keeps

# Measured with freehold's trainer on CPU in bf16 (peak resident memory), see docs/fit.md.
_IMPORTS, _TRAINER = 238 * MIB, 330 * MIB  # torch and transformers; the same with optimiser and buffers
_UNPACKED_BYTES = 12  # a number of the embedding while it is read: the largest matrix, in three copies of 32 bits
_KEPT_WIDTHS, _KEPT_FEED_FORWARDS = 28, 6  # numbers kept for the backward pass, a token and layer
_ATTENTION_BYTES = 10  # a head and pair of positions, softmax in 32 bits included
_LOGIT_BYTES = 14  # a kind of token and answer token: logits, their 32-bit copy and both gradients


class Setting(Record, frozen=True, kw_only=True):
    """How a model would be served and tuned.

    `context` is tokens a slot, `batch_tokens` tokens a tuning step after the prompt's shared beginning of
    `shared_tokens`, `example_tokens` what an example adds to it.
    """

    slots: int = 8
    context: int = 1024
    prompt_tokens: int = 300
    answer_tokens: int = 10
    batch_tokens: int = 768
    shared_tokens: int = 150
    example_tokens: int = 30


class Pace(Record, frozen=True, kw_only=True):
    """What was measured in one encoding: tokens/s, and the peak resident memory of the engine in bytes."""

    encoding: str
    prompt_per_second: float
    answer_per_second: float
    peak_bytes: int
    weights_bytes: int


class Calibration(Record, frozen=True, kw_only=True):
    """A machine as it was measured with one base, one slot of 1,024 tokens."""

    machine: str
    base: str
    parameters: int
    measured_at: str
    paces: tuple[Pace, ...]


class Machine(Record, frozen=True, kw_only=True):
    """Memory in bytes that may be taken, and how fast the machine is, where that was measured."""

    memory: int
    calibration: Calibration | None = None


class Estimate(Record, frozen=True, kw_only=True):
    """One encoding on one machine: bytes, tokens/s and milliseconds an answer; None where nothing was measured."""

    encoding: str
    weights_bytes: int
    serving_bytes: int
    tuning_bytes: int
    serving_fits: bool
    tuning_fits: bool
    prompt_per_second: float | None
    answer_per_second: float | None
    latency_ms: float | None


def estimates(entry: Model, machine: Machine, setting: Setting, workspace: Workspace) -> tuple[Estimate, ...]:
    """Every encoding, smallest weights first; raises `UndeterminedError` where the model's size is not known."""
    found = shape.of(entry, workspace)
    rows = [_estimate(found, encoding, machine, setting) for encoding in ENCODINGS if _weights(found, encoding)]
    return tuple(sorted(rows, key=lambda row: row.weights_bytes))


def cheapest(rows: Sequence[Estimate], latency_ms: float) -> Estimate | None:
    """The setting with the least memory that fits and answers in time; None where none does or nothing was measured."""
    good = [row for row in rows if row.serving_fits and row.latency_ms is not None and row.latency_ms <= latency_ms]
    return min(good, key=lambda row: row.serving_bytes, default=None)


def serving_memory(found: Shape, encoding: str, setting: Setting) -> int:
    """Peak resident memory of the engine, in bytes."""
    weights = _weights(found, encoding) or 0
    tokens = setting.slots * setting.context + min(setting.context, _PROMPT_CACHE)
    checkpoints = setting.slots * min(setting.context, _PROMPT_CACHE) if found.window else 0
    copies = 2 if encoding in _REPACKED else 1
    cache = found.kv_bytes * (tokens + checkpoints)
    return round(copies * weights + cache + _ENGINE + _ENGINE_PER_TOKEN_KIND * found.vocabulary)


def tuning_memory(found: Shape, setting: Setting) -> int:
    """Peak resident memory of tuning in bf16, in bytes."""
    weights = 2 * found.parameters + (found.file_bytes or 0)
    kept = 2 * (_KEPT_WIDTHS * found.width + _KEPT_FEED_FORWARDS * found.feed_forward)
    attention = _ATTENTION_BYTES * found.heads * (setting.shared_tokens + setting.example_tokens)
    answers = setting.batch_tokens / setting.example_tokens * setting.answer_tokens
    step = setting.batch_tokens * found.layers * (kept + attention) + answers * _LOGIT_BYTES * found.vocabulary
    opening = _IMPORTS + _UNPACKED_BYTES * found.vocabulary * found.width
    return round(weights + max(opening, _TRAINER + step))


def calibration(workspace: Workspace) -> Calibration | None:
    """What was measured of this machine, if anything was."""
    try:
        return read_record(_calibration_file(workspace), Calibration)
    except NotFoundError:
        return None


def keep(measured: Calibration, workspace: Workspace) -> None:
    """Keep what was measured."""
    write_record(_calibration_file(workspace), measured)


def this_machine(workspace: Workspace) -> Machine:
    """The memory that is free here now, and what was measured."""
    return Machine(memory=available_bytes(), calibration=calibration(workspace))


def described(memory: int, bandwidth: float, operations: float) -> Machine:
    """A machine by its data sheet: bytes, bytes/s of memory, operations/s. Speeds are then upper bounds."""
    if min(memory, bandwidth, operations) <= 0:
        raise UserError("a machine is described by its memory, bandwidth and operations a second, all above nothing")
    paces = tuple(
        Pace(
            encoding=encoding,
            prompt_per_second=operations / 2e9,
            answer_per_second=bandwidth / (bits / 8 * 1e9),
            peak_bytes=0,
            weights_bytes=round(bits / 8 * 1e9),
        )
        for encoding, bits in BITS.items()
    )
    sheet = Calibration(machine="described", base="1B", parameters=10**9, measured_at="", paces=paces)
    return Machine(memory=memory, calibration=sheet)


def available_bytes() -> int:
    """Memory that a new process may take without swapping, in bytes; a container's limit counts."""
    import psutil

    return min(int(psutil.virtual_memory().available), _container_room())


def _container_room() -> int:
    """What the control group of this process still grants (Linux, cgroup v2); without a limit, everything."""
    group = Path("/sys/fs/cgroup")
    try:
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no such file, or the limit is `max`
        return 2**63 - 1


def total_bytes() -> int:
    """The machine's memory, in bytes."""
    import psutil

    return int(psutil.virtual_memory().total)


def serving_bytes(entry: Model, workspace: Workspace | None = None) -> int | None:
    """Memory to serve a model with the default setting, in bytes; None where its size is not known.

    Its file's size counts where the catalogue knows one, else four bits a weight.
    """
    if entry.parameters is None and not entry.files:
        return None
    if entry.parameters is None:
        return sum(file.size for file in entry.files) + _ENGINE
    found = shape.of(entry, workspace or Workspace.here())
    if found.file_bytes is None and entry.files:
        return entry.files[0].size + serving_memory(found, "", Setting())
    return serving_memory(found, AS_SHIPPED if found.file_bytes else "Q4_0", Setting())


def require(name: str, available: int | None = None, workspace: Workspace | None = None) -> None:
    """Raises `ResourceError`, naming what would fit, where a base cannot be served in the memory at hand."""
    entry = model.find(name, workspace)
    room = available_bytes() if available is None else available
    needed = serving_bytes(entry, workspace)
    if needed is None or needed <= room:
        return
    fitting = ", ".join(_fitting(room))
    instead = f"{fitting} would fit" if fitting else "no model that can be pulled would fit"
    raise ResourceError(
        f"{entry.name} needs about {needed / 1e9:.1f} GB of memory and {room / 1e9:.1f} GB is free; {instead}"
    )


def _fitting(room: int) -> Iterator[str]:
    for each in model.known().values():
        size = serving_bytes(each) if each.files and each.kind != "embedding" else None
        if size is not None and size <= room:
            yield f"{each.name} ({size / 1e9:.1f} GB)"


def _estimate(found: Shape, encoding: str, machine: Machine, setting: Setting) -> Estimate:
    serving, tuning = serving_memory(found, encoding, setting), tuning_memory(found, setting)
    prompt, answer = _speeds(found, encoding, machine.calibration)
    return Estimate(
        encoding=encoding,
        weights_bytes=_weights(found, encoding) or 0,
        serving_bytes=serving,
        tuning_bytes=tuning,
        serving_fits=serving <= machine.memory,
        tuning_fits=tuning <= machine.memory,
        prompt_per_second=prompt,
        answer_per_second=answer,
        latency_ms=1000 * (setting.prompt_tokens / prompt + setting.answer_tokens / answer)
        if prompt and answer
        else None,
    )


def _speeds(found: Shape, encoding: str, measured: Calibration | None) -> tuple[float | None, float | None]:
    """Tokens/s for prompts and answers, scaled from the calibration of the same encoding."""
    pace = next((each for each in measured.paces if each.encoding == encoding), None) if measured else None
    weights = _weights(found, encoding)
    if measured is None or pace is None or not weights:
        return None, None
    prompt = pace.prompt_per_second * measured.parameters / found.parameters
    return prompt, pace.answer_per_second * pace.weights_bytes / weights


def _weights(found: Shape, encoding: str) -> int | None:
    if encoding == AS_SHIPPED:
        return found.file_bytes
    return round(found.parameters * BITS[encoding] / 8) if encoding in BITS else None


def _calibration_file(workspace: Workspace) -> Path:
    return workspace.root / "calibration.json"
