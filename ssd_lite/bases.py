"""Chapter 7, first half. Base networks: pictures to the first feature maps."""

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn


class L2Norm(nn.Module):
    """Scale every pixel's vector to a learned length, 20 at first.

    Paper: section 3.1, after ParseNet. For conv4_3, whose activations in a trained VGG16 differ
    in scale from those of the deeper maps. The small number is *inside* the root: outside, the
    gradient at an all-zero pixel is NaN.
    """

    def __init__(self, channels: int, length: float = 20) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(length)))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        scale = (
            x.float().square().sum(dim=1, keepdim=True) + 1e-10
        ).rsqrt()  # (B, 1, H, W), fp32 under autocast
        return (x * scale * self.weight[:, None, None]).to(x.dtype)


def conv_relu(
    inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> list[nn.Module]:
    """A convolution and its ReLU, as VGG16 has them."""
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation), nn.ReLU(inplace=True)]


def conv_gn_relu(
    inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    """A convolution, group normalization and ReLU, as the lite model has them.

    Groups, not batches: an image's activations never depend on its neighbors in the batch, in
    training or after.
    """
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.GroupNorm(outputs // 8, outputs),
        nn.ReLU(inplace=True),
    ]


class Base(nn.Module):
    """A network that turns pictures into feature maps, fine to coarse.

    ``channels`` says how many channels each map has, ``strides`` how many pixels lie between its
    cells.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]


class VGG16Base(Base):
    """VGG16 without its classifier. Paper: section 3.

    Maps: conv4_3 (stride 8, L2-normalized) and fc7 (stride 16). fc6 and fc7 are convolutions; fc6
    is dilated, because pool5 no longer halves the map.
    """

    channels = (512, 1024)
    strides = (8, 16)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        # Channels, convolutions, and whether the pooling before them rounds up: pool3, 75 → 38.
        for outputs, count, ceil in (
            (64, 2, False),
            (128, 2, False),
            (256, 3, False),
            (512, 3, True),
        ):
            if layers:
                layers += [nn.MaxPool2d(2, 2, ceil_mode=ceil)]
            for _ in range(count):
                layers += conv_relu(inputs, outputs, 3, padding=1)
                inputs = outputs
        self.conv4_3 = nn.Sequential(*layers)
        self.norm = L2Norm(512)
        self.fc7 = nn.Sequential(
            nn.MaxPool2d(2, 2),
            *(layer for _ in range(3) for layer in conv_relu(512, 512, 3, padding=1)),
            nn.MaxPool2d(3, 1, 1),
            *conv_relu(512, 1024, 3, padding=6, dilation=6),
            *conv_relu(1024, 1024, 1),
        )

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        conv4_3 = self.conv4_3(images)  # (B, 512, H/8, W/8)
        return [self.norm(conv4_3), self.fc7(conv4_3)]  # (B, 1024, H/16, W/16)


class LiteBase(Base):
    """A small base for small images, trainable from random weights in minutes.

    Maps: strides 4, 8 and 16. The first convolution reads patches of 6 × 6 pixels, 4 apart,
    because at full resolution a CPU would spend most of its time there.
    """

    channels = (48, 64, 128)
    strides = (4, 8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.stride4 = nn.Sequential(
            *conv_gn_relu(3, 32, 6, 4, 1),
            *conv_gn_relu(32, 48, 3, 1, 1),
            *conv_gn_relu(48, 48, 3, 1, 1),
        )
        self.stride8 = nn.Sequential(*conv_gn_relu(48, 64, 3, 2, 1), *conv_gn_relu(64, 64, 3, 1, 1))
        self.stride16 = nn.Sequential(
            *conv_gn_relu(64, 128, 3, 2, 1), *conv_gn_relu(128, 128, 3, 1, 1)
        )

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        stride4 = self.stride4(images)  # (B, 48, H/4, W/4)
        stride8 = self.stride8(stride4)  # (B, 64, H/8, W/8)
        return [stride4, stride8, self.stride16(stride8)]  # (B, 128, H/16, W/16)


class ClassifierBase(Base):
    """A classifier of torchvision's, without the layers that name the class.

    Maps: strides 8, 16 and 32. ``stages`` are its own layers, cut where the map halves: to stride
    4, 8, 16 and 32.
    """

    strides = (8, 16, 32)

    def __init__(self, stages: list[nn.Sequential]) -> None:
        super().__init__()
        self.stride4, self.stride8, self.stride16, self.stride32 = stages

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        stride8 = self.stride8(self.stride4(images))  # (B, C, H/8, W/8)
        stride16 = self.stride16(stride8)  # (B, C, H/16, W/16)
        return [stride8, stride16, self.stride32(stride16)]  # (B, C, H/32, W/32)

    def train(self, mode: bool = True) -> "ClassifierBase":
        """Training mode, but for frozen norms: those keep the mean and variance that they know."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self


class MobileNetV2Base(ClassifierBase):
    """MobileNetV2 (Sandler et al., 2018): quick on a CPU and on a phone.

    Its blocks hand on a few channels, without a ReLU, and begin by widening them. The maps are
    taken after that, as in its authors' own SSDLite: a head, which is linear, needs the ReLU.
    """

    channels = (192, 576, 1280)

    def __init__(self) -> None:
        layers = torchvision.models.mobilenet_v2().features
        to_8, to_16 = layers[7].conv, layers[14].conv  # their second layers halve the map
        super().__init__(
            [
                layers[:4],
                nn.Sequential(*layers[4:7], to_8[0]),
                nn.Sequential(*to_8[1:], *layers[8:14], to_16[0]),
                nn.Sequential(*to_16[1:], *layers[15:]),
            ]
        )


class ResNet18Base(ClassifierBase):
    """ResNet-18 (He et al., 2016): the smallest of the family that most detectors build on."""

    channels = (128, 256, 512)

    def __init__(self) -> None:
        net = torchvision.models.resnet18()
        stride4 = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1)
        super().__init__([stride4, net.layer2, net.layer3, net.layer4])


BASES = {  # each with the kind of layer that is added to it
    "vgg16": (VGG16Base, conv_relu),
    "lite": (LiteBase, conv_gn_relu),
    "mobilenet": (MobileNetV2Base, conv_gn_relu),
    "resnet18": (ResNet18Base, conv_gn_relu),
}
