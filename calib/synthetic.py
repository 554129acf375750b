"""Seeded images with the statistics of photographs, for checks that have no data to run on."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from calib.errors import BadData

__all__ = ["structured_images"]

Field = npt.NDArray[np.float64]


def structured_images(count: int, height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    """Draw images of noise with a 1/f spectrum, colour gradients, edges, ellipses and rectangles.

    White noise is no stand-in for a picture: it has no edges and no smooth areas, its spectrum is flat where that of
    photographs falls with about 1/f (Field 1987; Torralba and Oliva 2003), and every image has the same statistics,
    so activations stay small and alike. These images have objects, shared brightness with weaker colour, and a full
    range of grey levels, with a little clipped at either end. They still show nothing a network was trained on: they
    tell whether two forms of a network compute the same, not how accurate it is.

    Image i depends on `seed`, i and the size only, so fewer images are a prefix of more. Only raw uniform floats of
    PCG64 are drawn, whose stream NumPy keeps; results are rounded to 8 bits, so a seed gives the same bytes on NumPy
    1.26 and later.

    Args:
        count: How many images, at least 1.
        height: Rows, at least 1.
        width: Columns, at least 1.
        seed: 0 or more.

    Returns:
        uint8 [count, height, width, 3], RGB.

    Raises:
        BadData: a count or size below 1, or a negative seed.
    """
    if min(count, height, width) < 1 or seed < 0:
        raise BadData(
            f"{count} synthetic images of {height} x {width} with seed {seed}",
            needed="at least one image of at least 1 x 1, and a seed of 0 or more",
        )
    images = np.empty((count, height, width, 3), np.uint8)  # [count, H, W, 3]
    for index in range(count):
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
        images[index] = _one_image(height, width, random)
    return images


def _one_image(height: int, width: int, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    # Coordinates of the pixel centres, in -1..1 along the longer side.
    longer = max(height, width)
    y = ((np.arange(height) + 0.5) * 2 - height)[:, None] / longer  # [H, 1]
    x = ((np.arange(width) + 0.5) * 2 - width)[None, :] / longer  # [1, W]

    canvas = random.random(3) + 0.6 * _ramp(y, x, random)[..., None] * (random.random(3) - 0.5)  # [H, W, 3]
    for _ in range(2 + int(random.random() * 5)):
        inside = _shape(y, x, random)[..., None]  # [H, W, 1]
        colour = random.random(3) + 0.3 * _ramp(y, x, random)[..., None] * (random.random(3) - 0.5)  # [H, W, 3]
        canvas = canvas + (0.6 + 0.4 * random.random()) * inside * (colour - canvas)

    # Photographs vary together in R, G and B: one field of brightness, and weaker ones of colour.
    exponent = 0.8 + 0.5 * random.random()
    brightness = _noise(height, width, exponent, random)
    colours = [_noise(height, width, exponent, random) for _ in range(3)]
    texture = np.stack([brightness + 0.35 * colour for colour in colours], axis=-1)  # [H, W, 3]
    canvas = canvas + (0.05 + 0.2 * random.random()) * texture

    ordered = np.sort(canvas, axis=None)  # [H * W * 3]
    low, high = ordered[len(ordered) // 100], ordered[len(ordered) - 1 - len(ordered) // 100]
    levels = (canvas - low) * (255 / (high - low)) if high > low else np.full_like(canvas, 127.0)
    return np.rint(np.clip(levels, 0, 255)).astype(np.uint8)


def _ramp(y: Field, x: Field, random: np.random.Generator) -> Field:
    """A gradient across the image in a random direction, about -1..1, [H, W]."""
    angle = 2 * math.pi * random.random()
    ramp: Field = math.sin(angle) * y + math.cos(angle) * x  # [H, W]
    return ramp


def _shape(y: Field, x: Field, random: np.random.Generator) -> Field:
    """Where a random half plane, ellipse or rectangle covers the image, 0 or 1, [H, W]."""
    kind, angle = random.random(), 2 * math.pi * random.random()
    centre_y, centre_x = 1.6 * random.random(2) - 0.8
    radius_y, radius_x = 0.1 + 0.5 * random.random(2)
    along = (math.cos(angle) * (x - centre_x) + math.sin(angle) * (y - centre_y)) / radius_x  # [H, W]
    across = (math.cos(angle) * (y - centre_y) - math.sin(angle) * (x - centre_x)) / radius_y  # [H, W]
    if kind < 0.2:
        inside = along > 0
    elif kind < 0.6:
        inside = along**2 + across**2 < 1
    else:
        inside = np.maximum(np.abs(along), np.abs(across)) < 1
    return np.asarray(inside, np.float64)


def _noise(height: int, width: int, exponent: float, random: np.random.Generator) -> Field:
    """Noise whose amplitude falls with frequency**exponent, of mean 0 and unit spread, [H, W]."""
    spectrum = np.fft.rfft2(random.random((height, width)) - 0.5)  # [H, W // 2 + 1]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])  # [H, W // 2 + 1]
    frequency[0, 0] = 1.0
    spectrum /= frequency**exponent
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, s=(height, width))  # [H, W]
    spread = float(field.std())
    return field / spread if spread > 0 else field
