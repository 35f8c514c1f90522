"""Writes what torchvision's operators make of an image to tests/fixtures/augmentation.safetensors.

    pip install torch torchvision safetensors
    python tests/pytorch/make_augmentation_fixtures.py

One colour image of 13×17 (smooth, with edges and noise) and its first channel as a grey one; for every
operator `<name>.colour` and `<name>.grey`, bytes as whole numbers.
"""

import math
from pathlib import Path

import torch
from make_fixtures import write
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as f

FIXTURE = Path(__file__).resolve().parent.parent / "fixtures" / "augmentation.safetensors"


def image():
    generator = torch.Generator().manual_seed(6)
    y, x = torch.meshgrid(torch.arange(13.0), torch.arange(17.0), indexing="ij")
    planes = [128 + 70 * torch.sin(x / 3 + c) + 40 * torch.cos(y / 2 - c) for c in range(3)]
    picture = torch.stack(planes)
    picture[:, 4:8, 5:11] = torch.tensor([200.0, 40.0, 90.0])[:, None, None]
    picture += 12 * torch.randn(picture.shape, generator=generator)
    return picture.clamp(0, 255).to(torch.uint8)


def shear(picture, x, y):
    degrees = [math.degrees(math.atan(v)) for v in (x, y)]
    return f.affine(picture, 0.0, [0, 0], 1.0, degrees, center=[0, 0])


def operators():
    yield "flip", f.horizontal_flip
    yield "rotate", lambda p: f.rotate(p, 23.7)
    yield "translate", lambda p: f.affine(p, 0.0, [3, -2], 1.0, [0.0, 0.0])
    yield "affine", lambda p: f.affine(p, 11.3, [1, 2], 1.0, [7.1, -4.3])
    yield "shear_x", lambda p: shear(p, 0.23, 0.0)
    yield "shear_y", lambda p: shear(p, 0.0, -0.17)
    for name, factor in [("less", 0.37), ("more", 1.63)]:
        yield f"brightness_{name}", lambda p, v=factor: f.adjust_brightness(p, v)
        yield f"contrast_{name}", lambda p, v=factor: f.adjust_contrast(p, v)
        yield f"saturation_{name}", lambda p, v=factor: f.adjust_saturation(p, v)
        yield f"sharpness_{name}", lambda p, v=factor: f.adjust_sharpness(p, v)
    yield "hue_less", lambda p: f.adjust_hue(p, -0.27)
    yield "hue_more", lambda p: f.adjust_hue(p, 0.41)
    yield "posterize", lambda p: f.posterize(p, 3)
    yield "solarize", lambda p: f.solarize(p, 140)
    yield "autocontrast", f.autocontrast
    yield "equalize", lambda p: f.equalize(p.repeat(1, 2, 2))[..., :13, :17]
    yield "invert", f.invert
    yield "blur", lambda p: f.gaussian_blur(p, [5, 5], [1.1, 1.1])
    yield "erase", lambda p: f.erase(p, 2, 3, 6, 5, torch.zeros(1, dtype=torch.uint8))
    bilinear = dict(interpolation=InterpolationMode.BILINEAR, antialias=True)
    yield "crop_shrunk", lambda p: f.resized_crop(p.repeat(1, 2, 2), 3, 5, 21, 25, [26, 34], **bilinear)
    yield "crop_grown", lambda p: f.resized_crop(p, 2, 4, 7, 6, [13, 17], **bilinear)


def main():
    colour = image()
    tensors = {"colour": colour, "grey": colour[:1]}
    for name, operator in operators():
        tensors |= {f"{name}.{kind}": operator(tensors[kind]) for kind in ("colour", "grey")}
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    write(FIXTURE, tensors, {"source": "torchvision.transforms.v2.functional"})


if __name__ == "__main__":
    main()
