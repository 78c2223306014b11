"""Report of a config's data."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope
from terminaltables import AsciiTable

from peridot.errors import DataError, PeridotError
from peridot.preflight.oddities import first_frames, first_overlay, oddities
from peridot.preflight.run import check_settings
from peridot.preflight.sources import sources_of
from peridot.preflight.survey import LOOKED_AT, Survey, survey
from peridot.visualization.figures import save_figure


def check_data(config: Config, everything: bool, out: Path) -> None:
    """Print what is there of a config's data, and write overlays of first samples.

    Args:
        config: Config of a training run, or of a test if it has no training set.
        everything: Look for the files of all samples instead of some.
        out: Folder of the overlays.

    Raises:
        DataError: Something that the config reads is missing; the table was printed.
    """
    init_default_scope(config.get('default_scope', 'mmdet3d'))
    training = bool(config.get('train_dataloader'))
    surveys = survey(sources_of(config, training), None if everything else LOOKED_AT)
    print(AsciiTable(rows(surveys)).table)
    problems = [f'{item.source.use}: {problem}' for item in surveys for problem in item.problems]
    try:
        check_settings(config, training)
    except PeridotError as error:
        problems.append(str(error))
    for item in surveys:
        for kind, names in oddities(item).items():
            print(f'unusual, {item.source.use}: {kind}: {len(names)} ({first(names)})')
    for problem in dict.fromkeys(problems):
        print(f'problem, {problem}')
    write_overlays(surveys, out)
    if problems:
        raise DataError(f'{len(set(problems))} problems, see above')


def rows(surveys: list[Survey]) -> list[list[str]]:
    """Rows of the table: one for every kind of file of every dataset."""
    found = [['data', 'samples', 'looked at', 'files', 'found', 'missing', 'first missing']]
    for item in surveys:
        kinds = item.found or {'-': 0}
        for kind, count in kinds.items():
            missing = item.missing.get(kind, [])
            numbers = [item.samples or '-', item.looked_at, kind, count, len(missing), first(missing)]
            found.append([item.source.use, *map(str, numbers)])
    return found


def first(names: list[str]) -> str:
    """The first three of some names."""
    return ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')


def write_overlays(surveys: list[Survey], out: Path) -> None:
    """Write a sample of each dataset with images, and one with several frames, each info file once."""
    drawn = set()
    for item in surveys:
        for name, draw in (('', first_overlay), ('_frames', first_frames)):
            key = (name, item.source.settings.get('ann_file'))
            if item.dataset is None or not len(item.dataset) or key in drawn:
                continue
            try:
                figure = draw(item)
            except PeridotError:
                continue  # it stands among the problems
            if figure is not None:
                drawn.add(key)
                path = out / f'{item.source.use.replace(" ", "_")}{name}.png'
                save_figure(path, figure)
                print(path)
