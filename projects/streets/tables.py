"""The tables of nuScenes v1.0-mini, from the records of all keyframes."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from streets.frame import VERSION, Settings, quaternion, token, write_atomic
from streets.nuscenes import map_file
from streets.rig import make_cameras, make_lidar
from streets.taxonomy import ATTRIBUTES, CATEGORIES, SCENES, VISIBILITIES

Rows = list[dict]


def write_tables(root: Path, settings: Settings, records: list[list[dict]]) -> None:
    """Write the tables of a dataset, `v1.0-mini/*.json`.

    Args:
        root: Folder of the dataset.
        settings: Its settings.
        records: What `nuscenes.make_frame` returned for each scene and keyframe.
    """
    tables: dict[str, Rows] = defaultdict(list)
    tables.update(_fixed_tables())
    for scene, frames in enumerate(records):
        _scene(tables, settings, scene, frames)
        _calibration(tables, settings, scene)
        _samples(tables, settings, scene, frames)
        _sensor_data(tables, settings, scene, frames)
        _objects(tables, settings, scene, frames)
    for name, rows in tables.items():
        write_atomic(root / VERSION / f'{name}.json', json.dumps(rows, indent=0).encode())


def _fixed_tables() -> dict[str, Rows]:
    """Tables that are the same in all datasets."""
    channels = [('LIDAR_TOP', 'lidar')] + [(name, 'camera') for name in make_cameras((900, 1600))]
    return {
        'category': [
            {'token': token('category', name), 'name': name, 'description': name.replace('.', ', '), 'index': index}
            for index, name in enumerate(CATEGORIES)
        ],
        'attribute': [{'token': token('attribute', name), 'name': name, 'description': name} for name in ATTRIBUTES],
        'visibility': [
            {
                'token': key,
                'level': level,
                'description': f'visible share of the object over all cameras: {level[1:]} %',
            }
            for key, (level, _) in VISIBILITIES.items()
        ],
        'sensor': [
            {'token': token('sensor', name), 'channel': name, 'modality': modality} for name, modality in channels
        ],
    }


def _sample_token(settings: Settings, scene: int, frame: int) -> str:
    """Token of a keyframe."""
    return token(settings.seed, 'sample', scene, frame)


def _scene(tables: dict[str, Rows], settings: Settings, scene: int, frames: list[dict]) -> None:
    """Add a scene with its log and map."""
    log = token(settings.seed, 'log', scene)
    tables['log'].append(
        {
            'token': log,
            'logfile': f'peridot-{SCENES[scene]}',
            'vehicle': 'peridot',
            'date_captured': '2018-07-24',
            'location': 'synthetic-street',
        }
    )
    tables['map'].append(
        {
            'token': token(settings.seed, 'map', scene),
            'log_tokens': [log],
            'category': 'semantic_prior',
            'filename': map_file(scene),
        }
    )
    tables['scene'].append(
        {
            'token': token(settings.seed, 'scene', scene),
            'log_token': log,
            'nbr_samples': len(frames),
            'first_sample_token': _sample_token(settings, scene, 0),
            'last_sample_token': _sample_token(settings, scene, len(frames) - 1),
            'name': SCENES[scene],
            'description': frames[0]['description'],
        }
    )


def _calibration(tables: dict[str, Rows], settings: Settings, scene: int) -> None:
    """Add the calibrated sensors of a scene."""
    for sensor in (make_lidar(), *make_cameras(settings.image_size).values()):
        intrinsic = getattr(sensor, 'intrinsic', None)
        tables['calibrated_sensor'].append(
            {
                'token': token(settings.seed, 'calibration', scene, sensor.name),
                'sensor_token': token('sensor', sensor.name),
                'translation': sensor.position.tolist(),
                'rotation': quaternion(sensor.rotation),
                'camera_intrinsic': [] if intrinsic is None else intrinsic.tolist(),
            }
        )


def _samples(tables: dict[str, Rows], settings: Settings, scene: int, frames: list[dict]) -> None:
    """Add the chain of keyframes of a scene."""
    tokens = [_sample_token(settings, scene, frame) for frame in range(len(frames))]
    for record, own, before, after in zip(frames, tokens, ['', *tokens], [*tokens[1:], '']):
        tables['sample'].append(
            {
                'token': own,
                'timestamp': record['timestamp'],
                'prev': before,
                'next': after,
                'scene_token': token(settings.seed, 'scene', scene),
            }
        )


def _sensor_data(tables: dict[str, Rows], settings: Settings, scene: int, frames: list[dict]) -> None:
    """Add recordings in a chain for each sensor, with ego poses; a sweep belongs to the keyframe that follows it."""
    chains: dict[str, Rows] = defaultdict(list)
    height, width = settings.image_size
    for record in frames:
        for item in record['data']:
            camera = item['channel'] != 'LIDAR_TOP'
            tables['ego_pose'].append({name: item[name] for name in ('token', 'timestamp', 'rotation', 'translation')})
            chains[item['channel']].append(
                {
                    'token': item['token'],
                    'sample_token': _sample_token(settings, scene, record['frame']),
                    'ego_pose_token': item['token'],
                    'calibrated_sensor_token': token(settings.seed, 'calibration', scene, item['channel']),
                    'timestamp': item['timestamp'],
                    'fileformat': 'jpg' if camera else 'pcd',
                    'is_key_frame': item['is_key_frame'],
                    'height': height if camera else 0,
                    'width': width if camera else 0,
                    'filename': item['filename'],
                }
            )
            if item['is_key_frame'] and not camera:
                name = f'lidarseg/{VERSION}/{item["token"]}_lidarseg.bin'
                row = {'token': item['token'], 'sample_data_token': item['token'], 'filename': name}
                tables['lidarseg'].append(row)
    for chain in chains.values():
        tables['sample_data'] += _linked(chain)


def _linked(rows: Rows) -> Rows:
    """Set `prev` and `next` of a chain's rows, in place."""
    tokens = [row['token'] for row in rows]
    for row, before, after in zip(rows, ['', *tokens], [*tokens[1:], '']):
        row.update(prev=before, next=after)
    return rows


def _objects(tables: dict[str, Rows], settings: Settings, scene: int, frames: list[dict]) -> None:
    """Add objects and the chains of their boxes."""
    chains: dict[int, Rows] = defaultdict(list)
    categories: dict[int, str] = {}
    for record in frames:
        for item in record['annotations']:
            number = item['number']
            categories[number] = item['category']
            chains[number].append(
                {
                    'token': token(settings.seed, 'annotation', scene, record['frame'], number),
                    'sample_token': _sample_token(settings, scene, record['frame']),
                    'instance_token': token(settings.seed, 'instance', scene, number),
                    'visibility_token': item['visibility'],
                    'attribute_tokens': [token('attribute', item['attribute'])] if item['attribute'] else [],
                    'translation': item['translation'],
                    'size': item['size'],
                    'rotation': item['rotation'],
                    'num_lidar_pts': item['num_lidar_pts'],
                    'num_radar_pts': 0,
                }
            )
    for number, chain in chains.items():
        tables['sample_annotation'] += _linked(chain)
        tables['instance'].append(
            {
                'token': token(settings.seed, 'instance', scene, number),
                'category_token': token('category', categories[number]),
                'nbr_annotations': len(chain),
                'first_annotation_token': chain[0]['token'],
                'last_annotation_token': chain[-1]['token'],
            }
        )
