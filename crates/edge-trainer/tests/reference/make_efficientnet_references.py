#!/usr/bin/env python3
"""Writes an EfficientNet with random weights and the outputs of timm for it. Unit tests compare these with our outputs.

    python3 make_efficientnet_references.py tests/data/efficientnet_tiny          the narrow model of the test suite
    python3 make_efficientnet_references.py DIR --b0 [--layout torchvision]       a B0 of full size, in DIR

Needs torch and timm, and torchvision for its layout. Writes model.safetensors, and reference.safetensors with pixel_values and
image_embedding.
"""
import argparse
import pathlib

import torch
from safetensors.torch import save_file


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("out", type=pathlib.Path)
    a.add_argument("--b0", action="store_true")
    a.add_argument("--layout", choices=["timm", "torchvision"], default="timm")
    a = a.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    if a.layout == "torchvision":
        from torchvision.models import efficientnet_b0

        model = efficientnet_b0()
        embed = lambda x: torch.flatten(model.avgpool(model.features(x)), 1)
    else:
        from timm.models.efficientnet import _gen_efficientnet

        width = {} if a.b0 else {"channel_multiplier": 0.1, "num_classes": 3}
        model = _gen_efficientnet("efficientnet_b0", **width)
        embed = lambda x: model.forward_head(model.forward_features(x), pre_logits=True)
    model.eval()
    side = 224 if a.b0 else 40
    pixels = torch.randn(2, 3, side, side)
    with torch.no_grad():
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for m in norms:
            m.weight.add_(torch.randn_like(m.weight) * 0.2)
            m.bias.add_(torch.randn_like(m.bias) * 0.2)
            m.momentum = None
        # Running statistics of real activations keep the activations near one. Then the means are changed, so that they affect the output.
        model.train()
        for _ in range(4):
            embed(torch.randn(8, 3, side, side))
        model.eval()
        for m in norms:
            m.running_mean.add_(torch.randn_like(m.bias) * 0.05 * m.running_var.sqrt())
        # In double precision, so that differences come only from the rounding of our side.
        state = {k: v.clone().contiguous() for k, v in model.state_dict().items()}
        model.double()
        reference = {"pixel_values": pixels, "image_embedding": embed(pixels.double()).float()}
    save_file(state, a.out / "model.safetensors")
    save_file({k: v.contiguous() for k, v in reference.items()}, a.out / "reference.safetensors")


if __name__ == "__main__":
    main()
