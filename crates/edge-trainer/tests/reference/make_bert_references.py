#!/usr/bin/env python3
"""Writes a BERT and the token states that transformers computes for it. Unit tests compare these with ours.

    python3 make_bert_references.py tests/data/bert_tiny            a small network with random weights
    python3 make_bert_references.py DIR --published BACKBONE_DIR    the network in a directory in the Hugging Face layout

Needs torch and transformers. Writes config.json, model.safetensors, and reference.safetensors with input_ids and token_states.
"""
import argparse
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("out", type=pathlib.Path)
    a.add_argument("--published", type=pathlib.Path)
    a = a.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    if a.published:
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(a.published / name, a.out / name)
        net = BertModel.from_pretrained(a.published)
    else:
        sizes = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        net = BertModel(BertConfig(**sizes, intermediate_size=24, max_position_embeddings=12, layer_norm_eps=1e-12))
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        net.save_pretrained(a.out)
    net.eval()
    ids = torch.randint(0, net.config.vocab_size, (3, 7))
    with torch.no_grad():
        # In double precision, so that differences come only from the rounding of our side.
        states = net.double()(ids).last_hidden_state.float()
    save_file({"input_ids": ids, "token_states": states.contiguous()}, a.out / "reference.safetensors")


if __name__ == "__main__":
    main()
