#!/usr/bin/env python3
"""Writes metrics.json: the figures that src/metrics/ must reproduce, computed with numpy and scipy.

    python3 tests/reference/metrics.py > tests/reference/metrics.json
"""
import itertools
import json

import numpy as np
from scipy.stats import entropy, pearsonr, rankdata, spearmanr, wasserstein_distance

BIN_WIDTH, EPSILON = 0.25, 0.5
KEYS = ["error_mean", "error_std", "plcc", "srcc", "kl", "emd", "wasserstein", "within_tag_srcc", "pair_accuracy"]


def histogram(values, low, high):
    edges = np.arange(low, high + BIN_WIDTH / 2, BIN_WIDTH)
    return np.histogram(np.clip(values, low, high), edges)[0]


def own_srccs(tag, truth, prediction):
    own = {}
    for name in sorted(set(tag)):
        rows = np.flatnonzero(np.asarray(tag) == name)
        if len(rows) >= 3 and np.ptp(truth[rows]) > 0 and np.ptp(prediction[rows]) > 0:
            own[name] = spearmanr(truth[rows], prediction[rows]).statistic
    return own


def figures(tag, truth, prediction, tie_threshold, low, high):
    error = np.abs(prediction - truth)
    right, pairs = 0.0, 0
    for i, j in itertools.combinations(range(len(tag)), 2):
        if tag[i] == tag[j] and abs(truth[i] - truth[j]) > tie_threshold:
            pairs += 1
            right += (np.sign(truth[i] - truth[j]) * np.sign(prediction[i] - prediction[j]) + 1) / 2
    p, q = histogram(truth, low, high), histogram(prediction, low, high)
    cumulative = np.cumsum(p) / len(truth) - np.cumsum(q) / len(truth)
    own = own_srccs(tag, truth, prediction)
    return {
        "error_mean": float(error.mean()),
        "error_std": float(error.std()),
        "plcc": float(pearsonr(truth, prediction).statistic),
        "srcc": float(spearmanr(truth, prediction).statistic),
        # entropy() divides both sides by their sums.
        "kl": float(entropy(p + EPSILON, q + EPSILON)),
        "emd": float(np.sqrt(np.mean(cumulative**2))),
        "wasserstein": float(wasserstein_distance(truth, prediction)),
        "within_tag_srcc": float(np.mean(list(own.values()))),
        "pair_accuracy": float(right / pairs),
        "pairs": pairs,
        "tags": len(own),
    }


def resample(rng, group, tag):
    """Draws groups with replacement and takes all rows of each. A tag that occurs in only one group is a new tag in each copy."""
    groups = sorted(set(group))
    drawn = rng.integers(0, len(groups), len(groups))
    nested = {t: len({g for g, u in zip(group, tag) if u == t}) == 1 for t in tag}
    rows, tags = [], []
    for copy, g in enumerate(drawn):
        for row in range(len(group)):
            if group[row] == groups[g]:
                rows.append(row)
                tags.append(f"{tag[row]} copy {copy}" if nested[tag[row]] else tag[row])
    return drawn.tolist(), rows, tags


def bootstrap(rng, case, group, tag, truth, prediction, other):
    """Results of 25 replicates, with the groups that were drawn, so that the tested code can use the same replicates."""
    rules = (case["tie_threshold"], case["low"], case["high"])
    drawn, one, two = [], [], []
    for _ in range(25):
        groups, rows, tags = resample(rng, group, tag)
        drawn.append(groups)
        one.append(figures(tags, truth[rows], prediction[rows], *rules))
        two.append(figures(tags, truth[rows], other[rows], *rules))
    column = lambda key: np.array([a[key] for a in one])
    difference = lambda key: np.array([b[key] - a[key] for a, b in zip(one, two)])
    return {
        "other": other.tolist(),
        "drawn": drawn,
        "intervals": {key: np.quantile(column(key), [0.025, 0.975]).tolist() for key in KEYS},
        "differences": {key: np.quantile(difference(key), [0.025, 0.975]).tolist() for key in KEYS},
    }


def case(seed, n, tags, digits, tie_threshold, low, high, groups):
    rng = np.random.default_rng(seed)
    tag = [f"tag {i}" for i in rng.integers(0, tags, n)]
    group = tag if groups is None else [f"group {i}" for i in rng.integers(0, groups, n)]
    truth = np.round(rng.normal(2.5, 1.0, n), digits)
    prediction = np.round(0.7 * truth + rng.normal(0, 0.6, n), digits + 1)
    other = np.round(truth + rng.normal(0, 1.5, n), digits + 1)
    own = own_srccs(tag, truth, prediction)
    out = {
        "tag": tag,
        "group": group,
        "truth": truth.tolist(),
        "prediction": prediction.tolist(),
        "tie_threshold": tie_threshold,
        "low": low,
        "high": high,
        "ranks_of_truth": rankdata(truth).tolist(),
        "own_srcc": [own.get(name) for name in sorted(set(tag))],
        "quantiles_5": np.quantile(prediction, np.linspace(0, 1, 5)).tolist(),
    }
    out["figures"] = figures(tag, truth, prediction, tie_threshold, low, high)
    out["bootstrap"] = bootstrap(rng, out, group, tag, truth, prediction, other)
    return out


if __name__ == "__main__":
    cases = [
        case(1, 60, 8, 3, 0.13, 0.0, 5.0, None),
        case(2, 60, 9, 0, 0.5, 1.0, 10.0, None),
        case(3, 40, 3, 1, 0.25, 0.5, 4.75, 12),
    ]
    print(json.dumps(cases))
