"""The interactive page, in a browser without display and without network."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import tiny  # noqa: F401 (registers student and teacher)
import torch
from mmdet3d.structures import Det3DDataSample
from peridot.errors import ConfigError
from peridot.registry import MODELS
from peridot.structures import Frames, Pairs
from peridot.visualization.colors import heat_colors
from peridot.visualization.explorer import EXACT, ExploredSample, compact, explorer_page
from peridot.visualization.scenes import Cameras
from peridot.visualization.spaces import Space, feature_spaces

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
# 3D without a GPU
FLAGS = ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader']
CLASSES, PALETTE = ['road', '</script><b>'], [(10, 20, 30), (40, 50, 60)]


def cosines(features: torch.Tensor, query: torch.Tensor) -> np.ndarray:
    unit = torch.nn.functional.normalize(features, dim=-1)
    return (unit @ torch.nn.functional.normalize(query, dim=0)).numpy()


@pytest.fixture(scope='module')
def space() -> Space:
    torch.manual_seed(0)
    return Space('head', torch.randn(30, 8), torch.randn(1, 8, 3, 4), align_corners=False)


@pytest.fixture(scope='module')
def sample(space) -> ExploredSample:
    """A grid of points 3 m apart on the ground ahead, which a camera behind the sensor sees."""
    ahead, right = np.divmod(np.arange(30), 6)
    xyz = np.stack([3.0 * right - 7.5, 3.0 * ahead + 2, np.full(30, -1.5)], 1)
    lidar2cam = np.array([[[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 12], [0, 0, 0, 1]]])
    cam2img = np.array([[[120.0, 0, 80, 0], [0, 120, 45, 0], [0, 0, 1, 0], [0, 0, 0, 1]]])
    image = np.full((1, 90, 160, 3), 128, np.uint8)
    cameras = Cameras(['<i>FRONT'], image, lidar2cam, cam2img, lidar2cam[0])
    return ExploredSample(
        '0: "a"', xyz, [space], cameras, {'class': np.arange(30) % 3}, {'height': np.linspace(-2, 5, 30)}
    )


@pytest.fixture(scope='module')
def path(sample, space, tmp_path_factory):
    images = np.zeros((0, 1, 1, 3), np.uint8)
    alone = replace(
        sample, spaces=[replace(space, pixels=None)], cameras=Cameras((), images, *np.zeros((2, 0, 4, 4)), None)
    )
    page, error = explorer_page('<title>', 'a & b', [sample, alone], CLASSES, PALETTE)
    assert 0 < error < EXACT
    path = tmp_path_factory.mktemp('page') / 'page.html'
    path.write_text(page)
    return path


@pytest.fixture(scope='module')
def browser() -> Iterator:
    api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed: pip install playwright')
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip('no Chromium is installed, e.g. with apt-get install chromium')
    with api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=FLAGS)


@pytest.fixture
def opened(browser, path) -> Iterator:
    """The page in a browser, which must not ask for anything else, nor report an error."""
    context = browser.new_context(viewport=dict(width=900, height=900), offline=True)
    page, asked, errors = context.new_page(), [], []
    page.on('request', lambda request: asked.append(request.url))
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.on('console', lambda message: errors.append(message.text) if message.type == 'error' else None)
    page.goto(path.as_uri())
    page.evaluate('explorer.ready')
    yield page
    # images are in the page as data
    assert [url for url in asked if not url.startswith('data:')] == [path.as_uri()]
    assert not errors
    context.close()


def image_of(page) -> str:
    return page.evaluate("document.querySelector('figure canvas').toDataURL()")


def drawn_at(page, place: torch.Tensor) -> list[int]:
    """RGB of the image at (row, column)."""
    x, y = place.flip(0).round().int().tolist()
    canvas = "document.querySelector('figure canvas').getContext('2d')"
    return list(page.evaluate(f'Array.from({canvas}.getImageData({x}, {y}, 1, 1).data.slice(0, 3))'))


def test_a_click_on_a_point_colors_cloud_and_image_by_similarity(opened, space, sample):
    before, image = opened.evaluate('explorer.colors()'), image_of(opened)
    x, y, _ = opened.evaluate('explorer.pixel(14)')
    opened.mouse.click(x, y)
    assert opened.evaluate('explorer.state.query') == 14
    found = np.array(opened.evaluate('explorer.cosines()'))
    assert found[14] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found, cosines(space.points, space.points[14]), atol=EXACT)
    colors = np.array(opened.evaluate('explorer.colors()')).reshape(-1, 3)
    np.testing.assert_allclose(colors, heat_colors(torch.from_numpy(found)), atol=2)
    assert colors.ravel().tolist() != before and image_of(opened) != image
    pairs = sample.cameras.pairs(sample.xyz)
    assert drawn_at(opened, pairs.position[0]) == colors[pairs.point[0]].tolist()
    of_pixels = space.pixels[0].permute(1, 2, 0).flatten(0, 1)
    found = np.array(opened.evaluate('explorer.pixelCosines()'))
    np.testing.assert_allclose(found, cosines(of_pixels, space.points[14]), atol=EXACT)
    points = image_of(opened)
    opened.click('#overlays [data-key=pixels]')
    assert image_of(opened) != points


def test_a_click_on_an_image_takes_the_nearest_point(opened, sample):
    row, column = sample.cameras.pairs(sample.xyz).position[8].tolist()
    box = opened.locator('figure canvas').bounding_box()
    place = dict(x=(column + 1.5) * box['width'] / 160, y=(row + 1.5) * box['height'] / 90)
    opened.locator('figure canvas').click(position=place)
    assert opened.evaluate('explorer.state.query') == sample.cameras.pairs(sample.xyz).point[8]


def test_colors_of_classes_and_numbers(opened):
    opened.click('#colorings [data-key=class]')
    colors = np.array(opened.evaluate('explorer.colors()')).reshape(-1, 3)
    assert colors[:4].tolist() == [[10, 20, 30], [40, 50, 60], [45, 45, 45], [10, 20, 30]]
    # names are text, whatever is in them
    assert opened.locator('#classes span').all_text_contents() == CLASSES
    opened.click('#colorings [data-key=height]')
    colors = np.array(opened.evaluate('explorer.colors()')).reshape(-1, 3)
    assert colors[[0, -1]].tolist() == heat_colors(torch.tensor([0.0, 1])).tolist()


def test_another_sample_starts_without_a_point_and_needs_no_camera(opened):
    opened.evaluate('explorer.select(3)')
    opened.select_option('#sample', '1')
    opened.wait_for_function('explorer.state.query === -1')
    assert opened.evaluate('explorer.state.coloring') == 'pca'
    assert not opened.locator('figure').count() and opened.locator('#overlays').is_hidden()
    opened.mouse.click(*opened.evaluate('explorer.pixel(20)')[:2])
    assert opened.evaluate('explorer.cosines()')[20] == pytest.approx(1, abs=1e-6)


def test_page_needs_nothing_else(path):
    page = path.read_text()
    assert not re.search(r"""(src|href)=["']?(?!data:)|@import|url\(""", page.partition('var THREE')[0])
    assert '&lt;title&gt;' in page and page.count('</script>') == 5


@pytest.mark.parametrize('channels', [6, 200])
def test_short_vectors_keep_cosines(channels):
    torch.manual_seed(0)
    features = torch.randn(300, 20) @ torch.randn(20, channels) + 0.1 * torch.randn(300, channels)
    short = compact(features)
    assert short.vectors.dtype == np.int8 and short.vectors.shape[1] == min(channels, 32)
    errors = cosines(torch.from_numpy(short.vectors).float(), torch.from_numpy(short.vectors[0]).float())
    errors = abs(errors - cosines(features, features[0]))
    # the rows that the error was found at include the first one
    assert errors.max() <= short.error + 1e-6 < EXACT


def test_features_of_points_and_pixels_come_from_one_head():
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='peridot.Pretrainer',
            student=dict(type='peridot.PointwiseStudent'),
            teacher=dict(type='peridot.TinyTeacher'),
            heads=dict(instance=dict(channels=6)),
            objectives=dict(infonce=dict(type='peridot.PointPixelInfoNCE', head='instance')),
        )
    ).eval()
    inputs = dict(points=torch.rand(9, 4), frames=Frames.single(9, 2))
    sample = dict(inputs=inputs, data_samples=Det3DDataSample())
    # without images there are only the student's own features
    inputs.update(pairs=Pairs.empty())
    assert [space.title for space in feature_spaces(model, sample)] == ['student']
    inputs.update(images=torch.randint(255, (2, 3, 8, 12), dtype=torch.uint8))
    joint, own = feature_spaces(model, sample)
    assert own.points.shape == (9, 12) and own.pixels is None
    head, maps = model.heads.instance, model.teacher(inputs['images'])
    torch.testing.assert_close(joint.points, head.embed_student(own.points))
    pixel = torch.nn.functional.normalize(joint.pixels[1, :, 0, 2], dim=0)
    torch.testing.assert_close(pixel, head.embed_teacher(maps[1, :, 0, 2][None])[0])
    with pytest.raises(ConfigError, match=r'--head can be instance$'):
        feature_spaces(model, sample, 'semantic')
