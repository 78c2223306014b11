"""ScaLR with a text-aligned teacher: CLIP's patch features, so that points can be queried in words.

The teacher is made dense as in MaskCLIP ("Extract Free Dense Labels from CLIP", ECCV 2022). The text-aligned teacher,
prompts and numbers of ScaLR's authors were not available to us: this protocol and its numbers are ours.
A config on top takes `model.teacher`, `heads` and `objectives` as from scalr.py, and validates with `val_cfg=zero_shot`
on a dataset with images and labels (`picture_dataset`).
"""

_base_ = './scalr.py'

# made by tools/embed_text.py with the CLIP of the teacher, see docs/open_vocabulary.md
text_embeddings = 'checkpoints/nuscenes_clip-vit-base-patch16.safetensors'

# folder of a CLIP of transformers: image and text network of one training; image sizes are multiples of 16
teacher = dict(
    _delete_=True,
    type='peridot.MaskClipTeacher',
    model='vit_base_patch16_clip_quickgelu_224.openai',
    weights='checkpoints/clip-vit-base-patch16',
)

zero_shot = dict(type='peridot.ZeroShotLoop', embeddings=text_embeddings, head='distill')
zero_shot_evaluator = dict(type='peridot.PointSegMetric', prefix='zero_shot')
