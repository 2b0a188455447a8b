#!/usr/bin/env python3
"""Writes PyTorch checkpoints in every container that torch.save has, and one that would run a program when Python loads it.

    python3 make_checkpoints.py tests/data/checkpoints

Needs torch.
"""
import os
import pathlib
import sys
from collections import OrderedDict

import torch


class Program:
    """An object that Python rebuilds by running a program."""

    def __reduce__(self):
        return os.system, ("touch a-program-of-the-checkpoint-ran",)


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    table = torch.tensor([[1.5, -2.0, 3.0], [4.0, 5.0, -6.0]])
    state = OrderedDict(
        [
            ("single.weight", table),
            # A view with other strides than its storage.
            ("transposed.weight", table.t()),
            ("half.weight", table[0].half()),
            ("brain.weight", table[1].bfloat16()),
            ("norm.num_batches_tracked", torch.tensor(7)),
        ]
    )
    torch.save(state, out / "zip.pth")
    torch.save(state, out / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": state, "names": ["a", None, 0.5]}, out / "nested.pth")
    torch.save({"state_dict": state, "optimizer": [Program()]}, out / "program.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
