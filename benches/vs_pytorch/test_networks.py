"""Holds networks.py to the project's fixtures, and to nasgen in every shipped and 20 drawn networks.

    python -m unittest discover benches/vs_pytorch
"""

import json
import tempfile
import unittest
from pathlib import Path

import compare
import torch
import yaml
from networks import BLOCKS, Network, Row, SpecError, copies_of
from safetensors import safe_open

FIXTURES = compare.REPOSITORY / "tests/fixtures/blocks"


class Fixtures(unittest.TestCase):
    """Values, gradients and statistics that the fixtures' modules gave: no block of this builder."""

    def test_every_fixture(self):
        files = sorted(FIXTURES.glob("*.safetensors"))
        for path in files:
            with self.subTest(path.stem), safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name).double() for name in file.keys()}
                self.compare(file.metadata(), tensors)
        # No fixture has a Dropout: a random one has no values to compare.
        self.assertEqual({path.stem.split("-")[0] for path in files}, BLOCKS.keys() - {"Dropout"})

    def compare(self, case, tensors):
        arguments, repeat = json.loads(case["args"]), int(case["repeat"])
        inputs = [tensors[name] for name in sorted(tensors) if name.split(".")[0] == "input"]
        row = Row([-1], repeat, case["block"], arguments, {}, in_head=False)
        spec = {"width_multiply": float(case["width_multiply"])}
        module = copies_of(row, spec, False, False, [value.float() for value in inputs]).double()
        weights = {name.removeprefix("weight/"): value for name, value in tensors.items() if "weight/" in name}
        counters = {name: value for name, value in module.state_dict().items() if "num_batches" in name}
        # Also a comparison of all names and shapes.
        module.load_state_dict(weights | counters)

        with torch.no_grad():
            self.assert_close(module.eval()(*inputs), tensors["output_eval"])
        leaves = [value.clone().requires_grad_() for value in inputs]
        output = module.train()(*leaves)
        self.assert_close(output, tensors["output_train"])
        output.backward(tensors["grad_output"])
        for index, leaf in enumerate(leaves):
            self.assert_close(leaf.grad, tensors["grad_input" if len(leaves) == 1 else f"grad_input.{index}"])
        for name, parameter in module.named_parameters():
            self.assert_close(parameter.grad, tensors[f"grad/{name}"])
        for name, value in tensors.items():
            if name.startswith("after/"):
                self.assert_close(module.state_dict()[name.removeprefix("after/")], value)

    def assert_close(self, got, wanted):
        """To the precision of float32, relative to the largest value or 1."""
        difference = (got - wanted).abs().max() / max(wanted.abs().max().item(), 1.0)
        self.assertLess(difference.item(), 1e-6)


class SameNetworks(unittest.TestCase):
    """`describe` raises where nasgen and PyTorch differ in a row's parameters, MACs or shape."""

    def test_shipped_and_drawn(self):
        arguments = compare.read_arguments([])
        with tempfile.TemporaryDirectory() as directory:
            drawn = compare.drawn_networks(arguments, Path(directory))
            self.assertEqual(len(drawn), 20)
            paths = sorted((compare.REPOSITORY / "model_configs").glob("*.yml"))
            shipped = [compare.Network(path.stem, path) for path in paths]
            compare.describe(shipped + drawn, arguments)
            groups = {network.name: network.group for network in shipped}
        dense = {name for name, group in groups.items() if group == "dense"}
        self.assertEqual(dense, {"lenet", "squeezenet", "resnet_bottleneck"})

    def test_a_difference_is_found(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "network.yml"
            path.write_text("backbone: [[1, Conv, [16, 3]], [1, GlobalAvgPool, []]]")
            changed = compare.Network("changed", path)
            arguments = compare.read_arguments([])
            compare.describe([changed], arguments)
            rows = [{**layer, "macs": layer["macs"] + 1} for layer in changed.layers]
            with self.assertRaisesRegex(compare.Failure, "row 0"):
                compare.must_be_equal(path, changed.layers, rows)
            with self.assertRaisesRegex(compare.Failure, "2 rows"):
                compare.must_be_equal(path, changed.layers, rows[:1])


class WrongSpecs(unittest.TestCase):
    def test_what_is_not_known_is_named(self):
        row = "backbone: [[1, {}, [{}]]]"
        for text, message in [
            (row.format("Convolution", "8, 3"), "row 0 Convolution: unknown block"),
            (row.format("Conv", "8, 3, 1, null, 1, Relu"), "row 0 Conv: unknown activation Relu"),
            (row.format("MaxPool", "2, 2, 0, 1, false, false, 7"), "row 0 MaxPool"),
            (row.format("MBConv", "6, 8, 2, 3, 0, valid"), "padding is symmetric or same"),
            (row.format("Conv", "8, 3") + "\nwidth: 2", "unknown keys: width"),
            ("backbone: [[1, Conv]]", "a row is"),
            ("backbone: [[1, 1, Conv, [8, 3]]]", "`from` 1"),
            ("input_channel: 3", "no rows"),
        ]:
            with self.subTest(message), self.assertRaises(SpecError) as raised:
                Network(yaml.safe_load(text), (3, 8, 8))
            self.assertIn(message, str(raised.exception))


if __name__ == "__main__":
    unittest.main()
