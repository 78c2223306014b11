import cv2
import numpy as np
import pytest
import torch
from peridot.errors import ConfigError, DataError
from peridot.structures import ImageViews, Pairs

HEIGHT, WIDTH = 96, 160


def coordinate_image() -> np.ndarray:
    """(H, W, 3) RGB whose red is the row, green the column, blue constant."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows, columns, np.full_like(rows, 7)], -1).astype(np.uint8)


def encode(image: np.ndarray, suffix: str, quality: int = 100) -> bytes:
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    return cv2.imencode(suffix, image[..., ::-1], flags if suffix == '.jpg' else [])[1].tobytes()


def make_views(suffix: str = '.png', count: int = 2) -> ImageViews:
    views = ImageViews([f'image{i}{suffix}' for i in range(count)], [encode(coordinate_image(), suffix)] * count)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    views.maps['code'] = [rows * WIDTH + columns] * count
    return views


def grid_pairs(count: int = 2) -> Pairs:
    """A pair at every pixel, remembering where it began: point = row * WIDTH + column."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing='ij')
    position = torch.stack([rows, columns], -1).reshape(-1, 2).float()
    return Pairs(
        point=torch.arange(HEIGHT * WIDTH).repeat(count),
        camera=torch.arange(count).repeat_interleave(HEIGHT * WIDTH),
        position=position.repeat(count, 1),
    )


def test_pairs_of_files_follow_to_where_pairs_went_along():
    """Crops, resizes and flips step by step, or all at once at the end."""
    views, pairs = make_views(), grid_pairs()
    boxes = np.array([[10, 20, 60, 100], [0, 0, 48, 80]], dtype=np.float64)
    flipped = np.array([True, False])
    moved = pairs.resized_crop(torch.from_numpy(boxes), (30, 50))
    moved = moved.flip(torch.from_numpy(flipped), 50)
    views.resized_crop(boxes, (30, 50))
    views.flip(flipped)
    followed = views.follow(pairs)
    assert 0 < len(followed) < len(pairs)
    assert (followed.point == moved.point).all() and (followed.camera == moved.camera).all()
    torch.testing.assert_close(followed.position, moved.position, atol=1e-4, rtol=0)
    assert len(views.follow(Pairs.empty())) == 0


def read_bilinear(images: np.ndarray, pairs: Pairs) -> np.ndarray:
    values = [
        cv2.remap(image.transpose(1, 2, 0).astype(np.float32), *xy, cv2.INTER_LINEAR)[:, 0]
        for image, xy in (
            (images[v], pairs.position[pairs.camera == v].flip(1).numpy().T[..., None]) for v in range(len(images))
        )
    ]
    return np.concatenate(values)


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_pixels_pairs_and_maps_move_together(suffix):
    """Crop, flip, crop again: what is read at a pair's position is the position where the pair began."""
    views, pairs = make_views(suffix), grid_pairs()
    for boxes, size in (
        (np.array([[3, 5, 90, 150], [10, 21, 80, 120.0]]), (70, 110)),
        (np.array([[2, 1, 60, 100], [11, 13, 50, 90.0]]), (20, 31)),
    ):
        views.resized_crop(boxes, size)
        pairs = pairs.resized_crop(torch.from_numpy(boxes), size)
        flipped = np.array([True, False])
        pairs = pairs.flip(torch.from_numpy(flipped), torch.from_numpy(views.size[:, 1]))
        views.flip(flipped)
    images = views.decode()
    assert images.shape == (2, 3, 20, 31)
    # interpolation is exact inside the image only: half an output pixel from the border it replicates
    inner = ((pairs.position > 0) & (pairs.position < torch.tensor([19.0, 30.0]))).all(1)
    pairs = pairs[inner]
    assert len(pairs) > 3000
    read = read_bilinear(images, pairs)
    origin = torch.stack([pairs.point // WIDTH, pairs.point % WIDTH], 1).numpy()
    assert np.abs(read[:, :2] - origin).max() < (1.2 if suffix == '.png' else 3.5)
    assert np.abs((read[:, :2] - origin).mean(0)).max() < 0.3
    nearest = pairs.position.round().long()
    code = views.warp_maps('code')[pairs.camera, nearest[:, 0], nearest[:, 1]]
    assert np.abs(np.stack([code // WIDTH, code % WIDTH], 1) - origin).max() <= 3


@pytest.mark.parametrize('scale, reduction', [(1.0, 1), (1.99, 1), (2.0, 2), (3.9, 2), (4.0, 4), (9.0, 8)])
def test_reduced_decoding_keeps_one_pixel_per_output_pixel(scale, reduction):
    views = make_views('.jpg', 1)
    size = (round(HEIGHT / scale), round(WIDTH / scale))
    box = np.array([[0, 0, size[0] * scale, size[1] * scale]])
    views.resized_crop(box, size)
    assert views.reduction(0) == reduction
    image = views.decode()[0].astype(np.float64)
    rows = scale * (np.arange(size[0]) + 0.5) - 0.5
    inner = slice(1, -1)
    assert np.abs(image[0].mean(1) - rows)[inner].max() < 1.5


def test_untouched_views_are_the_file():
    images = make_views('.png').decode()
    assert np.array_equal(images[1].transpose(1, 2, 0), coordinate_image())


def test_flip_alone_is_exact():
    views = make_views('.png')
    views.flip(np.array([False, True]))
    assert np.array_equal(views.decode()[1], coordinate_image()[:, ::-1].transpose(2, 0, 1))
    assert np.array_equal(views.warp_maps('code')[1], views.maps['code'][1][:, ::-1])


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('share', [0.999, 0.5, 0.02, 0.0])
def test_truncated_file_is_named(tmp_path, suffix, share):
    data = encode(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8), suffix, 90)
    path = tmp_path / f'cut{suffix}'
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match='cut') as caught:
        ImageViews.from_files([str(path)])
    assert '\n' not in str(caught.value)


def test_padded_file_is_accepted_and_absent_file_is_named(tmp_path):
    path = tmp_path / 'padded.jpg'
    path.write_bytes(encode(coordinate_image(), '.jpg') + b'\0' * 10)
    assert ImageViews.from_files([str(path)]).decode().shape == (1, 3, HEIGHT, WIDTH)
    with pytest.raises(DataError, match='absent'):
        ImageViews.from_files([str(tmp_path / 'absent.jpg')])


def test_different_sizes_name_the_transform():
    views = ImageViews(['a', 'b'], [encode(coordinate_image(), '.png'), encode(coordinate_image()[1:], '.png')])
    with pytest.raises(ConfigError, match='ResizeViews'):
        views.decode()
    views.resized_crop(np.array([[0, 0, 96, 160], [0, 0, 95, 160]]), (10, 10))
    assert views.decode().shape == (2, 3, 10, 10)
