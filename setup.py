"""Puts the bundled task (examples/frontline) into the wheel, so that `freehold demo` works without a checkout."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithBundledTask(build_py):
    def run(self) -> None:
        super().run()
        target = Path(self.build_lib) / "freehold" / "bundled"
        if not self.editable_mode:
            shutil.copytree(
                "examples/frontline", target, ignore=shutil.ignore_patterns(".freehold"), dirs_exist_ok=True
            )


setup(cmdclass={"build_py": BuildWithBundledTask})
