#!/usr/bin/env python3
"""Draws the images in tests/data/input and writes the results of PIL for them.

As in CLIP's preprocessing, each image is resized with PIL's antialiased bicubic filter to a short side of SHORT pixels, and the centre
square of SIZE x SIZE pixels is cut out. The square's RGB bytes are written to NAME.expected. For VIEWED, an input of several views
is written to NAME.views: the whole image, its centre, and tiles, one below the other. Needs numpy and Pillow.

    python3 tests/reference/make_image_references.py
"""
import pathlib

import numpy as np
from PIL import Image

SHORT, SIZE = 96, 80
WHOLE, TILED, PER_SIDE, MAX_SHORT = 64, 72, 3, 120
VIEWED = ("landscape.jpg", "large.jpg", "small.png", "strip.png", "portrait.png")
OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "input"


def scene(width, height, seed):
    """An image with everything that a resize can get wrong: smooth colour, rings up to the highest frequency, text-like bars, noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    r2 = (x - width / 3) ** 2 + (y - height / 2) ** 2
    rings = 127 + 120 * np.cos(r2 * np.pi / (2 * max(width, height)))
    bars = np.where((x // 5 + y // 9) % 2, 230, 30)
    smooth = 255 * x / width
    rgb = np.stack([rings, np.where(y < height / 2, smooth, bars), 255 * y / height], axis=-1)
    return Image.fromarray(np.clip(rgb + rng.normal(0, 6, rgb.shape), 0, 255).astype(np.uint8))


def photo_like(width, height, seed):
    """Noise whose amplitude falls with 1/f, as in photographs. The bound for scaled JPEG decoding is stated for such images."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    fall = 1 / np.maximum(np.hypot(fy, fx), 1 / max(width, height))
    planes = [np.fft.irfft2(fall * np.fft.rfft2(rng.normal(size=(height, width))), (height, width)) for _ in range(3)]
    grey = sum(planes)
    mixed = np.stack([grey + 0.5 * p for p in planes], axis=-1)
    return Image.fromarray(np.clip(127 + 45 * mixed / mixed.std(), 0, 255).astype(np.uint8))


def expected(image):
    image = image.convert("RGB")
    w, h = image.size
    w, h = (SHORT, SHORT * h // w) if w <= h else (SHORT * w // h, SHORT)
    image = image.resize((w, h), Image.BICUBIC)
    left, top = (w - SIZE) // 2, (h - SIZE) // 2
    return np.asarray(image.crop((left, top, left + SIZE, top + SIZE)))


def resized(image, short):
    w, h = image.size
    return image.resize((short, short * h // w) if w <= h else (short * w // h, short), Image.BICUBIC)


def views(image):
    image = image.convert("RGB")
    canvas = Image.new("RGB", (SIZE, WHOLE + SIZE + TILED))
    canvas.paste(image.resize((WHOLE, WHOLE), Image.BICUBIC), (0, 0))
    canvas.paste(Image.fromarray(expected(image)), (0, WHOLE))
    native = resized(image, min(max(min(image.size), TILED), MAX_SHORT))
    tile = TILED // PER_SIDE
    corner = lambda length, part: min(max(length * (2 * part + 1) // (2 * PER_SIDE) - tile // 2, 0), length - tile)
    for row in range(PER_SIDE):
        for column in range(PER_SIDE):
            x, y = corner(native.width, column), corner(native.height, row)
            canvas.paste(native.crop((x, y, x + tile, y + tile)), (column * tile, WHOLE + SIZE + row * tile))
    return np.asarray(canvas)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    cases = {
        "landscape.jpg": (photo_like(517, 389, 1), dict(quality=92)),
        "large.jpg": (photo_like(1000, 820, 2), dict(quality=90)),  # decoded at 1/2 by scaling in the DCT
        "progressive.jpg": (scene(301, 402, 3), dict(quality=85, progressive=True)),
        "rings.jpg": (scene(250, 190, 13), dict(quality=92)),
        "grey.jpg": (scene(240, 200, 4).convert("L"), dict(quality=90)),
        "cmyk.jpg": (scene(210, 180, 5).convert("CMYK"), dict(quality=95)),
        "portrait.png": (scene(311, 467, 6), {}),
        "small.png": (scene(64, 50, 7), {}),  # is enlarged by the resize
        "palette.png": (scene(150, 130, 8).convert("P", palette=Image.Palette.ADAPTIVE), {}),
        "alpha.png": (scene(160, 140, 9).convert("RGBA"), {}),
        "lossless.webp": (scene(220, 170, 10), dict(lossless=True)),
        "strip.png": (scene(900, 96, 11), {}),
    }
    for name, (image, options) in cases.items():
        path = OUT / name
        image.save(path, **options)
        with Image.open(path) as reread:
            (OUT / (name + ".expected")).write_bytes(expected(reread).tobytes())
            if name in VIEWED:
                (OUT / (name + ".views")).write_bytes(views(reread).tobytes())
    upright = scene(150, 110, 12)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"  # DateTimeOriginal in the Exif IFD
        undo = {2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180], 4: [Image.Transpose.FLIP_TOP_BOTTOM],
                5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE],
                8: [Image.Transpose.ROTATE_270]}.get(orientation, [])
        stored = upright
        for step in undo:
            stored = stored.transpose(step)
        stored.save(OUT / f"orientation_{orientation}.png", exif=exif)
    (OUT / "orientation.expected").write_bytes(expected(upright).tobytes())


if __name__ == "__main__":
    main()
