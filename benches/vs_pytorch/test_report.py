"""Ratios, and what is said of networks that are not where they should be."""

import unittest

import report

TRAINING = report.Settings("train", pairs=False, batch=64, input="3x32x32", threads=2, seconds=1.0, rounds=3)
NCHW, CHANNELS_LAST = report.LAYOUTS


def result(images_per_second, peak_bytes=100, cores_of_others=0.0):
    """Of one measurement."""
    memory = {"peak_bytes": peak_bytes, "baseline_bytes": 50}
    return {"images_per_second": images_per_second, **memory, "cores_of_others": cores_of_others}


def network(group="inverted", nasgen=(200,), nchw=(50,), channels_last=(80,), memory=40, **more):
    rounds = {
        "nasgen": [result(speed, memory) for speed in nasgen],
        NCHW: [result(speed, 120) for speed in nchw],
        CHANNELS_LAST: [result(speed, 100) for speed in channels_last],
        **more,
    }
    return report.Comparison("one", group, rounds, {rival: "broke" for rival, results in rounds.items() if not results})


class Report(unittest.TestCase):
    def test_the_ratio_is_of_medians_and_against_the_better_layout(self):
        one = network(nasgen=(150, 240, 1000), nchw=(10, 50, 60), channels_last=(80, 79, 200))
        self.assertEqual((one.ratio(), one.memory_ratio()), (240 / 80, 0.4))
        one = network(nasgen=(240,), onnxruntime=[result(480)], **{"torch.compile": [result(9000)]})
        self.assertEqual(one.ratio(), 0.5, "onnxruntime is among the rivals, torch.compile beside them")

    def test_misses(self):
        pairs = report.Settings("train", pairs=True, batch=64, input="3x32x32", threads=1, seconds=1.0, rounds=3)
        infer = report.Settings("infer", pairs=False, batch=1, input="3x32x32", threads=2, seconds=1.0, rounds=3)
        for settings, one, misses in [
            (TRAINING, network(nasgen=(160,)), []),
            (TRAINING, network(nasgen=(159,)), ["one misses its floor: 1.99×, wanted 2.0×"]),
            (TRAINING, network("sampled", nasgen=(159,)), ["one misses its floor: 1.99×, wanted 2.0×"]),
            (TRAINING, network("dense", nasgen=(81,)), []),
            (TRAINING, network("dense", nasgen=(72,)), ["one is slower than its fastest rival: 0.90×, wanted 1.0×"]),
            (pairs, network("dense", nasgen=(120,)), ["one misses its floor: 1.50×, wanted 2.0×"]),
            (infer, network(nasgen=(81,)), []),
            (TRAINING, network(memory=101), ["one needs more memory than PyTorch: 1.01×"]),
            (TRAINING, network(nasgen=()), ["one was not measured"]),
            (TRAINING, network(nchw=()), [f"one was not compared with {NCHW}"]),
            (infer, network(onnxruntime=[]), ["one was not compared with onnxruntime"]),
            (TRAINING, network(**{"torch.compile": []}), []),
        ]:
            with self.subTest(misses=misses):
                self.assertEqual(report.Table(settings, [one]).misses(), misses)

    def test_disturbed_measurements_are_named(self):
        alone = network(onnxruntime=[result(64, cores_of_others=cores) for cores in (0.0, 1.5, 0.1)])
        shared = network(**{"torch.compile": [result(64, cores_of_others=cores) for cores in (0.0, 1.5, 1.3)]})
        unknown = network(onnxruntime=[result(64, cores_of_others=None)])
        disturbed = report.Table(TRAINING, [alone, shared, unknown]).disturbed()
        self.assertEqual(disturbed, ["one: torch.compile 1.3"])

    def test_the_tables(self):
        where = {"processor": "A processor", "cores": 2, "system": "Linux", "load_before": 0.5, "date": "2026-01-02"}
        table = report.Table(TRAINING, [network(), network("dense", nasgen=())])
        text = report.markdown({**where, "versions": {"nasgen": "1", "torch": "2"}}, [table])
        self.assertIn("A processor, 2 cores, Linux; nasgen 1, torch 2; 2026-01-02.", text)
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "| " in line]
        self.assertIn(["one", "200", "50", "80", "2.50×", "0", "0 (0)", "0.40"], rows)
        self.assertIn(["one", "failed", "50", "80", "failed", "failed", "0 (0)", "failed"], rows)
        groups = {row[0]: row[1:6] for row in rows}
        self.assertEqual(groups[report.GROUPS["inverted"]], ["1 of 1", "2.50×", "2.50× (one)", "2.0×", "3.0×"])
        self.assertEqual(groups[report.GROUPS["dense"]], ["0 of 1", "failed", "failed", "1.0×", "1.3×"])


if __name__ == "__main__":
    unittest.main()
