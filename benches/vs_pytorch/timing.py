"""Times steps as `nasgen bench` does, and says what came out as it does."""

import json
import resource
import statistics
import sys
import time


def measure(step, seconds):
    """Milliseconds of each call of `step` for `seconds` and at least 3 calls, after a fifth as long
    that does not count."""
    repeat(step, seconds / 5, 1)
    return repeat(step, seconds, 3)


def repeat(step, seconds, least):
    step_ms, began = [], time.perf_counter()
    while len(step_ms) < least or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        step()
        step_ms.append((time.perf_counter() - start) * 1e3)
    return step_ms


def peak_bytes():
    """The most memory that this process has had at a time."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def report(step_ms, *, mode, batch, threads, layout, baseline_bytes):
    """Prints the result; `baseline_bytes` is what the libraries alone take."""
    median = statistics.median(step_ms)
    result = {
        "mode": mode,
        "batch": batch,
        "threads": threads,
        "layout": layout,
        "steps": len(step_ms),
        "step_ms": {"p50": median, "min": min(step_ms)},
        "images_per_second": batch / (median * 1e-3),
        "peak_bytes": peak_bytes(),
        "baseline_bytes": baseline_bytes,
    }
    print(json.dumps(result))
