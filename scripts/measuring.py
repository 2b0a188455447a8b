"""Shared by the benchmark scripts: test images, running and measuring a process, rounds in turn, medians and ratios.

Imports the standard library only; `make_images` needs numpy and Pillow.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCORER = ROOT / "target/release/edge-scorer"
TAG = "a good photo"
MIB = 1 << 20

# kind of test image: count, width, height, file extension
IMAGES = {"12MP JPEG": (24, 4000, 3000, "jpg"), "512px JPEG": (96, 512, 512, "jpg"), "512px PNG": (96, 512, 512, "png")}

# Linux counts the parent's resident memory at the moment of exec into a process's ru_maxrss. A benchmark script that has made images holds
# more memory than the program that it measures, and would report itself for both sides. This launcher holds less than 10 MiB, so what
# os.wait4 returns to it is the program's own peak. It pins itself to cores, runs the command and writes one JSON line to a descriptor.
LAUNCHER = """
import os, sys, time
report, cores, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
if cores:
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
os.set_inheritable(report, False)
started = time.perf_counter()
pid = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(pid, 0)
seconds = time.perf_counter() - started
cpu_seconds = usage.ru_utime + usage.ru_stime
exit_code = os.waitstatus_to_exitcode(status)
os.write(report, f"[{exit_code}, {seconds}, {cpu_seconds}, {usage.ru_maxrss * 1024}]".encode())
"""


class Run(typing.NamedTuple):
    """A finished process: wall time, CPU time, peak resident memory of its largest process, standard output."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str


def available_cores():
    """Numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def run(command, cores=None, environment=None, keep_output=True):
    """Runs a command and measures it. `cores`: pins it to that many of the available cores. Ends the script if the command fails."""
    command = [str(word) for word in command]
    pinned = available_cores()[:cores] if cores else []
    if cores and len(pinned) < cores:
        sys.exit(f"this machine has {len(pinned)} cores available, the case needs {cores}: choose other cases with --only")
    read_end, write_end = os.pipe()
    with tempfile.TemporaryFile() as errors, open(read_end) as report:
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(write_end), ",".join(map(str, pinned)), *command]
        output = subprocess.PIPE if keep_output else subprocess.DEVNULL
        child = subprocess.Popen(launcher, stdout=output, stderr=errors, env={**os.environ, **(environment or {})}, pass_fds=[write_end])
        os.close(write_end)
        text = (child.communicate()[0] or b"").decode()
        measured = report.read()
        exit_code, seconds, cpu_seconds, peak_bytes = json.loads(measured) if measured else (None, 0.0, 0.0, 0)
        if exit_code != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace")[-2000:]
            how = "could not be started" if exit_code is None else f"ended with exit code {exit_code}"
            sys.exit(f"the command {how}: {' '.join(command)[:500]}\n{said}")
    return Run(seconds, cpu_seconds, peak_bytes, text)


def answer(command, cores=None, environment=None):
    """Runs a command that prints JSON and returns the value."""
    return json.loads(run(command, cores, environment).output)


def this_script(*arguments):
    """The command that runs the calling script again, to measure the other side in a process of its own."""
    return [sys.executable, sys.argv[0], *map(str, arguments)]


def rounds_in_turn(rounds, *sides):
    """Calls every side once a round and returns one tuple of results a round.

    The order is reversed every second round, so that a drift of the machine's speed affects all sides alike.
    """
    results = []
    for number in range(rounds):
        order = list(range(len(sides)))[:: -1 if number % 2 else 1]
        result = {at: sides[at]() for at in order}
        results.append(tuple(result[at] for at in range(len(sides))))
    return results


def columns(rounds):
    """The results of each side, from those of each round."""
    return [list(side) for side in zip(*rounds)]


def spread(values, form=".2f"):
    """`median (least to most)`."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def ratios(ours, theirs):
    """Theirs divided by ours, round by round: above 1 where ours is faster or smaller."""
    return [b / a for a, b in zip(ours, theirs, strict=True)]


def machine():
    """One line about the machine: processor, available cores, load."""
    names = [line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = names[0] if names else platform.machine()
    return f"{name}, {len(available_cores())} of {os.cpu_count()} cores available, load {os.getloadavg()[0]:.2f}"


def parser(doc, rounds=None, scorer=True):
    """An argument parser with the script's docstring as its help, `--scorer` and, where a default is given, `--rounds`."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if scorer:
        options.add_argument("--scorer", type=pathlib.Path, default=SCORER, help="edge-scorer program [target/release/edge-scorer]")
    if rounds:
        options.add_argument("--rounds", type=int, default=rounds, help="rounds in which both sides take turns [%(default)s]")
    return options


def words(text):
    """Comma-separated words of an option."""
    return text.split(",")


def numbers(text):
    """Comma-separated whole numbers of an option."""
    return [int(word) for word in text.split(",")]


def write_report(path, report):
    """Writes the figures of every round as JSON, where --out names a file."""
    if path:
        path.write_text(json.dumps(report, indent=2) + "\n")


def make_images(directory, kinds=tuple(IMAGES)):
    """Paths of test images by kind, made in `directory` where they are missing.

    They are samples enlarged to the size, with noise like a sensor's, so that the files are as large as a camera's. No two are equal.
    """
    import numpy as np
    from PIL import Image

    sources = [Image.open(path).convert("RGB") for path in sorted((ROOT / "samples").glob("*clean.jpg"))]
    found = {}
    for kind in kinds:
        count, width, height, extension = IMAGES[kind]
        folder = directory / kind.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        found[kind] = [folder / f"{number:03}.{extension}" for number in range(count)]
        for number, path in enumerate(found[kind]):
            if path.exists():
                continue
            random = np.random.default_rng(number)
            pixels = np.asarray(sources[number % len(sources)].resize((width, height), Image.LANCZOS), np.float32)
            pixels = pixels + random.normal(0, 4, pixels.shape).astype(np.float32)
            # Under another name until it is complete: an interrupted script leaves no half image to be measured.
            part = path.with_name(f"part-{path.name}")
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(part, quality=92)
            part.rename(path)
    return found
