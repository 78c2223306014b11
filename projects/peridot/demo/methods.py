"""The methods that the demo compares."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DemoMethod:
    """A method, whose demo config is configs/demo/KEY_demo.py.

    Attributes:
        title: Name for readers.
        color: Its color in plots.
        asked: What the network should learn, in words.
        published: Config with the published settings, below configs/.
        maps: Kind of the maps that it needs, and the program that makes them.
        segments: It needs lidar segments of two keyframes.
        untrained: Key of the untrained network of the same architecture.
        formats: Other layouts of the synthetic world that it trains on.
        supervised: It sees the true classes: the ceiling of the others.
    """

    title: str
    color: str
    asked: str
    published: str
    maps: tuple[str, str] | None = None
    segments: bool = False
    untrained: str = 'random'
    formats: tuple[str, ...] = ()
    supervised: bool = False


_SAME_PIXEL = 'the feature of a point should match the image feature where the point projects to'
_CLASS = 'the feature of a point should tell its class, given for all points of the training scenes'
_SAME = 'a linear map of the feature of a point should equal the image feature where the point projects to'

METHODS = {
    'olivine': DemoMethod(
        'OLIVINE',
        '#c5e17a',
        f'{_SAME_PIXEL}, and be nearer to image features of its own weak class than to others',
        'pretrain/olivine_nus',
        maps=('labels', 'make_weak_labels'),
    ),
    'slidr': DemoMethod(
        'SLidR',
        '#7ac5e1',
        "the mean feature of a superpixel's points should match the mean feature of its pixels",
        'pretrain/slidr_nus',
        maps=('superpixels', 'make_superpixels'),
    ),
    'seal': DemoMethod(
        'Seal',
        '#7a9ae1',
        'as SLidR; and the mean feature of a lidar segment should match that of the same segment half a second later',
        'pretrain/seal_nus',
        maps=('superpixels', 'make_superpixels'),
        segments=True,
    ),
    'superflow': DemoMethod(
        'SuperFlow',
        '#5fb0a0',
        "the mean feature of a weak class's points should match the mean feature of its pixels, that of the class in a "
        'denser cloud, and that of the class half a second before and after',
        'pretrain/superflow_nus',
        maps=('labels', 'make_weak_labels'),
    ),
    'ppkt': DemoMethod('PPKT', '#e1a07a', _SAME_PIXEL, 'pretrain/ppkt_nus'),
    'scalr': DemoMethod(
        'ScaLR (WaffleIron)', '#d98ae0', _SAME, 'pretrain/scalr_wi48x256_nus', untrained='random_waffleiron'
    ),
    'scalr_minkunet': DemoMethod('ScaLR (MinkUNet)', '#8a95e0', _SAME, 'pretrain/scalr_minkunet34_nus'),
    'lima': DemoMethod(
        'LiMA',
        '#b0a8f0',
        f'{_SAME}, in the images of this moment and of two before',
        'pretrain/lima_nus',
    ),
    'cleverdistiller': DemoMethod(
        'CleverDistiller',
        '#c060a0',
        'a network of three layers should tell from the feature of a point the image feature where the point projects '
        'to, and another one which space around it is occupied',
        'pretrain/cleverdistiller_nus',
    ),
    'hilda': DemoMethod(
        'HilDA',
        '#f0b0c8',
        'features of two layers should tell those of two layers of the image network, and the last one which space is '
        'occupied half a second later',
        'pretrain/hilda_nus',
    ),
    'scalr_mixed': DemoMethod(
        'ScaLR (WaffleIron, three datasets)',
        '#e07a95',
        f'{_SAME}, in three datasets at once',
        'pretrain/scalr_wi48x768_nus-kitti-pandaset',
        untrained='random_waffleiron',
        formats=('semantickitti', 'pandaset'),
    ),
    'also': DemoMethod(
        'ALSO',
        '#e0c88a',
        'each point feature must predict which space around it is occupied; no camera needed',
        'pretrain/also_nus',
    ),
    'bevcontrast': DemoMethod(
        'BEVContrast',
        '#d8a040',
        'the mean feature of a cell of the ground should match that of the same cell half a second later; no camera '
        'needed',
        'pretrain/bevcontrast_nus',
    ),
    'olivine+also': DemoMethod(
        'OLIVINE + ALSO',
        '#9ae0c0',
        'the objectives of OLIVINE and ALSO at once',
        'pretrain/olivine+also_nus',
        maps=('labels', 'make_weak_labels'),
    ),
    'supervised': DemoMethod(
        'all labels (MinkUNet)',
        '#d0d4cc',
        _CLASS,
        'finetune/minkunet34_nus/100pct',
        supervised=True,
    ),
    'supervised_waffleiron': DemoMethod(
        'all labels (WaffleIron)',
        '#b8bcb4',
        _CLASS,
        'finetune/waffleiron48x768_nus/100pct',
        untrained='random_waffleiron',
        supervised=True,
    ),
}
UNTRAINED = {'random': ('random', '#7a8075'), 'random_waffleiron': ('random WaffleIron', '#a8a08c')}
NAMES = {key: title for key, (title, _) in UNTRAINED.items()} | {key: m.title for key, m in METHODS.items()}
COLORS = {key: color for key, (_, color) in UNTRAINED.items()} | {key: m.color for key, m in METHODS.items()}
