"""An interactive page: clouds in 3D and camera images, colored by the features of a network."""

import base64
import html
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from PIL import Image
from scipy.linalg import eigh
from torch import Tensor, nn

from peridot.catalog import lookup
from peridot.files import write_bytes
from peridot.visualization.colors import UNLABELED, heat_colors, pca_colors
from peridot.visualization.figures import TopView
from peridot.visualization.scenes import Cameras, Scenes, load_network, predict, true_labels
from peridot.visualization.spaces import Space, feature_spaces

PAGE = Path(__file__).parent / 'page'
# numbers of a vector in the page: the first of these with cosines as exact as this, or the last
WIDTHS = (32, 64, 96, 128)
EXACT = 0.02
# meters; positions in the page are int16
STEP = 0.01
# steps of a pixel in which positions on images are stored
PIXEL_STEPS = 16
# points whose cosines with all others tell how exact those of the page are
QUERIES = 64


@dataclass(frozen=True)
class ExploredSample:
    """What the page shows of a sample.

    Attributes:
        name: Its name for readers.
        xyz: Float (N, 3), meters, lidar frame.
        spaces: Features of the points, and of pixels.
        cameras: Images to click.
        labels: Classes (N,) by what they are, such as 'prediction'; values outside [0, K) belong to no class.
        numbers: Other numbers (N,) of the points by name.
    """

    name: str
    xyz: np.ndarray
    spaces: Sequence[Space]
    cameras: Cameras
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)


def explore(model: nn.Module, scenes: Scenes, head: str | None = None, points: int = 40000) -> Iterator[ExploredSample]:
    """The samples with all that a network says about them.

    Args:
        model: Network with features of points, see `feature_spaces`.
        scenes: The samples.
        head: See `feature_spaces`.
        points: Largest number of points of a sample; of more, random ones are taken.
    """
    columns = lookup(scenes.dataset.metainfo.get('dataset')).columns
    for name, sample, row in scenes:
        spaces, cloud = feature_spaces(model, sample, head), sample['inputs']['points'].numpy()
        labels = {'class': true_labels(sample)}
        if hasattr(model, 'decode_head'):
            labels['prediction'] = predict(model, sample).pred_pts_seg.pts_semantic_mask.cpu().numpy()
        kept = np.sort(np.random.default_rng(0).permutation(len(cloud))[:points])
        numbers = {'height': cloud[kept, 2]}
        if cloud.shape[1] > 3 and 'intensity' in columns[3:4]:
            numbers['intensity'] = cloud[kept, 3]
        cameras = scenes.cameras(row, wide=1240, narrow=560)
        yield ExploredSample(
            f'{row}: {name}',
            cloud[kept, :3],
            [_shown(space, kept, cameras.names, scenes.dataset.get_data_info(row)) for space in spaces],
            cameras,
            {title: values[kept] for title, values in labels.items() if values is not None},
            numbers,
        )


def _shown(space: Space, rows: np.ndarray, names: Sequence[str], info: dict) -> Space:
    """The space of some points, with the features of pixels in the order of the named cameras."""
    pixels = space.pixels
    if pixels is not None:
        read = info['cameras']
        pixels = pixels[[read.index(name) for name in names]] if set(names) <= set(read) else None
    return replace(space, points=space.points[torch.from_numpy(rows)], pixels=pixels)


@dataclass(frozen=True)
class Compact:
    """Features as the page stores them.

    Attributes:
        vectors: Int8 (N, D), each scaled for itself: only their directions mean something.
        error: Largest difference of a cosine to that of the features, found at `QUERIES` of the rows.
    """

    vectors: np.ndarray
    error: float


def compact(features: Tensor) -> Compact:
    """Short vectors of 8-bit numbers with nearly the same cosines.

    They keep the directions with most of the unit features' energy, as few of `WIDTHS` as are exact enough.

    Args:
        features: Float (N, C).
    """
    unit = F.normalize(features.float().nan_to_num(0, 0, 0), dim=1)
    # largest last; the solver of `pca_colors`, for the same reason
    _, directions = eigh((unit.T @ unit).double().numpy())
    turned = unit @ torch.from_numpy(directions).float()
    rows = torch.linspace(0, len(unit) - 1, min(QUERIES, len(unit))).long()
    cosines = unit @ unit[rows].T
    for width in WIDTHS:
        kept = turned[:, -width:]
        vectors = (127 * kept / kept.abs().amax(1, keepdim=True).clamp(min=1e-9)).round()
        short = F.normalize(vectors, dim=1)
        error = float((short @ short[rows].T - cosines).abs().max())
        if error <= EXACT or width >= unit.shape[1]:
            break
    return Compact(vectors.to(torch.int8).numpy(), error)


def write_page(
    path: Path, config: Config, checkpoint: str, rows: Sequence[int], head: str | None = None, points: int = 40000
) -> float:
    """Write the page about a checkpoint.

    Args:
        path: The page.
        config: Config of the network, with the samples to choose from.
        checkpoint: Its weights.
        rows: Numbers of the samples.
        head: See `explore`.
        points: See `explore`.

    Returns:
        See `explorer_page`.
    """
    scenes = Scenes(config, rows=rows)
    model = load_network(config, checkpoint, 'cuda' if torch.cuda.is_available() else 'cpu')
    samples, meta = list(explore(model, scenes, head, points)), scenes.dataset.metainfo
    title, subtitle = Path(config.filename).stem, f'{meta.get("dataset", "")} · {Path(checkpoint).name}'
    page, error = explorer_page(title, subtitle, samples, meta.get('classes', ()), meta.get('palette', ()))
    write_bytes(path, page.encode())
    return error


def explorer_page(
    title: str,
    subtitle: str,
    samples: Sequence[ExploredSample],
    classes: Sequence[str] = (),
    palette: Sequence[Sequence[int]] = (),
) -> tuple[str, float]:
    """The page, which needs nothing beside itself.

    Args:
        title: Heading.
        subtitle: Text beside it.
        samples: At least one.
        classes: Names of the K classes of `ExploredSample.labels`.
        palette: Their RGB colors.

    Returns:
        HTML, and the largest error of a cosine that was found, see `Compact`.
    """
    about = dict(
        classes=list(classes),
        palette=[list(color) for color in palette],
        unlabeled=UNLABELED,
        pixel_steps=PIXEL_STEPS,
        scale=_packed(heat_colors(torch.linspace(0, 1, 256))),
    )
    scripts, errors = [_json_script(about, 'id="about"')], []
    for sample in samples:
        content, error = _stored(sample, len(classes))
        scripts.append(_json_script(content, f'class="sample" data-name="{html.escape(sample.name, quote=True)}"'))
        errors.append(error)
    parts = dict(
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        footnote=f'The page keeps features in numbers of 8 bits: its cosines are off by at most {max(errors):.3f}.',
        style=(PAGE / 'explorer.css').read_text(),
        data='\n'.join(scripts),
        library=(PAGE / 'three.min.js').read_text(),
        script=(PAGE / 'explorer.js').read_text(),
    )
    page = re.sub(r'{{(\w+)}}', lambda match: parts[match[1]], (PAGE / 'explorer.html').read_text())
    return page, max(errors)


def _stored(sample: ExploredSample, num_classes: int) -> tuple[dict, float]:
    """A sample as JSON, and the largest error of its cosines."""
    spaces, errors = zip(*(_stored_space(space) for space in sample.spaces))
    colorings = [_stored_labels(title, labels, num_classes) for title, labels in sample.labels.items()]
    colorings += [_stored_numbers(title, values) for title, values in sample.numbers.items()]
    view = TopView.fit(sample.xyz, sample.cameras.front)
    content = dict(
        step=STEP,
        xyz=_packed(np.clip(np.rint(sample.xyz / STEP), -32767, 32767), '<i2'),
        colorings=colorings,
        spaces=spaces,
        cameras=_stored_cameras(sample),
        view=dict(
            forward=view.forward,
            ahead_only=view.center != (0.0, 0.0),
            ground=float(np.percentile(sample.xyz[:, 2], 5)),
        ),
    )
    return content, max(errors)


def _stored_space(space: Space) -> tuple[dict, float]:
    count, features = len(space.points), space.points
    if space.pixels is not None:
        features = torch.cat([features, space.pixels.permute(0, 2, 3, 1).flatten(0, 2)])
    short, colors = compact(features), pca_colors(features)
    content = dict(
        title=space.title,
        width=short.vectors.shape[1],
        points=_packed(short.vectors[:count]),
        pca=_packed(colors[:count]),
        map=None,
    )
    if space.pixels is not None:
        content['map'] = dict(
            height=space.pixels.shape[2],
            width=space.pixels.shape[3],
            align_corners=space.align_corners,
            values=_packed(short.vectors[count:]),
            pca=_packed(colors[count:]),
        )
    return content, short.error


def _stored_labels(title: str, labels: np.ndarray, num_classes: int) -> dict:
    values = np.where((labels >= 0) & (labels < num_classes), labels, 255)
    return dict(title=title, classes=True, values=_packed(values, 'u1'))


def _stored_numbers(title: str, values: np.ndarray) -> dict:
    """Numbers between their 1st and 99th percentile as 8 bits."""
    low, high = np.percentile(values, [1, 99])
    steps = 255 * np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    return dict(title=title, values=_packed(np.rint(steps), 'u1'), low=f'{low:.1f}', high=f'{high:.1f}')


def _stored_cameras(sample: ExploredSample) -> list[dict]:
    """Images with the points that lie on them, the nearest ones last."""
    cameras, pairs = sample.cameras, sample.cameras.pairs(sample.xyz)
    distance = np.linalg.norm(sample.xyz, axis=1)
    content = []
    for number, (name, image) in enumerate(zip(cameras.names, cameras.images)):
        own = pairs[pairs.camera == number]
        own = own[torch.from_numpy(np.argsort(-distance[own.point.numpy()], kind='stable'))]
        places = np.rint(own.position.numpy()[:, ::-1] * PIXEL_STEPS)
        content.append(
            dict(name=name, source=_jpeg(image), rows=_packed(own.point.numpy(), '<u4'), places=_packed(places, '<u2'))
        )
    return content


def _jpeg(image: np.ndarray) -> str:
    """Address that holds an image, uint8 (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, 'JPEG', quality=85)
    return f'data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}'


def _packed(array: np.ndarray, dtype: str | None = None) -> str:
    """An array's numbers, compressed, in base64."""
    data = np.ascontiguousarray(array, array.dtype if dtype is None else dtype).tobytes()
    return base64.b64encode(zlib.compress(data, 9)).decode()


def _json_script(content: dict, attributes: str) -> str:
    # names of classes and cameras are data and must not end the element
    text = json.dumps(content).replace('<', '\\u003c')
    return f'<script type="application/json" {attributes}>{text}</script>'
