"""Measures this machine with one small base, through the real engine: what `freehold fit` scales its speeds from."""

import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

from freehold.catalogue import fit, shape
from freehold.catalogue.fit import Calibration, Pace
from freehold.engines.engine import Completion, Sampling
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.quantise import reencode
from freehold.progress import Progress
from freehold.records import Base
from freehold.store.layout import WEIGHTS_FILE
from freehold.store.workspace import Workspace

_PROMPT, _ANSWER = 512, 48  # tokens
_SETTINGS = Settings(slots=1, context=1024)


def calibrate(base: Base, workspace: Workspace, progress: Progress) -> Calibration:
    """Prompt and answer tokens/s and peak memory of a pulled base, as shipped and in each encoding; kept."""
    weights = workspace.models / base.name / WEIGHTS_FILE
    found = shape.read(weights)
    paces = []
    with progress.step("calibrate", len(fit.ENCODINGS)) as step:
        for encoding in fit.ENCODINGS:
            paces.append(_in_encoding(weights, encoding, workspace))
            step.advance(1, encoding)
    measured = Calibration(
        machine=f"{platform.machine()}, {os.cpu_count()} cores, {fit.total_bytes() / 1e9:.0f} GB",
        base=base.name,
        parameters=found.parameters,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        paces=tuple(paces),
    )
    fit.keep(measured, workspace)
    return measured


def _in_encoding(weights: Path, encoding: str, workspace: Workspace) -> Pace:
    if encoding == fit.AS_SHIPPED:
        return _pace(weights, encoding)
    again = workspace.models / f".calibration-{encoding}.gguf"
    try:
        reencode(weights, again, encoding)  # type: ignore[arg-type]  # fit.BITS names the engine's encodings
        return _pace(again, encoding)
    finally:
        again.unlink(missing_ok=True)


def _pace(weights: Path, encoding: str) -> Pace:
    engine = LlamaCpp(weights, settings=_SETTINGS)
    engine.start()
    try:
        prompt = tuple(range(300, 300 + _PROMPT))
        begun = time.monotonic()
        engine.complete(Completion(prompt=prompt, sampling=Sampling(max_tokens=1)))
        read = time.monotonic()
        answer = engine.complete(Completion(prompt=prompt, sampling=Sampling(max_tokens=_ANSWER)))
        written = time.monotonic()
        peak = _peak_bytes(engine.pid or 0)
    finally:
        engine.stop()
    return Pace(
        encoding=encoding,
        prompt_per_second=_PROMPT / (read - begun),
        answer_per_second=answer.output_tokens / (written - read),
        peak_bytes=peak,
        weights_bytes=weights.stat().st_size,
    )


def _peak_bytes(pid: int) -> int:
    """The most resident memory a process has had; where the system keeps no peak, what it has now."""
    import psutil

    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return int(psutil.Process(pid).memory_info().rss)
