"""Weights in files: their layout, checks that a network has loaded them, and conversion from other programs."""

from peridot.weights.averaged import averaged_weights
from peridot.weights.convert import KINDS, convert_checkpoint, loadable, write_openpcdet
from peridot.weights.layout import LAYOUT, exported_state, sparse_kernels, to_mmcv, to_spconv
from peridot.weights.minkowski import write_minkowski
from peridot.weights.printed_config import literal_config
from peridot.weights.report import LoadReport, compare, conflicts, misfits
from peridot.weights.settings import input_features, other_intensities, settings_differences
from peridot.weights.verify import check_same_network, unwrap, verify_loading
from peridot.weights.waffleiron import write_released

__all__ = [
    'KINDS',
    'LAYOUT',
    'LoadReport',
    'averaged_weights',
    'check_same_network',
    'compare',
    'conflicts',
    'convert_checkpoint',
    'exported_state',
    'input_features',
    'literal_config',
    'loadable',
    'misfits',
    'other_intensities',
    'settings_differences',
    'sparse_kernels',
    'to_mmcv',
    'to_spconv',
    'unwrap',
    'verify_loading',
    'write_minkowski',
    'write_openpcdet',
    'write_released',
]
