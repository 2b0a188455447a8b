#!/usr/bin/env python3
"""Checks a bundle's graphs with the ONNX checker and replays its goldens in ONNX Runtime.

    python3 scripts/check_onnx.py BUNDLE [--inputs FILE]

FILE is a safetensors file with the inputs of the bundle's goldens, `pixel_values` f32 [G,3,S,S] and `input_ids` i64 [T,L];
crates/edge-model/tests/support/onnx_runtime.rs writes it with the library's own code. Without it, Pillow and the package tokenizers prepare the
inputs; their pixels may differ by 1/255.

Prints the largest differences from the goldens at batch 1 and 3, of embeddings as a share of the largest magnitude, of scores and
similarities absolute, and exits 1 where one is above 1e-4 (5e-3 without --inputs). Needs numpy, onnx and onnxruntime.
"""
import argparse
import json
import os
import struct
import sys

import numpy as np
import onnx
import onnxruntime

import onnx_pipeline

ALLOWED = 1e-4
ALLOWED_WITH_PILLOW = 5e-3
BATCHES = (1, 3)
TINY = np.finfo(np.float32).tiny
DTYPES = {"F32": np.float32, "I64": np.int64}


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    tensors = {}
    for name, about in header.items():
        if name != "__metadata__":
            start, end = about["data_offsets"]
            tensors[name] = np.frombuffer(body[start:end], DTYPES[about["dtype"]]).reshape(about["shape"])
    return tensors


def checked_session(bundle, name):
    """A session of a graph that passes the checker and has the interface that edge-scorer expects."""
    path = os.path.join(bundle, name)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    opset = {o.domain: o.version for o in model.opset_import}
    if opset != {"": 17}:
        sys.exit(f"{path}: opset {opset}, expected 17 alone: export the bundle again with this version of edge-trainer")
    for value in list(model.graph.input) + list(model.graph.output):
        if value.type.tensor_type.shape.dim[0].dim_param != "N":
            sys.exit(f"{path}: the first dimension of {value.name} is not the symbol N, so that only one batch size would work")
    print(f"{name}: onnx.checker passes, {len(model.graph.node)} nodes, {os.path.getsize(path)} bytes")
    return onnx_pipeline.session(path)


def run(graph, inputs, batch):
    """All outputs by name, computed in batches (the last may be shorter). Inputs that the graph does not take are ignored."""
    inputs = {i.name: inputs[i.name] for i in graph.get_inputs()}
    names = [o.name for o in graph.get_outputs()]
    count = len(next(iter(inputs.values())))
    starts = range(0, count, batch)
    parts = [graph.run(names, {k: v[start : start + batch] for k, v in inputs.items()}) for start in starts]
    return {name: np.concatenate(values) for name, values in zip(names, zip(*parts))}


def cosine(a, b):
    # An image embedding may be longer than a text's: the text is compared with its beginning. The cosine is 0 where either vector is zero: a
    # model without text has a zero text embedding.
    a = a[..., : b.shape[-1]]
    return (a * b).sum(-1) / np.maximum(np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1), TINY)


def share(found, expected):
    """The largest difference, as a share of the largest expected magnitude."""
    return np.abs(found - expected).max() / max(np.abs(expected).max(), TINY)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle's directory")
    parser.add_argument("--inputs", metavar="FILE", help="safetensors file with the goldens' inputs")
    arguments = parser.parse_args()
    bundle = arguments.bundle
    with open(os.path.join(bundle, "manifest.json")) as f:
        manifest = json.load(f)
    goldens = manifest["goldens"]
    expected = read_safetensors(os.path.join(bundle, goldens["tensors"]))
    if arguments.inputs:
        inputs = read_safetensors(arguments.inputs)
    else:
        paths = [os.path.join(bundle, name) for name in goldens["images"]]
        pixels = [onnx_pipeline.pixels_by_pillow(path, manifest["image_input"], reduced=False) for path in paths]
        inputs = {"pixel_values": np.stack(pixels), "input_ids": onnx_pipeline.input_ids(bundle, manifest, goldens["tags"])}

    image_encoder = checked_session(bundle, onnx_pipeline.IMAGE_ENCODER)
    text_encoder = checked_session(bundle, onnx_pipeline.TEXT_ENCODER)
    quality_head = checked_session(bundle, onnx_pipeline.QUALITY_HEAD)
    images, texts = len(goldens["images"]), len(goldens["tags"])
    # The daemon stores image embeddings in 16 bits, and the golden scores were computed from those.
    stored = expected["image_embedding"].astype(np.float16).astype(np.float32)
    similarity = cosine(np.repeat(stored, texts, axis=0), np.tile(expected["text_embedding"], (images, 1)))
    similarity = similarity.reshape(images, texts)

    worst = 0.0
    for batch in BATCHES:
        image_side, text_side = run(image_encoder, inputs, batch), run(text_encoder, inputs, batch)
        image, text = image_side["image_embedding"], text_side["text_embedding"]
        # The head gets the golden embeddings, so that errors of the encoders do not count twice. A bundle does not store patches and tokens;
        # those come from the encoders.
        image_side["image_embedding"], text_side["text_embedding"] = stored, expected["text_embedding"]
        pairs = {k: np.repeat(v, texts, axis=0) for k, v in image_side.items()}
        pairs.update({k: np.concatenate([v] * images) for k, v in text_side.items()})
        head = run(quality_head, pairs, batch)["score"]
        figures = {
            "image_embedding": share(image, expected["image_embedding"]),
            "text_embedding": share(text, expected["text_embedding"]),
            "score": np.abs(head.reshape(images, texts) - expected["score"]).max(),
            "similarity": np.abs(similarity - expected["similarity"]).max(),
        }
        for name, value in figures.items():
            print(f"batch {batch}: {name:<16} largest difference {value:.2e}")
            worst = max(worst, float(value)) if np.isfinite(value) else float("inf")
    allowed = ALLOWED if arguments.inputs else ALLOWED_WITH_PILLOW
    if worst > allowed:
        print(f"FAILED: the largest difference is {worst:.2e}, allowed is {allowed:.0e}")
        return 1
    print(f"ONNX Runtime {onnxruntime.__version__} agrees within {allowed:.0e}: {worst:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
