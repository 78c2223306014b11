"""docs/troubleshooting.md quotes messages as the programs print them."""

import ast
import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / 'docs/troubleshooting.md').read_text()
MESSAGES = [' '.join(block.split()) for block in re.findall(r'```console\n(.*?)```', PAGE, re.S)]
# stands for a value in a string of the code, as `...` does on the page
VALUE = '\0'


def strings_of(path: Path) -> list[str]:
    """Texts of a source, with `VALUE` for what is filled in."""
    if path.suffix == '.sh':
        return [re.sub(r'\$\(\([^)]*\)\)|\$\w+', VALUE, line) for line in path.read_text().splitlines()]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            found.append(''.join(part.value if isinstance(part, ast.Constant) else VALUE for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


STRINGS = '\n'.join(
    text
    for folder in ('projects/peridot', 'tools')
    for path in sorted((REPO / folder).rglob('*'))
    if path.suffix in ('.py', '.sh')
    for text in strings_of(path)
)


def fixed_parts(message: str) -> list[str]:
    """What a message says in every run, in order."""
    return [part.strip(' :`') for part in message.removeprefix('error: ').split('...') if part.strip(' :`,();.')]


@pytest.mark.parametrize('message', MESSAGES, ids=lambda text: text[:60])
def test_messages_are_printed_like_this(message):
    parts = fixed_parts(message)
    assert sum(map(len, parts)) > 15, 'nearly everything of it depends on the run'
    assert re.search('[^\n]*?'.join(map(re.escape, parts)), STRINGS), parts


def test_what_is_explained_is_a_message():
    assert len(MESSAGES) > 40
    assert all(message.startswith(('error: ', 'intensities ')) for message in MESSAGES)
