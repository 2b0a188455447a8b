#!/usr/bin/env python3
"""Writes the cosines between tags and ImageNet's classes as PyTorch and numpy compute them, without rounding the token table.

    python3 make_words_reference.py DIR BACKBONES      BACKBONES is the directory of scripts/fetch_backbones

Needs torch, transformers and tokenizers. Writes texts, one per line, and cosines: for each text those with all texts, then with all classes.
"""
import pathlib
import sys

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertModel

TEXTS = "bird|birds|a photo of a Bird|dog|a dog on the beach|night street|sunset over the sea|portrait of a woman|fruit|vegetables|musical instrument|close-up of a flower|old car|church|snow-covered mountains|kingfisher"
IGNORED = "a an the of in photo photos photograph picture image - [PAD] [UNK] [CLS] [SEP] [MASK]"
GENERAL = "entity|physical entity|abstraction|abstract entity|object|whole|thing|living thing|organism|artifact|unit|matter|causal agent"
HERE = pathlib.Path(__file__).resolve().parent


def token_table(folder, dim=256):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    net = BertModel.from_pretrained(folder).eval()
    first, last = (tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]"))
    with torch.no_grad():
        ids = torch.tensor([[first, i, last] for i in range(tokenizer.get_vocab_size())])
        alone = np.concatenate([net(part).last_hidden_state.mean(1).numpy() for part in ids.split(512)]).astype(np.float64)
    centred = alone - alone.mean(0)
    directions = np.linalg.svd(centred[1000:20000], full_matrices=False)[2][:dim]
    table = centred @ directions.T * np.log1p(np.arange(len(alone)))[:, None]
    table[[tokenizer.token_to_id(t) for t in IGNORED.split()]] = 0
    return tokenizer, table


def unit(v):
    return v / max(np.linalg.norm(v), 1e-12)


def main():
    out, backbones = (pathlib.Path(p) for p in sys.argv[1:3])
    tokenizer, table = token_table(backbones / "minilm")
    embed = lambda text: unit(table[tokenizer.encode(text, add_special_tokens=False).ids].sum(0))
    nouns = {}
    for line in open(backbones / "wordnet/data.noun", encoding="latin1"):
        if not line.startswith("  "):
            f = line.split("|")[0].split()
            count = int(f[3], 16)
            pointers = f[5 + 2 * count :]
            parents = [pointers[i + 1] for i in range(0, len(pointers), 4) if pointers[i] in ("@", "@i") and pointers[i + 2] == "n"]
            nouns[int(f[0])] = ([w.replace("_", " ") for w in f[4 : 4 + 2 * count : 2]], [int(p) for p in parents])
    classes = []
    for offset in map(int, (HERE / "../../src/words/imagenet_classes.txt").read_text().split()):
        total, weight = 0, 1.0
        while offset is not None:
            words, parents = nouns[offset]
            words = [w for w in words[:2] if w not in GENERAL.split("|")]
            if words:
                total, weight = total + weight * np.mean([embed(w) for w in words], 0), weight * 0.6
            offset = parents[0] if parents else None
        classes.append(unit(total))
    texts = TEXTS.split("|")
    vectors = [embed(t) for t in texts]
    (out / "texts").write_text("\n".join(texts) + "\n")
    cosines = np.array(vectors) @ np.array(vectors + classes).T
    (out / "cosines").write_text("\n".join(" ".join(f"{v:.5f}" for v in row) for row in cosines) + "\n")


if __name__ == "__main__":
    main()
