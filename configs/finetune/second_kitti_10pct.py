"""SECOND on KITTI with 10 % of the labeled frames, drawn at random; pasted objects come from these frames alone.

`python tools/make_splits.py kitti --root data/kitti --rule random --percent 10 --dbinfos kitti_dbinfos_train.pkl`
makes both.
"""

_base_ = './second_kitti.py'

train_dataloader = dict(dataset=dict(dataset=dict(split='splits/kitti_random_10pct.txt')))
