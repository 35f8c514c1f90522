"""Times the class scores of one exported network in onnxruntime, in a process of its own, and
prints one JSON object.

    python onnxruntime_bench.py FILE.onnx --batch N --input CxHxW [--threads N]
"""

import argparse

import numpy
import onnxruntime

import timing


def main():
    parser = argparse.ArgumentParser(description="Times one exported network in onnxruntime.")
    parser.add_argument("file")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--input", required=True, metavar="CxHxW")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    baseline_bytes = timing.peak_bytes()

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(args.file, options, providers=["CPUExecutionProvider"])
    shape = (args.batch, *map(int, args.input.split("x")))
    images = numpy.random.default_rng(0).standard_normal(shape, dtype=numpy.float32)

    timing.report(
        timing.measure(lambda: session.run(None, {"images": images}), args.seconds),
        mode="infer",
        batch=args.batch,
        threads=args.threads,
        layout="onnxruntime",
        baseline_bytes=baseline_bytes,
    )


if __name__ == "__main__":
    main()
