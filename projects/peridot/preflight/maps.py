"""Check of the maps of the training set."""

from mmengine.config import Config

from peridot.errors import ConfigError
from peridot.registry import DATASETS
from peridot.walk import dicts_of


def check_training_maps(config: Config) -> None:
    """Refuse a training set whose maps are missing, or whose labels have other classes than the objectives.

    Raises:
        ConfigError: An objective's `num_classes` is not the number of classes of the label maps.
        DataError: A folder of maps or its manifest is missing or wrong.
    """
    objectives = config.model.get('objectives', {})
    for part in dicts_of(config.train_dataloader):
        if part.get('type') != 'peridot.PairedDataset' or not part.get('maps'):
            continue
        labels = DATASETS.build({**part, 'pipeline': [], 'lazy_init': True}).open_maps().get('labels')
        for name, settings in objectives.items():
            if labels and settings.get('num_classes', labels.num_classes) != labels.num_classes:
                raise ConfigError(
                    f'model.objectives.{name}.num_classes={settings["num_classes"]}, but the maps in {labels.location} '
                    f'have {labels.num_classes} classes: set model.objectives.{name}.num_classes={labels.num_classes}'
                )
