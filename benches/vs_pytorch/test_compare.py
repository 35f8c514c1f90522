"""The commands of a round are those that nasgen has."""

import os
import subprocess
import unittest
from argparse import Namespace
from pathlib import Path

import compare

SETTINGS = {"batch": [1], "threads": 1, "input": "3x32x32", "seconds": 0.01, "compile": False, "device": "cpu"}


def program():
    """NASGEN_PROGRAM, else the one that is built."""
    built = [compare.REPOSITORY / "target" / profile / "nasgen" for profile in ("release", "debug")]
    named = [Path(os.environ["NASGEN_PROGRAM"])] if "NASGEN_PROGRAM" in os.environ else []
    return next((path for path in [*named, *built] if path.exists()), None)


class Commands(unittest.TestCase):
    @unittest.skipIf(program() is None, "nasgen is not built")
    def test_nasgen_takes_what_it_is_given(self):
        network = compare.Network("lenet", compare.REPOSITORY / "model_configs" / "lenet.yml")
        for infer in (False, True):
            arguments = Namespace(nasgen=program(), infer=infer, **SETTINGS)
            words = compare.commands(network, 1, arguments, Path("."))["nasgen"]
            done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
