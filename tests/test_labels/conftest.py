from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.logging import MMLogger
from peridot.labels import MapJob
from peridot.maps import images_of
from peridot.registry import DATASETS

CAMERAS = ('CAM_FRONT', 'CAM_BACK')


def street_image(rng, height=90, width=160) -> np.ndarray:
    """Sky over road with a few boxes, slightly noisy: (height, width, 3) uint8."""
    image = np.empty((height, width, 3), np.float32)
    horizon = height // 2
    image[:horizon], image[horizon:] = (120, 170, 230), (90, 90, 95)
    for _ in range(3):
        left, top = rng.integers(0, width - 30), rng.integers(horizon - 20, horizon)
        image[top : top + 25, left : left + 28] = rng.integers(0, 255, 3)
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def street(tmp_path):
    """A dataset of 4 samples with 2 cameras each: data root with images, info file and `config.py`."""
    rng = np.random.default_rng(0)
    samples = []
    for index in range(4):
        images = {}
        for camera in CAMERAS:
            path = tmp_path / 'samples' / camera / f'{index}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), street_image(rng)[..., ::-1])
            images[camera] = {
                'img_path': path.name,
                'cam2img': np.eye(3).tolist(),
                'lidar2cam': np.eye(4).tolist(),
                'sample_data_token': f'{camera}-{index}',
            }
        lidar = {'lidar_path': f'{index}.bin', 'num_pts_feats': 5}
        samples.append({'token': f'token{index}', 'lidar_points': lidar, 'images': images})
    dump(
        {'metainfo': {'dataset': 'nuscenes', 'info_version': '1.1'}, 'data_list': samples},
        tmp_path / 'infos.pkl',
    )
    (tmp_path / 'config.py').write_text(
        'train_dataloader = dict(dataset=dict(\n'
        f"    type='peridot.PairedDataset', data_root={str(tmp_path)!r}, ann_file='infos.pkl',\n"
        "    data_prefix=dict(CAM_FRONT='samples/CAM_FRONT', CAM_BACK='samples/CAM_BACK'),\n"
        "    pipeline=[dict(type='peridot.NeedsTheMapsThatAreMadeHere')]))\n"
    )
    return tmp_path


@pytest.fixture
def job(street):
    """Makes the job of writing maps of `street` into a folder: `job('labels/mine', workers=2)`."""

    settings = Config.fromfile(street / 'config.py').train_dataloader.dataset
    images = images_of(DATASETS.build({**settings, 'pipeline': []}))

    def make(out: str, workers: int = 1) -> MapJob:
        return MapJob(images, street, street / out, workers)

    return make


@pytest.fixture
def log(caplog):
    """What is logged; `caplog` alone does not see the logger of mmengine."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def build_tiny_sam(checkpoint=None):
    """Segment Anything for 128 x 128 pixels with 55 thousand weights."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    assert checkpoint is None
    encoder = ImageEncoderViT(128, 16, embed_dim=16, depth=2, num_heads=2, out_chans=32, use_rel_pos=True)
    transformer = TwoWayTransformer(depth=1, embedding_dim=32, num_heads=2, mlp_dim=32)
    decoder = MaskDecoder(transformer_dim=32, transformer=transformer, iou_head_depth=2, iou_head_hidden_dim=32)
    return Sam(encoder, PromptEncoder(32, (8, 8), (128, 128), mask_in_chans=4), decoder)


@pytest.fixture
def tiny_sam(tmp_path, monkeypatch) -> Path:
    """Checkpoint of a Segment Anything with random weights; its model type is 'tiny'."""
    import segment_anything

    monkeypatch.setitem(segment_anything.sam_model_registry, 'tiny', build_tiny_sam)
    torch.manual_seed(0)
    path = tmp_path / 'weights' / 'tiny.pth'
    path.parent.mkdir()
    torch.save(build_tiny_sam().state_dict(), path)
    return path
