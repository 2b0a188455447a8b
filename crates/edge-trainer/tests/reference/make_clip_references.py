#!/usr/bin/env python3
"""Writes a CLIP model with random weights and the outputs of `transformers` for it. Unit tests compare these with our outputs.

    python3 make_clip_references.py tests/data/clip_tiny                    the tiny model of the test suite
    python3 make_clip_references.py DIR --config CLIP_DIR/config.json       a model of that size, in DIR
    python3 make_clip_references.py DIR --b32                               a model of ViT-B/32's size, in DIR

Needs torch and transformers. Writes config.json and model.safetensors in the Hugging Face layout, and reference.safetensors with the
inputs pixel_values and input_ids and the outputs image_embedding, patch_tokens, text_embedding and token_states. The weights are larger
than at the start of a training, so that every layer affects the outputs.
"""
import argparse
import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

TINY = {
    "model_type": "clip",
    "projection_dim": 32,
    "vision_config": {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 24, "patch_size": 8, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "projection_dim": 32,
    },
    "text_config": {
        "hidden_size": 20, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 60,
        "max_position_embeddings": 10, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "projection_dim": 32,
        "eos_token_id": 2, "bos_token_id": 0,
    },
}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("out", type=pathlib.Path)
    a.add_argument("--config", type=pathlib.Path, help="another model's config.json")
    a.add_argument("--b32", action="store_true", help="the size of ViT-B/32, which is transformers' default")
    a.add_argument("--seed", type=int, default=1)
    a = a.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    raw = json.loads(a.config.read_text()) if a.config else CLIPConfig().to_dict() if a.b32 else TINY
    torch.manual_seed(a.seed)
    model = CLIPModel(CLIPConfig(**{k: v for k, v in raw.items() if k != "model_type"})).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name == "logit_scale":
                continue
            if p.dim() > 1:
                # Variance about 1 / fan-in keeps activations of order one through any number of layers.
                p.normal_(0, (p.numel() / p.shape[0]) ** -0.5 if "embedding" not in name else 0.5)
            else:
                p.add_(torch.randn_like(p) * 0.2)
    text, vision = model.config.text_config, model.config.vision_config
    pixels = torch.randn(2, 3, vision.image_size, vision.image_size)
    ids = torch.randint(3, text.vocab_size - 1, (3, text.max_position_embeddings))
    end = text.vocab_size - 1
    # A text ends at the highest id, and CLIP pads with that same id.
    for row, length in zip(ids, (3, text.max_position_embeddings // 2, text.max_position_embeddings)):
        row[0] = end - 1
        row[length - 1 :] = end
    with torch.no_grad():
        seen = model.vision_model(pixels)
        read = model.text_model(ids)
        reference = {
            "pixel_values": pixels,
            "input_ids": ids,
            "image_embedding": model.visual_projection(seen.pooler_output),
            "patch_tokens": seen.last_hidden_state[:, 1:],
            "text_embedding": model.text_projection(read.pooler_output),
            "token_states": read.last_hidden_state,
        }
    (a.out / "config.json").write_text(json.dumps(raw, indent=2) + "\n")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, a.out / "model.safetensors")
    save_file({k: v.contiguous() for k, v in reference.items()}, a.out / "reference.safetensors")


if __name__ == "__main__":
    main()
