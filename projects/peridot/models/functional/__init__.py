"""Pure functions on tensors: losses, distributions, sampling, reading of maps, exchange between processes."""

from peridot.models.functional.bev_cells import (
    CellGrid,
    cell_keys,
    corner_cells,
    find_cells,
    mean_of_cells,
    near_cells,
    read_cells,
)
from peridot.models.functional.contrast import (
    Similarity,
    info_nce,
    retrieval_accuracy,
    similarity,
    weakly_supervised_contrastive,
    within_groups,
)
from peridot.models.functional.counting import histogram, scans_of
from peridot.models.functional.distributed import (
    gather_across_processes,
    mean_over_processes,
    reduce_sum,
    sizes_of_processes,
)
from peridot.models.functional.pairs_in_radius import cells_in_radius, draw_neighbors, pairs_in_radius
from peridot.models.functional.pooling import group_mean, superpixel_mean
from peridot.models.functional.reading import bilinear_corners, read_at
from peridot.models.functional.sampling import (
    MAX_LABELS,
    density_category_sampling,
    density_category_weights,
    range_bins,
    range_density,
    sample_uniformly,
    sample_without_replacement,
)
from peridot.models.functional.vmf import vmf_concentration, vmf_log_normalizer

__all__ = [
    'MAX_LABELS',
    'CellGrid',
    'Similarity',
    'bilinear_corners',
    'cell_keys',
    'cells_in_radius',
    'corner_cells',
    'density_category_sampling',
    'density_category_weights',
    'draw_neighbors',
    'find_cells',
    'gather_across_processes',
    'group_mean',
    'histogram',
    'info_nce',
    'mean_of_cells',
    'mean_over_processes',
    'near_cells',
    'pairs_in_radius',
    'range_bins',
    'range_density',
    'read_at',
    'read_cells',
    'reduce_sum',
    'retrieval_accuracy',
    'sample_uniformly',
    'sample_without_replacement',
    'scans_of',
    'similarity',
    'sizes_of_processes',
    'superpixel_mean',
    'vmf_concentration',
    'vmf_log_normalizer',
    'weakly_supervised_contrastive',
    'within_groups',
]
