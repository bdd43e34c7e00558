"""Chapter 9. Photometric distortion: other light, the same boxes."""

import torch
from jaxtyping import Float
from torch import Tensor


def distort(
    images: Float[Tensor, "B 3 H W"], uniforms: Float[Tensor, "B 9"]
) -> Float[Tensor, "B 3 H W"]:
    """Change brightness, contrast, saturation and hue, each with probability ½.

    Gray levels 0..255 in and out. As in the authors' code: brightness by up to ±32 levels, contrast
    and saturation by a factor of 0.5 to 1.5, hue by up to ±36°, contrast either before or after
    saturation and hue. Paper: section 2.2, after Howard (2013).
    """
    brightness, before, saturation, hue, after = distortions(uniforms)
    images = (images + brightness).clamp_(0, 255)
    images = images.mul_(before).clamp_(0, 255)
    images = shift_color(images, saturation, hue)
    return images.mul_(after).clamp_(0, 255)


def distortions(uniforms: Float[Tensor, "B 9"]) -> tuple[Float[Tensor, "B 1 1 1"], ...]:
    """How much :func:`distort` does: brightness, contrast, saturation, hue, and contrast again.

    Contrast is there twice, because it comes either before saturation and hue or after them. What
    is off is 0 where it is added and 1 where it is multiplied.
    """
    on, amount = uniforms[:, :4, None, None] < 0.5, uniforms[:, 4:8, None, None]  # (B, 4, 1, 1)
    brightness = torch.where(on[:, 0:1], 64 * amount[:, 0:1] - 32, 0)  # (B, 1, 1, 1)
    contrast = torch.where(on[:, 1:2], 0.5 + amount[:, 1:2], 1)
    saturation = torch.where(on[:, 2:3], 0.5 + amount[:, 2:3], 1)
    hue = torch.where(on[:, 3:4], 0.2 * amount[:, 3:4] - 0.1, 0)  # in turns
    early = uniforms[:, 8, None, None, None] < 0.5
    before, after = torch.where(early, contrast, 1), torch.where(early, 1, contrast)
    return brightness, before, saturation, hue, after


def shift_color(
    images: Float[Tensor, "B 3 H W"],
    saturation: Float[Tensor, "B 1 1 1"],
    hue: Float[Tensor, "B 1 1 1"],  # in turns
) -> Float[Tensor, "B 3 H W"]:
    """Multiply saturation and turn hue, in the color space HSV.

    The value, the largest of R, G and B, stays.
    """
    # 1. To HSV: the hue in sixths of a turn, turned. Red is 0, green 2, blue 4.
    red, green, blue = images.split(1, dim=1)  # (B, 1, H, W) each
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    is_red, is_green = value == red, value == green
    after = torch.where(is_red, green - blue, torch.where(is_green, blue - red, red - green))
    sixth = torch.where(is_red, 0, torch.where(is_green, 2.0, 4.0)) + 6 * hue
    sixth += torch.where(chroma > 0, after / chroma, 0)
    sixth -= 6 * (sixth / 6).floor_()  # in [0, 6)

    # 2. Back: how much of the chroma each color lacks. Red lacks nothing within 1 of its own
    # place, and all of it beyond 2 (measured from cyan, its opposite); so do green and blue.
    lacking = [2 - (sixth - 3).abs_(), (sixth - 2).abs_() - 1, (sixth - 4).abs_() - 1]
    lacking = torch.cat(lacking, dim=1).clamp_(0, 1)  # (B, 3, H, W)
    return value - torch.minimum(chroma * saturation, value) * lacking
