"""Every command of README.md, CONTRIBUTING.md and docs is one that its program takes; nothing runs here.

`test_run_commands.py` runs them. A block that no test can run is marked in its page.
"""

import argparse
import re
import runpy
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from blocks import BLOCKS, COMMAND_BLOCKS, LANGUAGES, MARKED, PAGES, REPO, Block, Command
from peridot.cli import load_config
from peridot.options import override
from peridot.registry import MODELS

# stands for a path of the reader's
PLACEHOLDER = re.compile(r'[A-Z][A-Z0-9_]*(\.\w+)?(/.*)?')
CI_TARGETS = {'env', *re.findall(r'^make (\w+)', (REPO / '.ci/run').read_text(), re.M)}
MAKEFILE = (REPO / 'Makefile').read_text()


class Parsed(BaseException):
    """Ends a program after it has parsed its arguments, which are its `args`."""


@cache
def program(path: str) -> dict:
    """The names of a program of the repository, which is not run."""
    return runpy.run_path(str(REPO / path), run_name='imported')


def parsed(path: str, arguments: list[str]) -> argparse.Namespace:
    """What a program makes of its arguments; an error is a SystemExit."""
    parse = argparse.ArgumentParser.parse_args

    def stop(parser, *given):
        raise Parsed(parse(parser, *given))

    names = program(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [path, *arguments])
        patch.setattr(argparse.ArgumentParser, 'parse_args', stop)
        try:
            names.get('parse_args', names['main'])()
        except Parsed as end:
            return end.args[0]
    raise AssertionError(f'{path} parses no arguments')


def configs_of(args: argparse.Namespace) -> Iterator[str]:
    """Configs that a command names."""
    values = vars(args)
    for value in (values.get('config'), values.get('base_config'), *(values.get('protocols') or ())):
        if value is not None and not PLACEHOLDER.fullmatch(str(value)):
            yield str(value)


def check_python(command: Command, folder: Path) -> None:
    """Check options, configs and keys of settings of a program's command."""
    if (folder / command.program).is_file():
        return
    # a bundle holds the repository
    args = parsed(command.program.removeprefix('bundle/peridot/'), command.arguments)
    options = getattr(args, 'cfg_options', None) or {}
    if isinstance(options, list):
        options = dict(option.split('=', 1) for option in options)
    for path in configs_of(args):
        assert (REPO / path).is_file() or (folder / path).is_file(), path
        if options:
            name = path if (REPO / path).is_file() else str(folder / path)
            override(load_config(argparse.Namespace(config=name, data_root=None, cfg_options=None)), options)


def check(command: Command, folder: Path) -> None:
    """Check a command; an AssertionError or a SystemExit says what is wrong with it."""
    program = command.program
    if program.endswith('.py'):
        check_python(command, folder)
    elif program == 'make':
        for target in command.arguments:
            assert f'\n{target}:' in MAKEFILE, target
    elif program.endswith('.sh'):
        assert (REPO / program).is_file(), program
        check_python(Command({}, ['python', 'tools/train.py', command.arguments[0], *command.arguments[2:]]), folder)


def can_run(command: Command) -> bool:
    """Whether `test_run_commands.py` runs a command, as far as its form says."""
    program = command.program
    if program == 'pip':
        return all(is_installed(package) for package in command.words[2:])
    if program == 'make':
        return all(target in CI_TARGETS or f'\n{target}: env' in MAKEFILE for target in command.arguments)
    return program.endswith(('.py', '.sh')) or command.words[:3] == ['python', '-m', 'pytest']


def is_installed(package: str) -> bool:
    """Whether a package, with its version if it has one, is in this environment."""
    name, _, wanted = re.sub('[<>].*', '', package).partition('==')
    try:
        found = version(name)
    except PackageNotFoundError:
        return False
    return found == (wanted or found)


@pytest.fixture(scope='module')
def shown_files(tmp_path_factory) -> Iterator[Path]:
    """A folder with the files that the pages show, beside links to those of the repository."""
    folder = tmp_path_factory.mktemp('pages')
    for block in BLOCKS:
        if block.file:
            (folder / block.file).parent.mkdir(exist_ok=True)
            (folder / block.file).write_text(block.text)
    (folder / 'configs').symlink_to(REPO / 'configs')
    before = set(MODELS.module_dict)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / 'my_project'))
        yield folder
    for name in set(MODELS.module_dict) - before:
        del MODELS.module_dict[name]


@pytest.mark.parametrize('block', COMMAND_BLOCKS, ids=str)
def test_commands_are_taken_by_their_programs(block: Block, shown_files):
    assert block.commands
    for command in block.commands:
        try:
            check(command, shown_files)
        except SystemExit as error:
            pytest.fail(f'{" ".join(command.words)}: {error}')


@pytest.mark.parametrize('block', [block for block in COMMAND_BLOCKS if not block.mark], ids=str)
def test_what_cannot_run_is_marked(block: Block):
    for command in block.commands:
        assert can_run(command), f'{" ".join(command.words)}: write <!-- not run: REASON --> above the block'


def test_marked_blocks_stand_where_marks_are():
    """`pytest -k marked -s` lists the blocks that no test runs."""
    print(*(f'\n{block}: {block.mark}' for block in MARKED), sep='')
    marks = sum(page.read_text().count('<!-- not run: ') for page in PAGES)
    # the page for authors quotes one
    assert marks - (REPO / 'CONTRIBUTING.md').read_text().count('`<!-- not run: ') == len(MARKED)


def test_blocks_have_a_known_language():
    assert {block.language for block in BLOCKS} <= LANGUAGES
    for block in BLOCKS:
        if block.language in ('', 'text'):
            assert not re.search(r'^\s*(\$ |python |make |pip )', block.text, re.M), f'{block}: commands are bash'
