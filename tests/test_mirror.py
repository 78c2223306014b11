"""Where a module is tested: in the file of its name, or in the one that the table names.

The test of projects/peridot/ROOM/.../STEM.py is tests/test_ROOM/test_STEM.py, or test_FOLDER_STEM.py where a name
stands twice; that of projects/streets/STEM.py is tests/test_streets/test_STEM.py.
"""

from pathlib import Path

TESTS = Path(__file__).parent
PROJECTS = TESTS.parent / 'projects'

# modules without a test file of their name, by the file that tests them
ELSEWHERE = {
    'test_devices.py': 'gpus',
    'test_architecture.py': 'errors registry',
    'test_catalog.py': 'catalog.argoverse2 catalog.entry catalog.folder catalog.kitti catalog.kitti360 '
    'catalog.nuscenes catalog.once catalog.pandaset catalog.semantickitti catalog.waymo',
    'test_datasets/test_checks.py': 'datasets.recordings.suspicions',
    'test_datasets/test_complete_infos.py': 'datasets.missing',
    'test_datasets/test_create_infos_folder.py': 'datasets.recordings.classes datasets.recordings.products '
    'datasets.recordings.recording streets.folder visualization.overlays',
    'test_datasets/test_create_infos_pandaset.py': 'datasets.pandaset_tables',
    'test_datasets/test_import_rosbag.py': 'datasets.rosbag.bag datasets.rosbag.messages datasets.rosbag.sources',
    'test_datasets/test_frames.py': 'datasets.transforms.augmentation structures.frames models.preprocessor',
    'test_datasets/test_images_of.py': 'datasets.occlusion datasets.transforms.occlusion',
    'test_datasets/test_splits.py': 'datasets.gt_database split_files',
    'test_datasets/test_transforms_augment.py': 'datasets.transforms.views datasets.transforms.packing',
    'test_datasets/test_transforms_occupancy.py': 'structures.queries',
    'test_datasets/test_transforms_sampling.py': 'datasets.transforms.points',
    'test_datasets/test_map_check.py': 'maps.named',
    'test_drive_and_segment/test_all_stages.py': 'work_dirs drive_and_segment.evaluation.scores_report',
    'test_drive_and_segment/test_clusters.py': 'drive_and_segment.proposals.ground',
    'test_drive_and_segment/test_lidar_proposals.py': 'drive_and_segment.proposals.projection '
    'drive_and_segment.proposals.region_growing',
    'test_drive_and_segment/test_proposals_generator.py': 'labels.previews',
    'test_drive_and_segment/test_drive_and_segment_transforms.py': 'datasets.camera_images',
    'test_drive_and_segment/test_segmentor_training.py': 'drive_and_segment.segmentor.teacher_labels hooks.ema_teacher',
    'test_evaluation/test_discovery.py': 'evaluation.foreground_metric evaluation.found visualization.foreground',
    'test_gpu_check/test_functions.py': 'gpu_check.draws gpu_check.geometry gpu_check.networks gpu_check.objectives',
    'test_gpu_check/test_gpu_check_run.py': 'gpu_check.table',
    'test_gpu_check/test_pretraining.py': 'gpu_check.clouds gpu_check.configs gpu_check.measure gpu_check.samples '
    'gpu_check.steps',
    'test_hooks/test_export_backbone.py': 'hooks.check_checkpoint',
    'test_hooks/test_verify_loading.py': 'weights.layout weights.report weights.settings weights.verify',
    'test_labels/test_make_features.py': 'maps.teacher_features models.teachers.stored_teacher',
    'test_labels/test_mmseg_labels.py': 'optional labels.networks',
    'test_labels/test_quality.py': 'labels.quality_report',
    'test_labels/test_runner.py': 'labels.generator labels.job labels.parallel labels.training_maps maps.images',
    'test_lidar_segments/test_make.py': 'datasets.transforms.lidar_segments lidar_segments.pairs '
    'lidar_segments.previews maps.lidar_segments',
    'test_maps/test_folder.py': 'maps.base maps.manifest maps.tools',
    'test_models/test_bev_cell_contrast.py': 'models.functional.bev_cells',
    'test_models/test_objectives.py': 'models.batch models.objectives.contrast '
    'models.objectives.point_pixel_infonce models.objectives.superpixel_infonce models.objectives.vmf_consistency '
    'models.objectives.weakly_supervised_contrast',
    'test_models/test_objectives_distributed.py': 'models.functional.distributed',
    'test_models/test_occupancy.py': 'models.students.features',
    'test_models/test_synchronizations.py': 'models.counter models.functional.counting',
    'test_models/test_pretrainer.py': 'models.objectives.objective models.students.passes',
    'test_models/test_segmentors.py': 'models.segmentors.linear_probe models.segmentors.point_seg_head '
    'models.segmentors.preprocessor',
    'test_models/test_students.py': 'models.students.sparse_unet models.students.voxelize',
    'test_models/test_teachers.py': 'models.teachers.dilation models.teachers.timm_teacher models.teachers.weights '
    'models.functional.strongest_response teacher_files',
    'test_models/test_waffleiron.py': 'models.functional.neighbors models.functional.planes models.students.tokens '
    'optim.layer_decay',
    'test_models/test_res16unet.py': 'voxel_grid',
    'test_preflight/test_run.py': 'preflight.maps preflight.sources preflight.survey',
    'test_preflight/test_table.py': 'preflight.oddities',
    'test_streets/test_formats.py': 'streets.kitti streets.pandaset streets.argoverse2',
    'test_streets/test_lidar.py': 'streets.raycast streets.rig',
    'test_streets/test_scene.py': 'streets.layout streets.objects.buildings streets.objects.cycles '
    'streets.objects.furniture streets.objects.parts streets.objects.people streets.objects.plants '
    'streets.objects.vehicles streets.roadside streets.traffic',
    'test_streets/test_shapes.py': 'streets.mesh',
    'test_streets/test_camera.py': 'streets.facades streets.materials streets.surface',
    'test_tools/test_demo.py': 'demo.comparison demo.everything demo.methods demo.programs demo.report',
    'test_tools/test_train.py': 'hooks.feature_picture hooks.occupancy_picture hooks.picture weights.averaged',
    'test_visualization/test_figures.py': 'visualization.boxes visualization.colors visualization.tsne',
    'test_screen.py': 'runner',
    'test_tools/test_startup.py': 'preflight.inputs',
    'test_tools/test_visualize.py': 'scene_figures visualization.html visualization.scenes',
    'test_visualization/test_explorer.py': 'visualization.spaces',
    'test_weights/test_convert.py': 'weights.conversion',
    'test_weights/test_torchsparse.py': 'weights.printed_config',
}


def modules() -> list[str]:
    """Modules by the name that the table uses: without `peridot.`."""
    paths = sorted(path for path in PROJECTS.rglob('*.py') if path.name != '__init__.py')
    return ['.'.join(path.relative_to(PROJECTS).with_suffix('').parts).removeprefix('peridot.') for path in paths]


def own_tests(module: str) -> list[Path]:
    """Places where the test of a module may stand."""
    *folders, stem = module.split('.')
    folder = TESTS / f'test_{folders[0]}' if folders else TESTS
    return [folder / f'test_{stem}.py', *(folder / f'test_{name}_{stem}.py' for name in folders)]


def test_every_module_has_its_test():
    table = [name for names in ELSEWHERE.values() for name in names.split()]
    without = [name for name in modules() if not any(path.is_file() for path in own_tests(name))]
    assert not set(without) - set(table), 'give them a test file of their name, or a place in the table'
    assert not set(table) - set(without), 'these have a test file of their name, or do not exist'
    assert len(table) == len(set(table))


def test_every_file_of_the_table_exists():
    assert not [name for name in ELSEWHERE if not (TESTS / name).is_file()]
