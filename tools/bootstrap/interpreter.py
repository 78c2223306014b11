"""A Python and the commands that run with it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Interpreter:
    """A Python, that of a virtual environment or the one that runs.

    Attributes:
        path: The program, not resolved: its place says which virtual environment it belongs to.
        packages: Folder of packages that come before its own.
    """

    path: Path
    packages: Path | None = None

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of its commands, which find programs (ninja) beside it or beside this Python."""
        paths = [str(self.path.parent), str(Path(sys.executable).parent), os.environ.get('PATH', os.defpath)]
        return {
            **os.environ,
            'PATH': os.pathsep.join(paths),
            **({'PYTHONPATH': str(self.packages)} if self.packages else {}),
        }

    def python(self, *arguments: str) -> None:
        """Run it; a failure ends the program."""
        if subprocess.call([str(self.path), *arguments], env=self.variables) != 0:
            sys.exit(f'error: `{self.path} {" ".join(arguments)}` failed (its output is above); run the command again')

    def pip(self, *arguments: str) -> None:
        """Run its pip; a failure ends the program."""
        self.python('-m', 'pip', *arguments, '--quiet', '--disable-pip-version-check')

    def succeeds(self, *arguments: str) -> bool:
        """Run it with its output hidden; returns whether that worked."""
        hidden = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return subprocess.call([str(self.path), *arguments], env=self.variables, **hidden) == 0

    def output(self, code: str) -> str:
        """Output of a line of Python."""
        return subprocess.check_output([str(self.path), '-c', code], env=self.variables, text=True)
