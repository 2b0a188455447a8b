#!/usr/bin/env python3
"""Checks a bundle's graphs with the ONNX checker and replays its goldens in ONNX Runtime.

    python3 scripts/check_onnx.py BUNDLE [--inputs FILE]

Needs numpy, onnx and onnxruntime. FILE is a safetensors file with `pixel_values` f32 [G,3,S,S] and `input_ids` i64 [T,L], the
inputs that belong to the bundle's goldens; tests/onnx_runtime.rs writes it with the library's own code. Without it, Pillow and
the package tokenizers prepare the inputs; its pixels may be 1/255 off, so 5e-3 is allowed for embeddings and all else.

Prints the largest differences to the goldens at batch 1 and 3 and exits 1 when one is above 1e-4: of embeddings as a share of
the largest magnitude, of scores and similarities absolute.
"""
import argparse
import json
import os
import struct
import sys

import numpy as np
import onnx
import onnxruntime

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


def pixel_values(path, rule):
    from PIL import Image

    with Image.open(path) as im:
        im = im.convert("RGB")
        short, size = rule["resize_short_px"], rule["size_px"]
        w, h = im.size
        new = (short, max(short, short * h // w)) if w <= h else (max(short, short * w // h), short)
        im = im.resize(new, Image.BICUBIC)
        left, top = (new[0] - size) // 2, (new[1] - size) // 2
        pixels = np.asarray(im.crop((left, top, left + size, top + size)), np.float32) / 255
    return ((pixels - np.float32(rule["mean"])) / np.float32(rule["std"])).transpose(2, 0, 1)


def input_ids(bundle, manifest):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(bundle, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rule = manifest["text_input"]
    prompts = {t["text"].lower(): t.get("prompt") for t in manifest["tags"]}
    rows = []
    for tag in manifest["goldens"]["tags"]:
        prompt = prompts.get(tag.lower()) or rule["template"].replace("{tag}", " ".join(tag.split()))
        ids = tokenizer.encode(prompt).ids
        rows.append(ids + [rule["pad_id"]] * (rule["context_length"] - len(ids)))
    return np.array(rows, np.int64)


def session(bundle, name):
    path = os.path.join(bundle, name)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    opset = {o.domain: o.version for o in model.opset_import}
    if opset != {"": 17}:
        sys.exit(f"{name}: opset {opset}, expected 17 alone")
    for value in list(model.graph.input) + list(model.graph.output):
        if value.type.tensor_type.shape.dim[0].dim_param != "N":
            sys.exit(f"{name}: the first dimension of {value.name} is not the symbol N")
    print(f"{name}: onnx.checker passes, {len(model.graph.node)} nodes, {os.path.getsize(path)} bytes")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run(graph, inputs, batch):
    """All outputs by name, from those of the inputs that the graph takes, in batches; the last one may be shorter."""
    inputs = {i.name: inputs[i.name] for i in graph.get_inputs()}
    names = [o.name for o in graph.get_outputs()]
    count = len(next(iter(inputs.values())))
    starts = range(0, count, batch)
    parts = [graph.run(names, {k: v[start : start + batch] for k, v in inputs.items()}) for start in starts]
    return {name: np.concatenate(values) for name, values in zip(names, zip(*parts))}


def cosine(a, b):
    # 0 where either is zero, as of the text in a model without a text side.
    return (a * b).sum(-1) / np.maximum(np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1), TINY)


def share(found, expected):
    """The largest difference as a share of the largest magnitude."""
    return np.abs(found - expected).max() / max(np.abs(expected).max(), TINY)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bundle")
    parser.add_argument("--inputs")
    arguments = parser.parse_args()
    bundle = arguments.bundle
    with open(os.path.join(bundle, "manifest.json")) as f:
        manifest = json.load(f)
    goldens = manifest["goldens"]
    expected = read_safetensors(os.path.join(bundle, goldens["tensors"]))
    if arguments.inputs:
        inputs = read_safetensors(arguments.inputs)
    else:
        images = [pixel_values(os.path.join(bundle, n), manifest["image_input"]) for n in goldens["images"]]
        inputs = {"pixel_values": np.stack(images), "input_ids": input_ids(bundle, manifest)}

    image_encoder = session(bundle, "image_encoder.onnx")
    text_encoder = session(bundle, "text_encoder.onnx")
    quality_head = session(bundle, "quality_head.onnx")
    images, texts = len(goldens["images"]), len(goldens["tags"])
    # The daemon keeps image embeddings as f16, and so do the golden scores.
    stored = expected["image_embedding"].astype(np.float16).astype(np.float32)
    similarity = cosine(np.repeat(stored, texts, axis=0), np.tile(expected["text_embedding"], (images, 1)))
    similarity = similarity.reshape(images, texts)

    worst = 0.0
    for batch in BATCHES:
        image_side, text_side = run(image_encoder, inputs, batch), run(text_encoder, inputs, batch)
        image, text = image_side["image_embedding"], text_side["text_embedding"]
        # The head alone is judged from the golden embeddings; patches and tokens, which no bundle keeps, come from the encoders.
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
        print(f"FAILED: {worst:.2e} is above {allowed:.0e}")
        return 1
    print(f"ONNX Runtime {onnxruntime.__version__} agrees within {allowed:.0e}: {worst:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
