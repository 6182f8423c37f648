"""What is done to a training batch, so that the network never sees the same image twice.

A few hundred captchas are soon known by heart. Each time an image is drawn it is moved, turned,
bent and recoloured a little, as another captcha of the same site might have been; the label stays
true. Everything works on the whole batch at once.
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def augment(images: Tensor) -> Tensor:
    """Return a changed copy of a batch (B, C, H, W) with values 0 to 255, as float32."""
    images = warp(images.float())
    return recolour(images)


def warp(
    images: Tensor,
    turn: float = 0.08,
    stretch: float = 0.12,
    lean: float = 0.15,
    shift: float = 0.06,
    bend: float = 0.025,
) -> Tensor:
    """Turn, stretch, lean and shift each image (affine), and bend it locally (elastic).

    ``turn`` is in radians, ``stretch`` and ``lean`` are factors, ``shift`` is a share of the
    image's size; all four are the largest change. ``bend`` is the standard deviation of the local
    displacement, as a share of the height. Elastic distortion: Simard et al. 2003, "Best Practices
    for Convolutional Neural Networks Applied to Visual Document Analysis".
    """
    batch, _, height, width = images.shape
    aspect = width / height

    def uniform(limit: float) -> Tensor:
        return (torch.rand(batch, device=images.device) * 2 - 1) * limit

    angle, slant = uniform(turn), uniform(lean)
    scale_x, scale_y = 1 + uniform(stretch), 1 + uniform(stretch)
    # affine_grid works in coordinates from -1 to 1 on both axes; the aspect ratio keeps a turn a
    # turn although the image is wider than high.
    matrix = torch.stack(
        [
            torch.stack([scale_x, (slant - angle) / aspect, uniform(2 * shift)], dim=1),
            torch.stack([angle * aspect, scale_y, uniform(2 * shift)], dim=1),
        ],
        dim=1,
    )  # (B, 2, 3)
    grid = F.affine_grid(matrix, [batch, 1, height, width], align_corners=False)  # (B, H, W, 2)

    # One random displacement every 8 pixels, smoothly interpolated in between.
    coarse = torch.randn(batch, 2, max(2, height // 8), max(2, width // 8), device=images.device)
    smooth = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    share = torch.tensor([2 * bend / aspect, 2 * bend], device=images.device)  # of x and of y
    grid = grid + smooth.permute(0, 2, 3, 1) * share  # (B, H, W, 2)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def recolour(images: Tensor) -> Tensor:
    """Change contrast, brightness and noise of each image."""
    batch, channels = images.shape[:2]
    shape = (batch, channels, 1, 1)
    contrast = 1 + (torch.rand(shape, device=images.device) * 2 - 1) * 0.25
    brightness = (torch.rand(shape, device=images.device) * 2 - 1) * 25
    middle = images.mean(dim=(2, 3), keepdim=True)
    noise = torch.randn_like(images) * torch.rand(batch, 1, 1, 1, device=images.device) * 12
    return ((images - middle) * contrast + middle + brightness + noise).clamp(0, 255)
