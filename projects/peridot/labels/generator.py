"""Label generators: registered classes that turn one image into one map."""

from collections.abc import Mapping, Sequence

import numpy as np

from peridot.errors import ConfigError
from peridot.labels.job import MapJob
from peridot.maps import ImageSource, Manifest
from peridot.maps.folder import UNLABELED
from peridot.registry import LABEL_GENERATORS


class LabelGenerator:
    """Makes maps from images; subclasses are registered in `LABEL_GENERATORS`.

    A generator is built from plain settings and can be pickled; it loads networks and files in `open`.

    Attributes:
        kind: 'superpixels' or 'labels'.
        version: Changes whenever the same settings give other maps.
        ignore: Value of pixels without id or class, None if every pixel gets one.
        num_ids: Superpixels: ids are smaller than this number, for every image.
        classes: Labels: class names in the order of their values.
    """

    kind: str
    version = '1'
    ignore: int | None = None
    num_ids: int | None = None
    classes: Sequence[str] | None = None

    @classmethod
    def settings_from_config(cls, config: Mapping) -> dict:
        """Constructor arguments that a pre-training config decides, none by default.

        Args:
            config: The pre-training config.
        """
        return {}

    @property
    def parameters(self) -> dict:
        """Settings that decide what the maps look like, as JSON values; kept in the manifest."""
        raise NotImplementedError

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Map, int (H, W), of an RGB image uint8 (H, W, 3)."""
        raise NotImplementedError

    def generate(self, source: ImageSource) -> np.ndarray:
        """Map of an image file; overridden by generators that reduce decoding or use stored results."""
        return self(source.read())

    def groups(self, images: Sequence[ImageSource]) -> list[list[ImageSource]]:
        """Images whose maps are made together, by `generate_group`; by default each alone.

        Args:
            images: All images of a job.
        """
        return [[source] for source in images]

    def generate_group(self, sources: Sequence[ImageSource]) -> list[np.ndarray]:
        """Maps of a group of images."""
        return [self.generate(source) for source in sources]

    def open(self, job: MapJob) -> None:
        """Load networks and open what the maps are made from, before anything is written: an error here leaves
        an existing folder as it was. Runs in every process of the job.
        """

    def workers(self, wanted: int) -> int:
        """Number of processes on this machine that make maps, given the number the user allows."""
        return wanted

    def prepare(self, job: MapJob) -> None:
        """Work on all images of the job before the first map is made; runs in every process of the job."""

    def finish(self, job: MapJob) -> None:
        """Called in the first process once all maps exist, for instance to remove intermediate files."""

    def manifest(self, layout: str, command: str | None) -> Manifest:
        """Manifest of a folder made by this generator."""
        return Manifest(
            kind=self.kind,
            generator=type(self).registered_name(),
            version=self.version,
            parameters=self.parameters,
            layout=layout,
            num_ids=self.num_ids,
            classes=list(self.classes) if self.classes is not None else None,
            ignore=self.ignore,
            command=command,
        )

    @classmethod
    def registered_name(cls) -> str:
        """Name in the registry."""
        name = next(name for name, item in LABEL_GENERATORS.module_dict.items() if item is cls)
        return name.removeprefix(f'{cls.kind}/')


def build_generator(kind: str, name: str, options: Mapping | None, config: Mapping) -> LabelGenerator:
    """Build a generator by its registered name, from the config's settings and `options`, which override them.

    Args:
        kind: 'superpixels' or 'labels'.
        name: Name of the generator.
        options: Constructor arguments.
        config: Config that the generator may take settings from.

    Raises:
        ConfigError: No generator of that kind has this name, or it does not take an option.
    """
    LABEL_GENERATORS.import_from_location()
    # a name that both kinds have is registered as kind/name
    known = {
        key.removeprefix(f'{kind}/'): item for key, item in LABEL_GENERATORS.module_dict.items() if item.kind == kind
    }
    if name not in known:
        raise ConfigError(f'no generator of {kind} is called {name!r}: choose from {", ".join(sorted(known))}')
    try:
        return known[name](**{**known[name].settings_from_config(config), **(options or {})})
    except (TypeError, ValueError) as error:
        raise ConfigError(f'--options of {name}: {str(error).split("() ")[-1]}') from None


def check_positive(generator: str, **settings: float | None) -> None:
    """Raise a ConfigError for the first setting below 1; None means not set."""
    for name, value in settings.items():
        if value is not None and value < 1:
            raise ConfigError(f'{generator}: {name}={value} must be at least 1')


def check_classes(generator: str, classes: Sequence[str] | str) -> list[str]:
    """Check a class list: 8-bit labels with the ignore value 255 must hold it.

    Args:
        generator: Name of the generator, for the error.
        classes: Class names in the order of their values; a single name may be given without a list.

    Raises:
        ConfigError: The list is empty, too long, names a class twice or holds something other than names.
    """
    names = [classes] if isinstance(classes, str) else list(classes)
    problem = None
    if not names:
        problem = 'is empty'
    elif len(names) > UNLABELED:
        problem = f'has {len(names)} names, 8-bit labels hold at most {UNLABELED}'
    elif not all(isinstance(name, str) and name.strip() for name in names):
        problem = f'holds {next(x for x in names if not isinstance(x, str) or not x.strip())!r}, which is not a name'
    elif len(set(names)) < len(names):
        problem = f'names {next(name for name in names if names.count(name) > 1)!r} twice'
    if problem:
        raise ConfigError(f'{generator}: the class list {problem}: give --options classes=NAME,NAME,...')
    return names
