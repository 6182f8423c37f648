"""What is done to a training batch, so that the network never sees the same image twice.

A few hundred captchas are soon memorised. Each time an image is used it is moved, turned, bent and
recoloured a little, as another captcha of the same site might have been; the label stays correct.
Everything works on the whole batch at once.
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from training.parallel import Share


def augment(images: Tensor, strength: float = 1.0, share: Share | None = None) -> Tensor:
    """Return a changed copy of a batch (B, C, H, W) with values 0 to 255, as float32.

    ``strength`` 0 changes nothing, 1 is the usual amount. Images that are a ``share`` of a batch
    are changed as they would be among all of it.
    """
    height, width = images.shape[2:]
    # The longer the image, the further its ends are carried; letters that leave it are still in
    # the label, which would be wrong. So beyond 4 to 1 the ends go no further.
    far = strength * min(1, 4 * height / width)
    images = warp(
        images.float(),
        turn=0.08 * far,
        stretch=0.12 * far,
        lean=0.15 * strength,
        shift=0.06 * far,
        bend=0.025 * strength,
        share=share,
    )
    if images.shape[1] == 3:
        images = invert(images, 0.5 * strength, share)
    return recolour(images, 0.25 * strength, 25 * strength, 12 * strength, share)


def warp(
    images: Tensor,
    turn: float,
    stretch: float,
    lean: float,
    shift: float,
    bend: float,
    share: Share | None = None,
) -> Tensor:
    """Turn, stretch, lean and shift each image (affine), and bend it locally (elastic).

    ``turn`` is in radians, ``stretch`` and ``lean`` are factors, ``shift`` is a share of the
    image's size; all four are the largest change. ``bend`` is the standard deviation of the local
    displacement, as a share of the height. Elastic distortion: Simard et al. 2003, "Best Practices
    for Convolutional Neural Networks Applied to Visual Document Analysis".
    """
    batch, _, height, width = images.shape
    aspect = width / height
    share = share or Share(batch)

    def uniform(limit: float) -> Tensor:
        """Return a random number from -limit to limit for each image, (B,)."""
        return (share.draw(torch.rand, device=images.device) * 2 - 1) * limit

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
    rows, columns = smooth_between(height).to(images), smooth_between(width).to(images)  # (H, h)
    shape = (2, rows.shape[1], columns.shape[1])
    coarse = share.draw(torch.randn, *shape, device=images.device)  # (B, 2, h, w)
    far = torch.tensor([2 * bend / aspect, 2 * bend], device=images.device)  # in x and in y
    smooth = rows @ (coarse * far[:, None, None]) @ columns.T  # (B, 2, H, W)
    grid = grid + smooth.permute(0, 2, 3, 1)  # (B, H, W, 2)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def smooth_between(size: int) -> Tensor:
    """Return the matrix (size, n) of a bicubic interpolation between n values, 8 pixels apart.

    A product for the rows and one for the columns take less time than F.interpolate on a batch.
    """
    values = torch.eye(max(2, size // 8))[None, None]
    shape = (size, values.shape[-1])
    return F.interpolate(values, shape, mode="bicubic", align_corners=True)[0, 0]


def invert(images: Tensor, chance: float, share: Share | None = None) -> Tensor:
    """Invert some channels, each with this chance: every letter gets another colour.

    What a letter is does not depend on its colour, but with few labels a network may think so.
    """
    batch, channels = images.shape[:2]
    drawn = (share or Share(batch)).draw(torch.rand, channels, 1, 1, device=images.device)
    chosen = (drawn < chance).float()  # (B, C, 1, 1)
    return images * (1 - 2 * chosen) + 255 * chosen


def recolour(
    images: Tensor, contrast: float, brightness: float, noise: float, share: Share | None = None
) -> Tensor:
    """Change contrast and brightness of each image and channel, and add noise.

    ``contrast`` is the largest change as a factor; ``brightness``, the largest shift, and
    ``noise``, the largest standard deviation, are in grey levels.
    """
    channels, device = images.shape[1], images.device
    share = share or Share(len(images))
    factor = 1 + (share.draw(torch.rand, channels, 1, 1, device=device) * 2 - 1) * contrast
    shift = (share.draw(torch.rand, channels, 1, 1, device=device) * 2 - 1) * brightness
    middle = images.mean(dim=(2, 3), keepdim=True)
    grain = share.draw(torch.randn, *images.shape[1:], device=device)
    grain = grain * (share.draw(torch.rand, 1, 1, 1, device=device) * noise)
    return torch.addcmul(grain + (middle * (1 - factor) + shift), images, factor).clamp_(0, 255)
