import pytest
import torch
import torch.nn.functional as F
from peridot.models.functional import read_at

SIZE = (37, 53)


def maps(memory_format=torch.contiguous_format):
    values = torch.randn(3, 5, 6, 9, generator=torch.Generator().manual_seed(0))
    return values.contiguous(memory_format=memory_format)


def every_pixel():
    camera, row, col = torch.meshgrid(*(torch.arange(n) for n in (3, *SIZE)), indexing='ij')
    return camera.flatten(), torch.stack([row.flatten(), col.flatten()], 1).float()


@pytest.mark.parametrize('align_corners', [True, False])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_equals_upsampling_then_reading(align_corners, memory_format):
    features = maps(memory_format)
    camera, position = every_pixel()
    upsampled = F.interpolate(features, SIZE, mode='bilinear', align_corners=align_corners)
    expected = upsampled.permute(0, 2, 3, 1).reshape(-1, 5)
    ours = read_at(features, camera, position, SIZE, align_corners)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_linear_function_is_read_exactly_between_pixels(memory_format):
    rows, cols = torch.meshgrid(torch.arange(6.0), torch.arange(9.0), indexing='ij')
    features = torch.stack([rows, cols])[None].contiguous(memory_format=memory_format)
    position = torch.tensor([[10.25, 20.75], [0.0, 52.0], [36.0, 0.0]])
    ours = read_at(features, torch.zeros(3, dtype=torch.int64), position, SIZE, True)
    torch.testing.assert_close(ours, position * torch.tensor([5 / 36, 8 / 52]))


def test_half_a_pixel_outside_takes_the_border():
    features = maps()
    camera = torch.tensor([0, 2])
    position = torch.tensor([[-0.5, -0.5], [36.49, 52.49]])
    for align_corners in (True, False):
        ours = read_at(features, camera, position, SIZE, align_corners)
        torch.testing.assert_close(ours, torch.stack([features[0, :, 0, 0], features[2, :, -1, -1]]))


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_no_positions(memory_format):
    ours = read_at(maps(memory_format), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2), SIZE, True)
    assert ours.shape == (0, 5)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_gradient_reaches_the_four_neighbours_only(memory_format):
    features = maps(memory_format).requires_grad_()
    read_at(features, torch.tensor([1]), torch.tensor([[18.3, 26.1]]), SIZE, True).sum().backward()
    assert (features.grad != 0).sum() == 4 * 5
    assert features.grad.sum().item() == pytest.approx(5, rel=1e-5)


def test_map_of_one_feature():
    features = torch.full((1, 2, 1, 1), 3.0)
    ours = read_at(features, torch.tensor([0]), torch.tensor([[11.0, 30.0]]), SIZE, True)
    assert ours.tolist() == [[3.0, 3.0]]


def test_half_precision_map_stays_half():
    features = maps(torch.channels_last).bfloat16()
    camera, position = every_pixel()
    ours = read_at(features, camera, position, SIZE, False)
    assert ours.dtype is torch.bfloat16
    torch.testing.assert_close(
        ours.float(), read_at(features.float(), camera, position, SIZE, False), atol=0.05, rtol=0
    )
