"""Feature maps from disk instead of an image network."""

from torch import Tensor, nn

from peridot.errors import ConfigError
from peridot.registry import MODELS


@MODELS.register_module()
class StoredTeacher(nn.Module):
    """Placeholder of an image network whose maps the dataset reads from disk (`maps.teacher_features`).

    It needs neither weights nor memory.

    Args:
        teacher: Config of the network; `tools/make_teacher_features.py` runs it.
        out_channels: Channels of its maps.

    Attributes:
        align_corners: That of the network.
    """

    def __init__(self, teacher: dict, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.align_corners = teacher.get('align_corners', True)

    def forward(self, images: Tensor | None) -> Tensor:
        """There is no network to run.

        Raises:
            ConfigError: Always: the pre-trainer calls it only for batches without maps.
        """
        raise ConfigError(
            'model.teacher is peridot.StoredTeacher, but the batch has no teacher maps: set '
            'maps=dict(teacher_features=FOLDER) of the training set, or model.teacher to the network itself'
        )
