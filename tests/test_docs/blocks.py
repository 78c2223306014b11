"""Blocks of README.md, CONTRIBUTING.md and docs: their commands, the files that they show, and their marks.

A comment `<!-- not run: REASON -->` before a block of commands says why no test can run it. A block of Python after a
line with nothing but a file's name, as in "`my_project/height.py`:", is that file.
"""

import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PAGES = [REPO / 'README.md', REPO / 'CONTRIBUTING.md', *sorted((REPO / 'docs').rglob('*.md'))]
PAGES = [page for page in PAGES if '_build' not in page.parts]
# languages of blocks; those without one are text
LANGUAGES = {'', 'bash', 'console', 'json', 'python', 'text', '{toctree}', '{config-types}', '{eval-rst}'}
_FENCE = re.compile(r'^( *)```([^\n`]*)\n(.*?)^\1```$', re.S | re.M)
_MARK = re.compile(r'<!-- not run: (.+?) -->\s*$')
_FILE = re.compile(r'^`(\S+)`:\s*$', re.M)
_SETTING = re.compile(r'[A-Z_]+=.*')


@dataclass(frozen=True)
class Command:
    """A command of a block: settings of the environment, then words."""

    environment: dict[str, str]
    words: list[str]

    @property
    def program(self) -> str:
        """The program of the repository that it runs, such as `tools/train.py`; otherwise its first word."""
        return self.words[self._place]

    @property
    def arguments(self) -> list[str]:
        """What the program gets."""
        return self.words[self._place + 1 :]

    @property
    def runs_python(self) -> bool:
        """Whether it is one process of Python that runs a file."""
        return self.words[0] == 'python' and self._place == 1

    @cached_property
    def _place(self) -> int:
        if self.words[0] in ('python', 'torchrun'):
            return next((place for place, word in enumerate(self.words) if word.endswith('.py')), 0)
        return 0


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    language: str
    text: str
    mark: str | None
    file: str | None

    def __str__(self) -> str:
        return f'{self.page.relative_to(REPO)}:{self.line}'

    @property
    def commands(self) -> list[Command]:
        """Its commands; comments are left out, lines that end with a backslash continue."""
        found = []
        for line in self.text.replace('\\\n', ' ').splitlines():
            words = shlex.split(line, comments=True)
            settings = {}
            while words and _SETTING.fullmatch(words[0]):
                name, _, settings[name] = words.pop(0).partition('=')
            if words:
                found.append(Command(settings, words))
        return found


def blocks_of(page: Path) -> list[Block]:
    """Blocks of a page in their order."""
    text, found = page.read_text(), []
    for match in _FENCE.finditer(text):
        before = text[: match.start()].rstrip()
        mark, name = _MARK.search(before), _FILE.fullmatch(before.rsplit('\n', 1)[-1])
        found.append(
            Block(
                page,
                text[: match.start()].count('\n') + 1,
                match[2].split(' ')[0],
                re.sub(f'^{match[1]}', '', match[3], flags=re.M),
                mark and mark[1],
                name and name[1],
            )
        )
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
COMMAND_BLOCKS = [block for block in BLOCKS if block.language == 'bash']
MARKED = [block for block in COMMAND_BLOCKS if block.mark]
