import json
import sys
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from peridot.errors import CheckpointError, ConfigError
from peridot.labels import MapJob, SamGenerator, SlicGenerator, make_maps
from peridot.labels.sam import partition
from peridot.maps import images_of
from peridot.registry import DATASETS
from safetensors.torch import save_file

REPO = Path(__file__).resolve().parents[2]
IGNORE = 65535
# one scan with one camera
ONE_SAMPLE = {'indices': 1, 'cameras': ['CAM_FRONT']}
SHORT_TRAINING = [
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_dataloader.dataset.indices=1',
    "train_dataloader.dataset.cameras=['CAM_FRONT']",
    'train_dataloader.dataset.maps.superpixels=superpixels/sam',
    'train_cfg.max_epochs=2',
    'val_cfg.fit_scans=1',
    'val_dataloader.dataset.indices=1',
    'custom_hooks=[]',
    'visualizer.name=sam',
    'default_hooks.logger.interval=1',
]


def generator(tiny_sam, **options) -> SamGenerator:
    few = {'points_per_side': 3, 'pred_iou_thresh': -9.0, 'stability_score_thresh': -1.0, 'box_nms_thresh': 1.0}
    return SamGenerator(tiny_sam, **{'model_type': 'tiny', 'min_area': 20, **few, **options})


def naive_partition(masks, size, num_ids, min_area):
    """The rule of `partition`, pixel by pixel."""
    owner = [[0] * size[1] for _ in range(size[0])]
    order = sorted(range(len(masks)), key=lambda index: (-int(masks[index].sum()), index))
    for number, index in enumerate(order, 1):
        for row, column in np.argwhere(masks[index]):
            owner[row][column] = number
    pixels = [(row, column) for row in range(size[0]) for column in range(size[1])]

    def neighbours(row, column):
        around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        return [(r, c) for r, c in around if 0 <= r < size[0] and 0 <= c < size[1]]

    piece, owners = {}, []
    for start in pixels:
        if start in piece:
            continue
        queue = deque([start])
        piece[start] = len(owners)
        while queue:
            here = queue.popleft()
            for there in neighbours(*here):
                if there not in piece and owner[there[0]][there[1]] == owner[start[0]][start[1]]:
                    piece[there] = len(owners)
                    queue.append(there)
        owners.append(owner[start[0]][start[1]])
    while True:
        areas = {index: sum(value == index for value in piece.values()) for index in set(piece.values())}
        small = min(areas, key=lambda index: (areas[index], index))
        if len(areas) == 1 or areas[small] >= min_area:
            break
        border = dict.fromkeys(areas, 0)
        for here in pixels:
            for there in neighbours(*here):
                if piece[here] == small and piece[there] != small:
                    border[piece[there]] += 1
        joined = max(border, key=lambda index: (border[index], -index))
        piece = {pixel: joined if index == small else index for pixel, index in piece.items()}
    seen = [0] * (len(masks) + 1)
    for index in piece.values():
        seen[owners[index]] += 1
    kept = [number for number in sorted(range(1, len(seen)), key=lambda n: (-seen[n], n)) if seen[number]][:num_ids]
    ids = np.full(size, IGNORE)
    for pixel, index in piece.items():
        if owners[index] in kept:
            ids[pixel] = kept.index(owners[index])
    return ids


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize(('num_ids', 'min_area'), [(256, 0), (256, 4), (3, 9), (2, 0), (1, 30)])
def test_partition_follows_its_rule(seed, num_ids, min_area):
    rng = np.random.default_rng(seed)
    size, masks = (9, 12), []
    for _ in range(rng.integers(1, 9)):
        top, left = rng.integers(0, 8), rng.integers(0, 10)
        mask = np.zeros(size, bool)
        mask[top : top + rng.integers(1, 7), left : left + rng.integers(1, 8)] = True
        masks.append(mask & (rng.random(size) < 0.9))
    found = partition(masks, size, num_ids, min_area)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, naive_partition(masks, size, num_ids, min_area))


def test_partition_of_nested_masks_keeps_the_small_ones():
    masks = [np.zeros((40, 60), bool) for _ in range(3)]
    masks[0][10:20, 10:20] = masks[1][5:35, 5:45] = masks[2][:, 50:] = True
    masks[1][25, 30] = False  # a hole of one pixel
    ids = partition(masks, (40, 60), 256, min_area=5)
    expected = np.full((40, 60), IGNORE)
    expected[5:35, 5:45], expected[:, 50:], expected[10:20, 10:20] = 0, 1, 2
    np.testing.assert_array_equal(ids, expected)
    assert (partition(masks, (40, 60), 2, min_area=5)[10:20, 10:20] == IGNORE).all()


@pytest.mark.parametrize('masks', [[], [np.zeros((4, 5), bool)]])
def test_partition_without_masks_is_ignored(masks):
    np.testing.assert_array_equal(partition(masks, (4, 5), 256, min_area=3), np.full((4, 5), IGNORE))


def test_maps_of_a_dataset(tiny_sam, job):
    maps = make_maps(generator(tiny_sam), job('superpixels/sam', workers=2))
    counts = []
    for source in job('').images:
        ids = maps.read(source.path, (90, 160))
        counts.append(len(np.unique(ids[ids != IGNORE])))
        np.testing.assert_array_equal(np.unique(ids[ids != IGNORE]), np.arange(counts[-1]))
    assert min(counts) >= 3
    manifest = maps.manifest
    assert (manifest.generator, manifest.num_ids, manifest.ignore) == ('sam', 256, IGNORE)
    assert manifest.parameters['checkpoint'].startswith('tiny.pth crc32:')
    assert manifest.parameters['points_per_side'] == 3


def test_options_reach_segment_anything(tiny_sam):
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    masks = generator(tiny_sam).network.generate(image)
    expected = partition([mask['segmentation'] for mask in masks], (90, 160), 4, 20)
    np.testing.assert_array_equal(generator(tiny_sam, num_ids=4)(image), expected)
    network = generator(tiny_sam, points_per_side=2, points_per_batch=3, pred_iou_thresh=0.1, crop_n_layers=1).network
    assert (len(network.point_grids[0]), len(network.point_grids), network.points_per_batch) == (4, 2, 3)
    assert network.pred_iou_thresh == 0.1 and network.stability_score_thresh == -1.0


def test_reduced_images(tiny_sam):
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    ids = generator(tiny_sam, image_height=45)(image)
    assert ids.shape == (90, 160)
    np.testing.assert_array_equal(ids[::2, ::2].repeat(2, 0).repeat(2, 1), ids)
    assert len(np.unique(ids)) > 2


def test_images_without_masks_are_listed_not_fatal(tiny_sam, job, log):
    found_in = {}

    class HalfBlind(SamGenerator):
        registered_name = SamGenerator.registered_name

        def __call__(self, image):
            # thresholds that some images pass would depend on the random weights
            self.network.pred_iou_thresh = 9.0 if len(found_in) % 2 else -9.0
            ids = super().__call__(image)
            found_in[len(found_in)] = (ids != IGNORE).any()
            return ids

    maps = make_maps(HalfBlind(tiny_sam, 'tiny', 3, 64, -9.0, -1.0, 1.0), job('superpixels/sam'))
    assert list(found_in.values()) == [True, False] * 4
    assert maps.manifest.hash
    ids = maps.read(job('').images[1].path, (90, 160))
    assert (ids == IGNORE).all()
    expected = '4 of 8 superpixels maps are empty: every pixel is ignored: samples/CAM_BACK/0, samples/CAM_BACK/1, '
    assert expected in log.text
    log.clear()
    # nor are those forgotten that an earlier run made
    make_maps(HalfBlind(tiny_sam, 'tiny', 3, 64, -9.0, -1.0, 1.0), job('superpixels/sam'))
    assert expected in log.text and len(found_in) == 8


def one_line(error) -> str:
    assert '\n' not in str(error.value)
    return str(error.value)


def test_checkpoint_absent(tmp_path):
    for model_type, file in (('vit_h', 'sam_vit_h_4b8939.pth'), ('vit_b', 'sam_vit_b_01ec64.pth')):
        with pytest.raises(CheckpointError, match=r'weights\.pth not found: download .*') as error:
            SamGenerator(tmp_path / 'weights.pth', model_type).load()
        assert file in one_line(error)


def test_checkpoint_of_another_type(tiny_sam, job):
    state = torch.load(tiny_sam)
    torch.save({**state, 'image_encoder.pos_embed': torch.zeros(1, 64, 64, 1024)}, tiny_sam)
    with pytest.raises(CheckpointError, match=r"does not fit model_type='tiny', it is a 'vit_l'") as error:
        make_maps(generator(tiny_sam), job('superpixels/sam'))
    assert 'set model_type=vit_l' in one_line(error)
    # nothing was begun, so that the fixed command needs no --overwrite
    assert not job('superpixels/sam').out.exists()
    torch.save({name: value for name, value in state.items() if 'neck.0' not in name}, tiny_sam)
    with pytest.raises(CheckpointError, match=r'1 tensors differ, first .image_encoder\.neck\.0\.weight.') as error:
        generator(tiny_sam).load()
    one_line(error)


def test_checkpoint_as_safetensors_and_of_a_compiled_network(tiny_sam):
    state = torch.load(tiny_sam)
    expected = generator(tiny_sam).network.predictor.model.state_dict()
    save_file({f'_orig_mod.{name}': value.contiguous() for name, value in state.items()}, tiny_sam)
    found = generator(tiny_sam).network.predictor.model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_an_error_leaves_maps_that_were_to_be_replaced(tiny_sam, job):
    before = make_maps(SlicGenerator(n_segments=9), job('maps')).manifest
    with pytest.raises(CheckpointError, match='not found'):
        make_maps(generator(tiny_sam.with_name('absent.pth')), job('maps'), overwrite=True)
    assert job('maps').maps().manifest == before


@pytest.mark.parametrize('keep', [0, 100, 0.5, 0.99])
def test_checkpoint_truncated(tiny_sam, keep):
    data = tiny_sam.read_bytes()
    tiny_sam.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match=r'tiny\.pth cannot be read, get the file again') as error:
        generator(tiny_sam).load()
    one_line(error)


class Dangerous:
    def __reduce__(self):
        return (print, ('code in a checkpoint ran',))


def test_checkpoint_with_code_is_refused(tiny_sam, capsys):
    torch.save({'weights': Dangerous()}, tiny_sam)
    with pytest.raises(CheckpointError, match='cannot be read') as error:
        generator(tiny_sam).load()
    one_line(error)
    assert 'ran' not in capsys.readouterr().out
    torch.save([1, 2], tiny_sam)
    with pytest.raises(CheckpointError, match='holds no state dict but a list'):
        generator(tiny_sam).load()


def test_model_type_unknown(tiny_sam):
    with pytest.raises(ConfigError, match=r"sam: model_type='vit_x' is unknown: choose from default, vit_h, vit_l"):
        generator(tiny_sam, model_type='vit_x').load()


def test_package_missing(tiny_sam, monkeypatch):
    monkeypatch.setitem(sys.modules, 'segment_anything', None)
    with pytest.raises(ConfigError, match=r'sam needs the package segment_anything: pip install segment-anything$'):
        generator(tiny_sam).load()


@pytest.mark.parametrize('options', [{'num_ids': 65536}, {'points_per_side': 0}, {'image_height': 0}])
def test_senseless_settings(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ConfigError, match=f'sam: {name}={value} must'):
        SamGenerator('x.pth', **options)


def test_from_images_over_sam_to_training(demo_root, tiny_sam, tmp_path, run_tool):
    settings = Config.fromfile(REPO / 'configs/demo/slidr_demo.py').train_dataloader.dataset
    dataset = DATASETS.build({**settings, 'pipeline': [], 'maps': {}, 'data_root': str(demo_root), **ONE_SAMPLE})
    maps = make_maps(generator(tiny_sam), MapJob(images_of(dataset), demo_root, demo_root / 'superpixels/sam'))
    assert maps.manifest.generator == 'sam'
    arguments = ['configs/demo/slidr_demo.py', '--data-root', demo_root, '--work-dir', tmp_path]
    run_tool('train', *arguments, '--cfg-options', *SHORT_TRAINING)
    lines = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    steps = [step for step in map(json.loads, lines) if 'loss' in step]
    assert len(steps) == 2
    assert all(step['loss'] > 0 and step['superpixel/superpixels'] > 1 for step in steps)
