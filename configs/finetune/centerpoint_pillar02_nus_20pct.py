"""CenterPoint on nuScenes with 20 % of the training scenes; pasted objects come from these scenes alone.

`python tools/make_splits.py nuscenes --root data/nuscenes --rule random --percent 20
--dbinfos nuscenes_dbinfos_train.pkl` makes both.
"""

_base_ = './centerpoint_pillar02_nus.py'

train_dataloader = dict(dataset=dict(dataset=dict(split='splits/nuscenes_random_20pct.txt')))
