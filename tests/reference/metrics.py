#!/usr/bin/env python3
"""Writes metrics.json: the figures that src/train/metrics.rs must reproduce, computed with numpy and scipy.

    python3 tests/reference/metrics.py > tests/reference/metrics.json
"""
import itertools
import json

import numpy as np
from scipy.stats import pearsonr, rankdata, spearmanr


def case(seed, n, tags, digits, tie_threshold):
    rng = np.random.default_rng(seed)
    tag = [f"tag {i}" for i in rng.integers(0, tags, n)]
    truth = np.round(rng.normal(2.5, 1.0, n), digits)
    prediction = np.round(0.7 * truth + rng.normal(0, 0.6, n), digits + 1)
    error = np.abs(prediction - truth)
    own, right, pairs = [], 0.0, 0
    for name in sorted(set(tag)):
        rows = [i for i in range(n) if tag[i] == name]
        if len(rows) >= 3 and np.ptp(truth[rows]) > 0 and np.ptp(prediction[rows]) > 0:
            own.append(spearmanr(truth[rows], prediction[rows]).statistic)
        for i, j in itertools.combinations(rows, 2):
            if abs(truth[i] - truth[j]) > tie_threshold:
                pairs += 1
                right += (np.sign(truth[i] - truth[j]) * np.sign(prediction[i] - prediction[j]) + 1) / 2
    return {
        "tag": tag,
        "truth": truth.tolist(),
        "prediction": prediction.tolist(),
        "tie_threshold": tie_threshold,
        "ranks_of_truth": rankdata(truth).tolist(),
        "error_mean": float(error.mean()),
        "error_std": float(error.std()),
        "plcc": float(pearsonr(truth, prediction).statistic),
        "srcc": float(spearmanr(truth, prediction).statistic),
        "within_tag_srcc": float(np.mean(own)),
        "tags": len(own),
        "pair_accuracy": float(right / pairs),
        "pairs": pairs,
        "quantiles_5": np.quantile(prediction, np.linspace(0, 1, 5)).tolist(),
    }


if __name__ == "__main__":
    cases = [case(1, 60, 8, 3, 0.13), case(2, 40, 15, 0, 0.5), case(3, 25, 2, 1, 0.25)]
    print(json.dumps(cases, indent=1))
