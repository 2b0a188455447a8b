"""A bundle in plain Python, as the other side of comparisons: Pillow or OpenCV, the package tokenizers, ONNX Runtime.

It follows `manifest.json`: resize, cut out the views, normalise. Imports numpy; each function imports what else it needs.
"""
import json
import pathlib

import numpy as np

IMAGE_ENCODER, TEXT_ENCODER, QUALITY_HEAD = "image_encoder.onnx", "text_encoder.onnx", "quality_head.onnx"


def session(path, threads=None):
    """An ONNX Runtime session on the processor. `threads`: within an operator; without it, ONNX Runtime uses all cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if threads:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def resized(width, height, short):
    """Width and height with the short side at `short` px."""
    return (short, short * height // width) if width <= height else (short * width // height, short)


def views_of(rule):
    """The views of an image, from top to bottom; without `views` the centre is the only one."""
    return rule.get("views") or [{"kind": "centre", "size_px": rule["size_px"]}]


def least_short(rule):
    """Short side, in px, down to which a large JPEG may be decoded at a fraction of its size."""
    least = {"centre": lambda view: 2 * rule["resize_short_px"], "whole": lambda view: 2 * view["size_px"], "tiles": lambda view: view["max_short_px"]}
    return max(least[view["kind"]](view) for view in views_of(rule))


def input_size(rule):
    """Width and height of the image encoder's input, in px."""
    return rule["size_px"], sum(view["size_px"] for view in views_of(rule))


def parts_of(view, rule, width, height):
    """The parts of an image that a view shows: size of the resized image, corner and side of the square in it, corner in the view."""
    side = view["size_px"]
    if view["kind"] == "whole":
        return [((side, side), (0, 0), side, (0, 0))]
    if view["kind"] == "centre":
        size = resized(width, height, rule["resize_short_px"])
        return [(size, ((size[0] - side) // 2, (size[1] - side) // 2), side, (0, 0))]
    count, tile = view["per_side"], side // view["per_side"]
    size = resized(width, height, min(max(min(width, height), side), view["max_short_px"]))
    corner = lambda length, part: min(max(length * (2 * part + 1) // (2 * count) - tile // 2, 0), length - tile)
    places = [(column, row) for row in range(count) for column in range(count)]
    return [(size, (corner(size[0], x), corner(size[1], y)), tile, (x * tile, y * tile)) for x, y in places]


def views(rule, width, height, resize):
    """The image encoder's input before normalisation, `[H, W, 3]`. `resize(size)` gives the pixels `[h, w, 3]` of the resized image."""
    across, down = input_size(rule)
    pixels, top, known = np.zeros((down, across, 3), np.uint8), 0, {}
    for view in views_of(rule):
        for size, (left, upper), side, (x, y) in parts_of(view, rule, width, height):
            if size not in known:
                known[size] = resize(size)
            pixels[top + y : top + y + side, x : x + side] = known[size][upper : upper + side, left : left + side]
        top += view["size_px"]
    return pixels


def scale_and_shift(rule):
    """Per channel: `value * scale - shift` normalises a value of 0 to 255."""
    mean, std = np.array(rule["mean"], np.float32), np.array(rule["std"], np.float32)
    return 1 / (255 * std), mean / std


def pixels_by_pillow(path, rule, reduced=True):
    """`[3, H, W]` normalised pixels. `reduced`: lets libjpeg decode a large JPEG at a fraction of its size."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        whole = image.size
        if reduced:
            image.draft("RGB", (least_short(rule),) * 2)
        turned = image.size != ImageOps.exif_transpose(image).size
        image = ImageOps.exif_transpose(image).convert("RGB")
    width, height = whole[::-1] if turned else whole
    resize = lambda size: np.asarray(image if image.size == size else image.resize(size, Image.BICUBIC))
    scale, shift = scale_and_shift(rule)
    return np.ascontiguousarray((views(rule, width, height, resize) * scale - shift).transpose(2, 0, 1))


def pixels_by_opencv(path, rule):
    """`[3, H, W]` normalised pixels; a large JPEG is decoded at a fraction of its size."""
    import cv2

    # OpenCV does not tell an image's size without decoding it: small files are taken as they are.
    eighth = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_8).shape[:2] if pathlib.Path(path).stat().st_size > 1 << 20 else (0, 0)
    factor = next((f for f in (8, 4, 2) if min(eighth) * 8 / f >= least_short(rule)), 1)
    flag = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2, 1: cv2.IMREAD_COLOR}[factor]
    image = cv2.cvtColor(cv2.imdecode(np.fromfile(path, np.uint8), flag), cv2.COLOR_BGR2RGB)
    height, width = image.shape[:2]
    resize = lambda size: image if (width, height) == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    pixels = cv2.dnn.blobFromImage(views(rule, width * factor, height * factor, resize), 1.0)[0]
    scale, shift = scale_and_shift(rule)
    pixels *= scale[:, None, None]
    pixels -= shift[:, None, None]
    return pixels


DECODERS = {"pil": pixels_by_pillow, "cv2": pixels_by_opencv}


def input_ids(bundle, manifest, tags):
    """`[T, L]` token ids of the tags: a tag's own prompt where the manifest has one, else the template, padded to the context length."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(pathlib.Path(bundle) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rule = manifest["text_input"]
    prompts = {tag["text"].lower(): tag.get("prompt") for tag in manifest["tags"]}
    rows = []
    for tag in tags:
        prompt = prompts.get(tag.lower()) or rule["template"].replace("{tag}", " ".join(tag.split()))
        ids = tokenizer.encode(prompt).ids
        rows.append(ids + [rule["pad_id"]] * (rule["context_length"] - len(ids)))
    return np.array(rows, np.int64)


class OnnxPipeline:
    """From image files to scores under one tag."""

    def __init__(self, bundle, tag, threads=None, encoder=IMAGE_ENCODER):
        """`encoder`: another file with the image encoder, such as one in 8 bits."""
        self.manifest = json.loads((bundle / "manifest.json").read_text())
        self.rule = self.manifest["image_input"]
        self.encoder, self.head = session(bundle / encoder, threads), session(bundle / QUALITY_HEAD, threads)
        text_encoder = session(bundle / TEXT_ENCODER, threads)
        names = [output.name for output in text_encoder.get_outputs()]
        ids = input_ids(bundle, self.manifest, [tag])
        self.text = dict(zip(names, text_encoder.run(names, {"input_ids": ids})))
        self.head_inputs = [head_input.name for head_input in self.head.get_inputs()]

    def encode(self, pixels):
        """The image encoder's outputs by name."""
        names = [output.name for output in self.encoder.get_outputs()]
        return dict(zip(names, self.encoder.run(names, {"pixel_values": pixels})))

    def scores(self, pixels):
        """`[N]` scores of `[N, 3, H, W]`."""
        encoded = self.encode(pixels)
        # edge-scorer keeps image embeddings in 16 bits and scores from those.
        encoded["image_embedding"] = encoded["image_embedding"].astype(np.float16).astype(np.float32)
        encoded.update({name: np.repeat(value, len(pixels), 0) for name, value in self.text.items()})
        return self.head.run(None, {name: encoded[name] for name in self.head_inputs})[0].reshape(-1).tolist()

    def run(self, decoder, paths, batch=1):
        """Scores of image files, `batch` at a time; `decoder` is a key of `DECODERS`."""
        scores = []
        for first in range(0, len(paths), batch):
            scores += self.scores(np.stack([DECODERS[decoder](path, self.rule) for path in paths[first : first + batch]]))
        return scores
