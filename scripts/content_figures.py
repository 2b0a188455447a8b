"""Figures about what pictures show, for scripts/cross_validate: whether a picture fits its own text better than others, whether the best under a
plain tag show it, and whether suggested tags are right.

Every function is a generator that gets the test rows of one data set. It yields the (path, tag) pairs whose scores it needs, once or never, is
sent their `Answers`, and returns its figures.
"""
import collections

import numpy as np

# Tags that an owner of photographs may ask for; each has at least some pictures among the 1,000 classes of ImageNet.
PLAIN_TAGS = [
    "bird", "dog", "cat", "fish", "insect", "snake", "reptile", "primate", "fungus", "fruit", "vegetable", "vehicle", "boat", "building", "tool",
    "weapon", "furniture", "clothing", "container", "musical instrument",
]
# Length of the list that is judged, and the fewest right pictures of a tag that counts.
FIRST = 10
FEWEST = 5
# A text counts as found if it is among this many.
NEAREST = 5


def undamaged(rows):
    """The names of each picture that was not damaged, by path."""
    tags = collections.defaultdict(set)
    for row in rows:
        if row["condition"] == "undamaged":
            tags[row["path"]].add(row["tag"])
    return dict(tags)


# The answers of edge-scorer about N pairs: arrays of N numbers.
Answers = collections.namedtuple("Answers", "scores percentiles similarities")


def table(paths, tags):
    """Asks for the scores and similarities of all pictures under all tags, `[pictures, tags]` each."""
    answers = yield [(path, tag) for path in paths for tag in tags]
    shape = (len(paths), len(tags))
    return answers.scores.reshape(shape), answers.similarities.reshape(shape)


def own_text(rows, texts):
    """For pictures with one text each: how often the own text gets the higher score than another, and is among the nearest by similarity."""
    of_path = collections.defaultdict(set)
    for row in rows:
        of_path[row["path"]].add(row["tag"])
    if len(of_path) < FIRST or any(len(tags) > 1 for tags in of_path.values()) or len(texts) < 2 * NEAREST:
        return {}
    paths, texts = sorted(of_path), sorted(texts)
    scores, similarities = yield from table(paths, texts)
    own = np.array([texts.index(*of_path[path]) for path in paths])
    each = np.arange(len(paths))
    higher = (scores < scores[each, own][:, None]).sum(1) / (len(texts) - 1)
    nearer = (similarities > similarities[each, own][:, None]).sum(1)
    return {"own text scores higher": float(higher.mean()), f"own text among the nearest {NEAREST}": float((nearer < NEAREST).mean())}


# Whether each picture shows each plain tag, and its score and similarity under each: arrays `[pictures, tags]`.
PlainTags = collections.namedtuple("PlainTags", "right scores similarities")


def plain_tags(rows):
    """Asks about all undamaged pictures under the plain tags. None without any that shows one."""
    tags = undamaged(rows)
    paths = sorted(tags)
    right = np.array([[tag in tags[path] for tag in PLAIN_TAGS] for path in paths])
    if not right.any():
        return None
    return PlainTags(right, *(yield from table(paths, PLAIN_TAGS)))


def precision(answers):
    """The share of the first ten under plain tags that show the tag, by score and by similarity, and the number of tags that count.

    `answers` are those of one fold, or of all folds: each picture is then judged by the fold that did not see it.
    """
    right, *both = (np.concatenate(columns) for columns in zip(*answers))
    counting = [column for column, there in enumerate(right.sum(0)) if there >= FEWEST]
    if not counting:
        return {}
    means = []
    for values in both:
        best = {column: np.argsort(-values[:, column], kind="stable")[:min(FIRST, right[:, column].sum())] for column in counting}
        means.append(float(np.mean([right[rows, column].mean() for column, rows in best.items()])))
    return {f"first {FIRST} right by score": means[0], f"first {FIRST} right by similarity": means[1], "tags of these": len(counting)}


def suggestion(rows, vocabulary):
    """How often the nearest tag of the model's vocabulary is a name of the picture or of its kind."""
    tags = undamaged(rows)
    paths = sorted(tags)
    known = set(vocabulary)
    if not vocabulary or not any(tags[path] & known for path in paths):
        return {}
    _, similarities = yield from table(paths, vocabulary)
    nearest = [vocabulary[i] for i in similarities.argmax(1)]
    return {"first suggested tag right": float(np.mean([tag in tags[path] for path, tag in zip(paths, nearest)]))}
