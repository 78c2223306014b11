"""Dense feature maps from ResNets: dilation in place of strides."""

from torch import nn

from peridot.errors import ConfigError


def dilate_resnet(network: nn.Module, output_stride: int) -> None:
    """Replace the strides of the last stages of a ResNet by dilation, in place; weights stay as they are.

    As in DeepLab and torchvision (`replace_stride_with_dilation`): a stage without its stride doubles the
    dilation, from its second convolution with an extent on. SLidR and OLIVINE use stride 4: 224x416 pixels
    give 56x104 features. timm itself stops at stride 8.

    Args:
        network: timm ResNet with stages `layer1` to `layer4`, the first at stride 4.
        output_stride: 4, 8, 16 or 32.

    Raises:
        ConfigError: Another stride, or a ResNet variant that pools instead of striding.
    """
    if output_stride not in (4, 8, 16, 32):
        raise ConfigError(f'model.teacher.output_stride={output_stride}: a ResNet offers 4, 8, 16 and 32')
    stride, dilation = 4, 1
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        if any(isinstance(m, nn.AvgPool2d) and m.stride not in (1, (1, 1)) for m in stage.modules()):
            raise ConfigError(
                'model.teacher.output_stride: this ResNet variant pools where others stride, set '
                "model.teacher.model to a plain one such as 'resnet50'"
            )
        convs = [m for m in stage.modules() if isinstance(m, nn.Conv2d)]
        first_dilation = dilation
        if any(conv.stride != (1, 1) for conv in convs):
            if stride < output_stride:
                stride *= 2
            else:
                dilation *= 2
                for conv in convs:
                    conv.stride = (1, 1)
        extended = [conv for conv in convs if conv.kernel_size != (1, 1)]
        for conv in extended:
            own = first_dilation if conv is extended[0] else dilation
            conv.dilation = (own, own)
            conv.padding = tuple(own * (size // 2) for size in conv.kernel_size)
