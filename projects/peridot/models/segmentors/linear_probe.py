"""Linear probing of a segmentor."""

from mmdet3d.models.segmentors import MinkUNet

from peridot.registry import MODELS


@MODELS.register_module()
class LinearProbeSegmentor(MinkUNet):
    """mmdet3d's `MinkUNet` of which only the last layer (`decode_head`) is trained.

    The backbone stays in evaluation mode whatever the runner asks for, so that neither its weights nor its batch
    statistics change.

    Args:
        **kwargs: Those of `MinkUNet`.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.backbone.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> 'LinearProbeSegmentor':
        """Training mode of the head alone."""
        super().train(mode)
        self.backbone.eval()
        return self
