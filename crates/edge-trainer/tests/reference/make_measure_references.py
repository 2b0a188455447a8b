#!/usr/bin/env python3
"""Writes a few synthetic images and the measurements that the small image encoder must give for them, computed with numpy in double
precision.

    python3 make_measure_references.py tests/data/measure

Needs numpy and safetensors. Writes reference.safetensors with pixel_values [N, 3, S, S] (normalised with mean 0.5 and standard deviation
0.25), a codebook (filters_i [K, 3, 7, 7] and shifts_i [K] for full, half and quarter size) and the three blocks of measurements:
statistics, codes, spectrum.
"""
import pathlib
import sys

import numpy as np
from safetensors.numpy import save_file

SIDE, FILTERS = 96, 8
LUMA = np.array([0.299, 0.587, 0.114])


def windows(x, side, stride):
    """[C, H, W] -> [h, w, C, side, side]."""
    view = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))
    return view[:, ::stride, ::stride].transpose(1, 2, 0, 3, 4)


def halve(x):
    c, h, w = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(c, h // 2, 2, w // 2, 2).mean((2, 4))


def planes(rgb):
    r, g, b = rgb
    return np.stack([np.tensordot(LUMA, rgb, 1), r - g, (r + g) / 2 - b])


def log_mean(x, floor):
    return np.log(x.mean() + floor)


def deviation(x):
    return np.sqrt(max((x * x).mean() - x.mean() ** 2, 0) + 1e-6)


def statistics(colours, grey, opponents):
    line = np.exp(-0.5 * ((np.arange(7) - 3) / (7 / 6)) ** 2)
    window = np.outer(line, line) / line.sum() ** 2
    patches = windows(grey[None], 7, 1)[:, :, 0]
    mean = (patches * window).sum((2, 3))
    sigma = np.sqrt(np.maximum((patches**2 * window).sum((2, 3)) - mean**2, 0) + 1e-6)
    mscn = (grey[3:-3, 3:-3] - mean) / (sigma + 1 / 255)

    square = mscn**2
    second = log_mean(square, 1e-5)
    out = [log_mean(abs(mscn), 1e-4), second, log_mean(square**2, 1e-7) - 2 * second]
    out += [log_mean(sigma, 1e-4), log_mean(sigma**2, 1e-5)]
    pairs = [
        (mscn[:, :-1], mscn[:, 1:]),
        (mscn[:-1], mscn[1:]),
        (mscn[:-1, :-1], mscn[1:, 1:]),
        (mscn[:-1, 1:], mscn[1:, :-1]),
    ]
    for a, b in pairs:
        p = a * b
        out += [p.mean(), log_mean(abs(p), 1e-4)]
        out += [log_mean(np.maximum(p, 0) ** 2, 1e-5), log_mean(np.maximum(-p, 0) ** 2, 1e-5)]

    log = np.log(sigma + 1e-3)
    cell = log.shape[0] // 4
    grid = log[: 4 * cell, : 4 * cell].reshape(4, cell, 4, cell).mean((1, 3))
    out += [deviation(grid), grid[1:3, 1:3].mean() - grid.mean(), grid[:2].mean() - grid.mean()]
    out += [log.mean(), deviation(log)]

    means = [o.mean() for o in opponents]
    deviations = [deviation(o) for o in opponents]
    length = lambda v: np.sqrt(v[0] ** 2 + v[1] ** 2 + 1e-6)
    out += [grey.mean(), deviation(grey), *means, *deviations, length(deviations) + 0.3 * length(means)]
    value = colours.max(0)
    saturation = (value - colours.min(0)) / (value + 1 / 255)
    out += [saturation.mean(), deviation(saturation), value.mean(), deviation(value)]
    out += [np.clip(3 - 50 * grey, 0, 1).mean(), np.clip(50 * grey - 47, 0, 1).mean()]
    for x in (grey, saturation):
        out += [np.maximum(1 - abs(8 * x - i), 0).mean() for i in range(9)]
    return out


def transform(plane):
    """Coefficients of every 16 x 16 block, [blocks, 255]."""
    i = np.arange(16)
    basis = np.cos(np.pi * (i[None] + 0.5) * i[:, None] / 16) * np.sqrt(2 / 16)
    basis[0] /= np.sqrt(2)
    blocks = windows(plane[None], 16, 16)[:, :, 0].reshape(-1, 16, 16)
    return (basis @ blocks @ basis.T).reshape(len(blocks), 256)[:, 1:]


def bands():
    """The members of the 23 bands, each as a mask over the 255 frequencies."""
    v, u = np.divmod(np.arange(1, 256), 16)
    radius = np.hypot(u, v)
    ring = np.minimum(((radius - 0.5) * 20 / 15).astype(int), 20)
    members = [ring == i for i in range(21)]
    return members + [(radius > 5) & (u > 2 * v), (radius > 5) & (v > 2 * u)]


def codes(plane, filters, shifts, stride):
    """Mean responses over the central patches, a multiple of eight in each direction."""
    side = plane.shape[1]
    count = ((side - 7) // stride + 1) // 8 * 8
    used = (count - 1) * stride + 7
    first = (side - used) // 2
    patches = windows(plane[:, first : first + used, first : first + used], 7, stride)
    centred = patches - patches.mean((3, 4), keepdims=True)
    scale = np.sqrt((centred**2).mean((2, 3, 4)) + (10 / 255) ** 2)
    s = np.einsum("hwcij,kcij->khw", centred, filters) / scale - shifts[:, None, None]
    both = np.maximum(s - 1, 0), np.maximum(-s - 1, 0)
    return np.concatenate([np.log(r.mean((1, 2)) + 1e-3) for r in both])


def measure(rgb, codebook):
    native, half_colours = planes(rgb), halve(rgb)
    half = planes(half_colours)
    blocks = [transform(p) for p in native]
    spectrum = np.concatenate([np.log((b**2).mean(0) + 1e-6) for b in blocks])
    grey = blocks[0]
    peaked = [
        np.log(abs(grey).mean(0)[m].mean() + 1e-3) - 0.5 * np.log((grey**2).mean(0)[m].mean() + 1e-6) for m in bands()
    ]
    numbers = statistics(half_colours, half[0], half[1:]) + peaked
    levels = zip([native, half, halve(half)], codebook, [6, 3, 2])
    return numbers, np.concatenate([codes(p, f, t, stride) for p, (f, t), stride in levels]), spectrum


def pictures(rng):
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    smooth = np.stack([x, 0.5 + 0.4 * np.sin(9 * y), (x * y) ** 0.5])
    textured = 0.5 + 0.3 * np.sin(np.stack([40 * x + 9 * y, 31 * y, 23 * (x - y)])) + rng.normal(0, 0.08, (3, SIDE, SIDE))
    dark = 0.06 * textured
    dark[:, 20:60, 30:80] = np.array([0.9, 0.8, 0.2])[:, None, None]
    blocks = np.kron(rng.uniform(0, 1, (3, SIDE // 8, SIDE // 8)), np.ones((8, 8)))
    return [np.round(np.clip(p, 0, 1) * 255) / 255 for p in (smooth, textured, dark, blocks)]


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    tensors, codebook = {}, []
    for i in range(3):
        filters = rng.normal(0, 0.15, (FILTERS, 3, 7, 7))
        filters = (filters - filters.mean((2, 3), keepdims=True)).astype(np.float32)
        shifts = rng.normal(0, 0.2, FILTERS).astype(np.float32)
        tensors[f"filters_{i}"], tensors[f"shifts_{i}"] = filters, shifts
        codebook.append((filters.astype(float), shifts.astype(float)))
    images = [((p - 0.5) / 0.25).astype(np.float32) for p in pictures(rng)]
    measured = [measure(p.astype(float) * 0.25 + 0.5, codebook) for p in images]
    tensors["pixel_values"] = np.stack(images)
    for name, rows in zip(("statistics", "codes", "spectrum"), zip(*measured)):
        tensors[name] = np.stack(rows).astype(np.float32)
    save_file(tensors, out / "reference.safetensors")


if __name__ == "__main__":
    main()
