import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peridot.errors import DataError
from peridot.text.embeddings import TextEmbeddings
from peridot.text.image_prototypes import embed_images
from torch import nn

SIZE = (16, 24)


class Teacher(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 4, 4)

    @torch.no_grad()
    def forward(self, images):
        return self.conv(images.float() / 255)


@pytest.fixture
def folder(tmp_path):
    """Two images of a car, one of a road; a text beside them is no image."""
    rng = np.random.default_rng(0)
    for name, size in (('car/b.png', (16, 24)), ('car/a.png', (30, 20)), ('road/a.jpg', (8, 8))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 255, (*size, 3), np.uint8))
    (tmp_path / 'road' / 'notes.txt').write_text('')
    return tmp_path


def test_vector_of_an_image_is_the_mean_of_its_unit_features(folder, tmp_path):
    teacher = Teacher()
    embeddings = embed_images(folder, ('road', 'car'), teacher, SIZE, 'conv')
    assert embeddings.classes == ('road', 'car')
    assert embeddings.synonyms == {'road': ('road/a.jpg',), 'car': ('car/a.png', 'car/b.png')}
    image = torch.from_numpy(cv2.imread(str(folder / 'car/b.png'))[..., ::-1].copy()).permute(2, 0, 1)[None]
    pixels = teacher(image)[0].flatten(1).T
    mean = torch.stack([pixel / pixel.norm() for pixel in pixels]).mean(0)
    assert torch.allclose(embeddings.vectors[2], mean / mean.norm(), atol=1e-6)

    embeddings.save(tmp_path / 'classes.safetensors')
    loaded = TextEmbeddings.load(tmp_path / 'classes.safetensors')
    features = F.normalize(torch.randn(7, 5), dim=1)
    nearest = torch.stack([features @ embeddings.vectors[0], (features @ embeddings.vectors[1:].T).amax(1)], 1)
    assert torch.allclose(loaded.scores(features), nearest, atol=1e-6)


def test_class_without_images_is_named(folder):
    with pytest.raises(DataError, match=r'truck holds no image .*: put at least one'):
        embed_images(folder, ('car', 'truck'), Teacher(), SIZE, 'conv')


def test_damaged_image_is_named(folder):
    (folder / 'road' / 'a.jpg').write_bytes(b'\xff\xd8 nothing')
    with pytest.raises(DataError, match=r'road/a\.jpg is truncated or damaged'):
        embed_images(folder, ('road',), Teacher(), SIZE, 'conv')
