"""The floor plan: who may import whom, read from the import statements (also those inside functions)."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECTS = Path(__file__).resolve().parents[1] / 'projects'

# from the ground up; a room imports from the floors below it only
FLOORS = (
    ('errors',),
    ('catalog', 'registry', 'files', 'checkpoints', 'devices', 'optional', 'options', 'shipped', 'voxel_grid', 'walk'),
    ('compat', 'gpus', 'runner', 'split_files', 'teacher_files'),
    ('structures', 'cli', 'work_dirs', 'optim'),
    ('maps', 'text'),
    ('datasets',),
    ('models', 'streets'),
    ('weights',),
    ('visualization',),
    ('evaluation', 'hooks'),
    ('preflight', 'gpu_check'),
    ('labels',),
    ('drive_and_segment',),
    ('lidar_segments',),
    ('demo', 'scene_figures'),
)
# `import peridot` applies the repairs of compat
ROOF = 'peridot'


def modules() -> dict[str, Path]:
    """Every module of the packages by its dotted name; a package is named like its folder."""
    found = {}
    for path in PROJECTS.rglob('*.py'):
        parts = path.relative_to(PROJECTS).with_suffix('').parts
        found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return found


def imports(source: str, package: str, known: dict) -> Iterator[tuple[str, int]]:
    """Modules that a source imports, wherever the statement stands, with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split('.')[: len(package.split('.')) + 1 - node.level] if node.level else []
            module = '.'.join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f'{module}.{alias.name}'
                yield (full if full in known else module, node.lineno)


def room(module: str) -> str:
    """The room that a module lies in."""
    parts = module.split('.')
    return parts[1] if parts[0] == 'peridot' and len(parts) > 1 else parts[0]


def graph() -> dict[str, dict[str, int]]:
    """`{module: {imported module of ours: line}}`."""
    known = modules()
    edges = {}
    for module, path in known.items():
        package = module if path.name == '__init__.py' else module.rpartition('.')[0]
        found = imports(path.read_text(), package, known)
        edges[module] = {name: line for name, line in found if name in known and name != module}
    return edges


def upward(edges: dict[str, dict[str, int]]) -> list[str]:
    """Imports from the same floor's other rooms or from a floor above."""
    level = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    return [
        f'{module}:{line} imports {name}'
        for module, names in edges.items()
        for name, line in names.items()
        if room(module) not in (room(name), ROOF) and level[room(name)] >= level[room(module)]
    ]


def circle(edges: dict[str, dict[str, int]]) -> list[str]:
    """Modules that import each other in a circle; a package counts as importing what its `__init__` does."""
    try:
        list(TopologicalSorter({module: set(names) for module, names in edges.items()}).static_order())
    except CycleError as error:
        return error.args[1]
    return []


def test_every_room_has_its_floor():
    assert {room(module) for module in modules()} - {ROOF} == {name for floor in FLOORS for name in floor}


def test_no_import_runs_upward():
    assert not upward(graph())


def test_no_circle():
    assert not circle(graph())


@pytest.mark.parametrize(
    'source',
    [
        'from peridot.labels import runner',
        'def late():\n    import peridot.labels.runner',
        'if TYPE_CHECKING:\n    from peridot.labels.runner import make_maps',
        'from ..labels.runner import make_maps',
    ],
)
def test_finds_an_import_wherever_it_stands(source):
    known = modules()
    names = [name for name, _ in imports(source, 'peridot.datasets', known)]
    assert names == ['peridot.labels.runner']
    assert upward({'peridot.datasets.splits': dict.fromkeys(names, 1)})


def test_finds_a_circle():
    assert circle({'peridot.a': {'peridot.b': 1}, 'peridot.b': {'peridot.a': 1}})
