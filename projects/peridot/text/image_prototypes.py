"""Example images of classes instead of words, for teachers without a text network."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from peridot.errors import DataError
from peridot.structures import ImageViews
from peridot.text.embeddings import TextEmbeddings

SUFFIXES = ('.jpg', '.jpeg', '.png')


def embed_images(
    folder: str | Path, classes: Sequence[str], teacher: nn.Module, size: tuple[int, int], model: str
) -> TextEmbeddings:
    """Embed example images of every class as IGLOSS does: mean over the image of the teacher's unit features.

    "IGLOSS", arXiv 2604.01361, makes its images from the classes' names by a text-to-image network and fits a
    logistic regression to them; here the distance to a class is that to the nearest of its images.

    Args:
        folder: Holds a folder of images for each class.
        classes: Names of the K classes.
        teacher: The image network, e.g. `peridot.TimmTeacher`.
        size: (H, W) that the images are resized to.
        model: Name of the teacher, kept beside the vectors.

    Returns:
        Vectors of all images, in place of words.

    Raises:
        DataError: A class has no image, or an image cannot be read.
    """
    files = {name: _images(Path(folder) / name) for name in classes}
    with tqdm(total=sum(map(len, files.values())), desc='prototypes', unit='image') as bar:
        vectors = []
        for path in (path for paths in files.values() for path in paths):
            vectors.append(embed_image(path, teacher, size))
            bar.update()
    names = {name: tuple(f'{name}/{path.name}' for path in paths) for name, paths in files.items()}
    return TextEmbeddings(names, torch.stack(vectors), (), model)


def embed_image(path: Path, teacher: nn.Module, size: tuple[int, int]) -> Tensor:
    """Unit vector float32 (F,) of one image."""
    views = ImageViews.from_files([str(path)])
    height, width = views.size[0]
    views.resized_crop([[0, 0, height, width]], size)
    device = next(teacher.parameters()).device
    features = teacher(torch.from_numpy(views.decode()).to(device)).float()
    return F.normalize(F.normalize(features, dim=1).mean((0, 2, 3)), dim=0).cpu()


def _images(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.glob('*') if path.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(f'{folder} holds no image ({", ".join(SUFFIXES)}): put at least one of the class there')
    return files
