"""Imports all that programs of a comparison need, for the process of which they are forks."""

import gc

import mmdet3d.apis  # noqa: F401
import mmengine.runner  # noqa: F401
import nuscenes.nuscenes  # noqa: F401
import streets.formats  # noqa: F401

import peridot.datasets
import peridot.datasets.create_infos
import peridot.demo.report
import peridot.evaluation
import peridot.hooks
import peridot.labels.training_maps
import peridot.lidar_segments
import peridot.models
import peridot.optim
import peridot.preflight.run  # noqa: F401

# a fork shares what the garbage collector, which mmengine calls for every dataset, does not touch
gc.collect()
gc.freeze()
