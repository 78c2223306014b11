"""Zero-shot evaluation of scalr_demo.py: a point gets the class of the image crop most similar to its feature.

EfficientNet does not read text: image crops stand for the classes, instead of words.
`python tools/make_demo_data.py --prototypes 4` and `tools/embed_images.py` make data/demo/prototypes.safetensors.
"""

_base_ = './scalr_demo.py'

val_dataloader = dict(dataset=dict(_base_.picture_dataset, _delete_=True))
val_cfg = dict(_delete_=True, type='peridot.ZeroShotLoop', embeddings='data/demo/prototypes.safetensors')
val_evaluator = dict(prefix='zero_shot')
