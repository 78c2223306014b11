#!/usr/bin/env python3
"""Features of lidar segments (Drive&Segment): crops per second, compared with the network alone.

Proposals of one sweep with six cameras of 1600 x 900 pixels; DINO's network (ViT-S/16, random weights) sees crops of
224 x 224 pixels in batches that span images. Cutting the crops and decoding the images is the difference.
"""

import time

import cv2
import numpy as np
import peridot  # noqa: F401  (repairs of upstream defects come before any other import)
import torch
from lidar_clusters import FRAME, SETTINGS, make_sweep
from peridot.drive_and_segment.proposals import LidarProposals
from peridot.drive_and_segment.pseudo_labels.segment_features import SegmentEncoder, crop_segments, encode_images
from streets.camera import take_photo
from streets.frame import camera_view
from streets.rig import CAMERAS

TEACHER = dict(type='peridot.TimmTeacher', model='vit_small_patch16_224.dino', weights=None, image_size=(224, 224))
BATCH = 64
SCENE = 0


def main() -> None:
    """Measure on the GPU if there is one, decoding and cutting in this process."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    encoder = SegmentEncoder(TEACHER, 'class').to(device)
    files, maps = make_images()
    segments, start = 0, time.perf_counter()
    images = (
        crop_segments(cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1].copy(), regions, 224)
        for file, regions in zip(files, maps)
    )
    for _, features in encode_images(encoder, images, BATCH, []):
        segments += len(features)
    total = time.perf_counter() - start
    alone = segments / encoder.seconds
    print(f'{segments} crops on {device}: {segments / total:.1f} per second, network alone {alone:.1f}')
    print(f'the network takes {100 * encoder.seconds / total:.0f} % of the time')


def make_images() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """JPEG files of the six cameras and their proposals."""
    sweep, lidar2cam, cam2img = make_sweep(SCENE)
    proposals = LidarProposals(sensor=dict(columns=1085, ring_column=4))
    maps = proposals(sweep.points, lidar2cam, cam2img, [SETTINGS.image_size] * len(CAMERAS))
    files = []
    for name in CAMERAS:
        camera, snapshot = camera_view(SETTINGS, SCENE, FRAME, name)
        photo = take_photo(snapshot, camera, np.random.default_rng(0))
        files.append(cv2.imencode('.jpg', photo.image[..., ::-1])[1])
    return files, maps


if __name__ == '__main__':
    main()
