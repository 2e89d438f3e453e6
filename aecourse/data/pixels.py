"""The one convention for images: uint8, or floats in [0, 1]. Whatever takes images asks here."""

import torch

ROUNDING = 1e-6  # what resizing may add to 1


def require_images(images, what="images"):
    """Refuse whatever is not a tensor of pixels: uint8 from 0 to 255, or floats in [0, 1].

    what: what the message calls them.
    Raises ValueError for NumPy arrays, other dtypes, and pixels out of range or not finite.
    """
    if not torch.is_tensor(images):
        numpy = type(images).__module__ == "numpy"
        found = (
            "got a NumPy array; torch.from_numpy makes a tensor of it" if numpy else f"got a {type(images).__name__}"
        )
    elif images.dtype == torch.uint8 or (images.is_floating_point() and not images.numel()):
        return
    elif not images.is_floating_point():
        found = f"got {images.dtype}"
    else:
        low, high = images.detach().aminmax()
        if low >= -ROUNDING and high <= 1 + ROUNDING:  # not so for nan
            return
        found = "some of these are nan" if low.isnan() else f"these run from {low:.4g} to {high:.4g}"
        found += ". Divide 0 to 255 by 255; clip a linear model's output with .clamp(0, 1)"
    raise ValueError(f"{what} should be a tensor of pixels, uint8 or floats in [0, 1]; {found}.")


def to_float(images, what="images"):
    """Images as float32: uint8 0 to 255 is divided by 255, floats in [0, 1] keep their values.

    what: what the message calls them. Raises ValueError for anything else, as require_images.
    """
    require_images(images, what)
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()
