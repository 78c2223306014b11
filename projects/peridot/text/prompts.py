"""Files with words for classes, and the sentences that the words are inserted into."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from peridot.errors import DataError

# plain sentences for things seen in a street
TEMPLATES = (
    'a photo of a {}.',
    'a photo of the {}.',
    'a photo of a large {}.',
    'a photo of a small {}.',
    'a blurry photo of a {}.',
    'a dark photo of the {}.',
    'a cropped photo of the {}.',
    'there is a {} in the scene.',
)


def read_prompts(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read the synonyms of every class, in the order of the file.

    A line is `class: synonym, synonym, ...`; empty lines and those that start with `#` are skipped.

    Args:
        path: A file, or the name of one that comes with this package: e.g. 'nuscenes'.

    Raises:
        DataError: The file is absent or holds no class, a line has no class or no synonym, or a class or a synonym
            appears twice; names the file and the line.
    """
    path = _find(path)
    prompts: dict[str, tuple[str, ...]] = {}
    seen: dict[str, int] = {}
    for number, line in _lines(path):
        name, colon, words = (part.strip() for part in line.partition(':'))
        synonyms = tuple(' '.join(word.split()) for word in words.split(','))
        if not name or not colon or not all(synonyms):
            missing = 'class' if colon and not name else 'synonym'
            raise DataError(f'{path}, line {number}: {line!r} lacks a {missing}: write `class: synonym, synonym, ...`')
        if name in prompts:
            raise DataError(f'{path}, line {number}: class {name!r} appears a second time: join the two lines')
        for synonym in synonyms:
            if synonym in seen:
                raise DataError(
                    f'{path}, line {number}: {synonym!r} already appears in line {seen[synonym]}: remove one of them, '
                    'a word stands for one class'
                )
            seen[synonym] = number
        prompts[name] = synonyms
    if not prompts:
        raise DataError(f'{path} holds no class: write lines `class: synonym, synonym, ...`')
    return prompts


def read_templates(path: str | Path) -> tuple[str, ...]:
    """Read sentences with one `{}` for the word, one per line.

    Raises:
        DataError: The file is absent or empty, or a line has not exactly one `{}`.
    """
    templates = []
    for number, line in _lines(Path(path)):
        if line.count('{}') != 1:
            raise DataError(f'{path}, line {number}: {line!r} needs one {{}} where the word goes: a photo of a {{}}.')
        templates.append(line)
    if not templates:
        raise DataError(f'{path} holds no template: write lines such as: a photo of a {{}}.')
    return tuple(templates)


def _find(path: str | Path) -> Path:
    """A file, or one of the package's by its name."""
    if Path(path).is_file():
        return Path(path)
    own = Path(str(resources.files('peridot.text'))) / 'classes'
    if (own / f'{path}.txt').is_file():
        return own / f'{path}.txt'
    names = ', '.join(sorted(file.stem for file in own.glob('*.txt')))
    raise DataError(f'prompts {path} not found: give a file, or one of {names}')


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and content of lines that are neither empty nor comments."""
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'{path} cannot be read as text ({error}): give a file with one entry per line') from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith('#'):
            yield number, line.strip()
