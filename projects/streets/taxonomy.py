"""nuScenes' names that the synthetic world uses, and what they become in KITTI's datasets and PandaSet."""

# row = lidarseg index (0..31), the order of the official category table
CATEGORIES = (
    'noise',
    'animal',
    'human.pedestrian.adult',
    'human.pedestrian.child',
    'human.pedestrian.construction_worker',
    'human.pedestrian.personal_mobility',
    'human.pedestrian.police_officer',
    'human.pedestrian.stroller',
    'human.pedestrian.wheelchair',
    'movable_object.barrier',
    'movable_object.debris',
    'movable_object.pushable_pullable',
    'movable_object.trafficcone',
    'static_object.bicycle_rack',
    'vehicle.bicycle',
    'vehicle.bus.bendy',
    'vehicle.bus.rigid',
    'vehicle.car',
    'vehicle.construction',
    'vehicle.emergency.ambulance',
    'vehicle.emergency.police',
    'vehicle.motorcycle',
    'vehicle.trailer',
    'vehicle.truck',
    'flat.driveable_surface',
    'flat.other',
    'flat.sidewalk',
    'flat.terrain',
    'static.manmade',
    'static.other',
    'static.vegetation',
    'vehicle.ego',
)
INDEX = {name: index for index, name in enumerate(CATEGORIES)}

ATTRIBUTES = (
    'vehicle.moving',
    'vehicle.stopped',
    'vehicle.parked',
    'cycle.with_rider',
    'cycle.without_rider',
    'pedestrian.sitting_lying_down',
    'pedestrian.standing',
    'pedestrian.moving',
)

# token: (level, lower bound of the visible fraction)
VISIBILITIES = {'1': ('v0-40', 0.0), '2': ('v40-60', 0.4), '3': ('v60-80', 0.6), '4': ('v80-100', 0.8)}

SCENES = (
    'scene-0061',
    'scene-0103',
    'scene-0553',
    'scene-0655',
    'scene-0757',
    'scene-0796',
    'scene-0916',
    'scene-1077',
    'scene-1094',
    'scene-1100',
)
VAL_SCENES = ('scene-0103', 'scene-0916')
# the sequence of SemanticKITTI that each scene becomes: 08 is the validation set
SEQUENCES = (0, 8, 1, 2, 3, 4, 9, 5, 6, 7)

# nuScenes' category: ids of SemanticKITTI when it stands and when it moves (for cycles: with a rider)
SEMANTIC_KITTI = {
    'noise': (1, 1),
    'animal': (99, 99),
    'human.pedestrian.adult': (30, 254),
    'human.pedestrian.child': (30, 254),
    'human.pedestrian.construction_worker': (30, 254),
    'human.pedestrian.personal_mobility': (30, 254),
    'human.pedestrian.police_officer': (30, 254),
    'human.pedestrian.stroller': (99, 99),
    'human.pedestrian.wheelchair': (30, 254),
    'movable_object.barrier': (52, 52),
    'movable_object.debris': (99, 99),
    'movable_object.pushable_pullable': (99, 99),
    'movable_object.trafficcone': (99, 99),
    'static_object.bicycle_rack': (99, 99),
    'vehicle.bicycle': (11, 253),
    'vehicle.bus.bendy': (13, 257),
    'vehicle.bus.rigid': (13, 257),
    'vehicle.car': (10, 252),
    'vehicle.construction': (20, 259),
    'vehicle.emergency.ambulance': (20, 259),
    'vehicle.emergency.police': (10, 252),
    'vehicle.motorcycle': (15, 255),
    'vehicle.trailer': (20, 259),
    'vehicle.truck': (18, 258),
    'flat.driveable_surface': (40, 40),
    'flat.other': (49, 49),
    'flat.sidewalk': (48, 48),
    'flat.terrain': (72, 72),
    'static.manmade': (50, 50),
    'static.other': (52, 52),
    'static.vegetation': (70, 70),
    'vehicle.ego': (0, 0),
}
# nuScenes' category: id of PandaSet's semantic labels (0 = without label)
PANDASET = {
    'noise': 4,
    'animal': 33,
    'human.pedestrian.adult': 30,
    'human.pedestrian.child': 30,
    'human.pedestrian.construction_worker': 30,
    'human.pedestrian.personal_mobility': 24,
    'human.pedestrian.police_officer': 30,
    'human.pedestrian.stroller': 31,
    'human.pedestrian.wheelchair': 30,
    'movable_object.barrier': 35,
    'movable_object.debris': 42,
    'movable_object.pushable_pullable': 40,
    'movable_object.trafficcone': 37,
    'static_object.bicycle_rack': 42,
    'vehicle.bicycle': 26,
    'vehicle.bus.bendy': 23,
    'vehicle.bus.rigid': 23,
    'vehicle.car': 13,
    'vehicle.construction': 19,
    'vehicle.emergency.ambulance': 22,
    'vehicle.emergency.police': 22,
    'vehicle.motorcycle': 18,
    'vehicle.trailer': 17,
    'vehicle.truck': 15,
    'flat.driveable_surface': 7,
    'flat.other': 6,
    'flat.sidewalk': 11,
    'flat.terrain': 6,
    'static.manmade': 41,
    'static.other': 42,
    'static.vegetation': 5,
    'vehicle.ego': 0,
}
# nuScenes' category: class of KITTI's object benchmark; cycles have a class only with a rider
KITTI_OBJECTS = {
    'human.pedestrian.adult': 'Pedestrian',
    'human.pedestrian.child': 'Pedestrian',
    'human.pedestrian.construction_worker': 'Pedestrian',
    'vehicle.bicycle': 'Cyclist',
    'vehicle.motorcycle': 'Cyclist',
    'vehicle.bus.bendy': 'Misc',
    'vehicle.bus.rigid': 'Misc',
    'vehicle.car': 'Car',
    'vehicle.construction': 'Misc',
    'vehicle.trailer': 'Misc',
    'vehicle.truck': 'Truck',
}


def visibility_token(fraction: float) -> str:
    """Token of the visibility level of an object whose visible fraction is in [0, 1]."""
    return max(token for token, (_, lower) in VISIBILITIES.items() if fraction >= lower)
