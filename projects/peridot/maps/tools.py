"""The programs of `tools/` that make maps, for error messages."""

import os

# by kind of maps
TOOLS = {'superpixels': 'tools/make_superpixels.py', 'labels': 'tools/make_weak_labels.py'}
# of generators with a program of their own, by generator and by default folder
OWN_TOOLS = {
    'lidar': 'tools/make_proposals.py',
    'proposals': 'tools/make_proposals.py',
    'segment-kmeans': 'tools/make_pseudo_labels.py',
    'segment-teacher': 'tools/make_teacher_labels.py',
}


def tools_for(folder: str) -> list[str]:
    """Programs that may make the maps of an absent folder, given its name."""
    return [OWN_TOOLS[folder]] if folder in OWN_TOOLS else list(TOOLS.values())


def command_for(kind: str, data_root: str | os.PathLike, generator: str | None = None) -> str:
    """Command that makes maps.

    Args:
        kind: 'superpixels' or 'labels'.
        data_root: Root of the dataset.
        generator: Name of the generator, None for the program's default.
    """
    chosen = f' --generator {generator}' if generator and generator not in OWN_TOOLS else ''
    return f'python {OWN_TOOLS.get(generator, TOOLS[kind])} CONFIG --data-root {os.path.relpath(data_root)}{chosen}'
