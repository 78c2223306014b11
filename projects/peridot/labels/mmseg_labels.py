"""Weak labels by a segmentation network of mmsegmentation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope

from peridot.checkpoints import read_checkpoint, state_of
from peridot.errors import CheckpointError, ConfigError
from peridot.labels.generator import check_classes
from peridot.labels.networks import NetworkGenerator, device, fingerprint
from peridot.optional import import_package
from peridot.registry import LABEL_GENERATORS
from peridot.weights import misfits

if TYPE_CHECKING:
    from mmseg.models import BaseSegmentor


@LABEL_GENERATORS.register_module('mmseg')
class MMSegGenerator(NetworkGenerator):
    """Classes predicted by any network of mmsegmentation, by the test pipeline of its config.

    Args:
        config: Config file of mmsegmentation.
        checkpoint: File with the weights, and the class names in its metadata.
        classes: Class names in the order of their values, in place of those in the checkpoint.
    """

    kind = 'labels'

    def __init__(self, config: str, checkpoint: str, classes: Sequence[str] | str | None = None) -> None:
        self.config, self.checkpoint = Path(config), Path(checkpoint)
        self.classes = None if classes is None else check_classes('mmseg', classes)

    @property
    def parameters(self) -> dict:
        """See `LabelGenerator`."""
        return {'config': fingerprint(self.config), 'checkpoint': fingerprint(self.checkpoint)}

    def load(self) -> 'BaseSegmentor':
        """The network; also sets `classes`.

        Raises:
            CheckpointError: The checkpoint is missing, damaged or of another network.
            ConfigError: The config is missing or has no test pipeline, the class names do not fit the network, or
                mmsegmentation is not installed.
        """
        apis = import_package('mmseg.apis', 'mmseg')
        config = read_config(self.config)
        content = read_checkpoint(self.checkpoint, 'mmseg checkpoint', 'give --options checkpoint=FILE')
        try:
            with DefaultScope.overwrite_default_scope('mmseg'):
                network = apis.init_model(config, device=str(device()))
        except Exception as error:
            # a network of any kind may raise anything
            raise ConfigError(f'mmseg: the model of {self.config} cannot be built ({_first_line(error)})') from error
        state = state_of(content, network.state_dict())
        # batch counters are missing in old files and are not used for prediction
        if wrong := [name for name in misfits(network, state) if not name.endswith('num_batches_tracked')]:
            raise CheckpointError(
                f'mmseg checkpoint {self.checkpoint} does not fit {self.config} ({len(wrong)} tensors differ, first '
                f'{wrong[0]!r}): give the config and checkpoint of one network'
            )
        network.load_state_dict(state, strict=False)
        self.classes = self._class_names(content, network)
        return network

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Classes int64 (H, W) of an RGB image uint8 (H, W, 3)."""
        network = self.network
        from mmseg.apis import inference_model

        with DefaultScope.overwrite_default_scope('mmseg'):
            # as read by OpenCV, which is what the pipelines of mmsegmentation expect
            result = inference_model(network, np.ascontiguousarray(image[..., ::-1]))
        return result.pred_sem_seg.data[0].cpu().numpy()

    def _class_names(self, content: Mapping, network: 'BaseSegmentor') -> list[str]:
        """The given class names, or those of the checkpoint, whose key mmsegmentation 0.x wrote in capitals."""
        meta = content.get('meta') or {}
        names = self.classes or (meta.get('dataset_meta') or {}).get('classes') or meta.get('CLASSES')
        if names is None:
            raise ConfigError(
                f'mmseg: checkpoint {self.checkpoint} names no classes: give --options classes=NAME,NAME,...'
            )
        if len(names) != network.num_classes:
            raise ConfigError(
                f'mmseg: {len(names)} class names for the {network.num_classes} classes of {self.config}: give the '
                'config and checkpoint of one network, or as many --options classes=NAME,NAME,...'
            )
        return check_classes('mmseg', names)


def read_config(path: Path) -> Config:
    """Read a config of mmsegmentation that can be used for single images.

    Raises:
        ConfigError: The file is missing, or lacks what prediction needs.
    """
    if not path.is_file():
        raise ConfigError(f'mmseg: config {path} not found: give --options config=FILE')
    try:
        config = Config.fromfile(path)
    except Exception as error:
        # a config is a program and may raise anything
        raise ConfigError(f'mmseg: config {path} cannot be read ({_first_line(error)})') from error
    for key in ('model', 'test_pipeline'):
        if key not in config:
            raise ConfigError(f'mmseg: config {path} has no {key}: give a complete config of mmsegmentation')
    return config


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
