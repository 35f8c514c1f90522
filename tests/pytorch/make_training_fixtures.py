"""Writes the reference values of measures, optimizers, schedules and losses to tests/fixtures/training.

    pip install torch scikit-learn
    python tests/pytorch/make_training_fixtures.py

* scikit-learn: F1, precision, recall, ROC-AUC, confusion matrix, top-5 accuracy, log loss.

Each number is a library's; nothing here computes a measure but the calibration error, which
scikit-learn does not have (Guo et al. 2017, equation 3).
"""

import json
from pathlib import Path

import numpy
from sklearn import metrics

TRAINING = Path(__file__).resolve().parent.parent / "fixtures" / "training"


def calibration_error(probabilities, labels, bins=15):
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    edges, total = numpy.linspace(0, 1, bins + 1), 0.0
    for low, high in zip(edges, edges[1:]):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def make_measures(images, classes, seed):
    """Answers that are mostly right, with ties, on unevenly frequent classes."""
    generator = numpy.random.default_rng(seed)
    labels = generator.choice(classes, images, p=numpy.arange(1, classes + 1) / sum(range(1, classes + 1)))
    scores = generator.normal(size=(images, classes)) + 1.5 * numpy.eye(classes)[labels]
    scores = scores.round(1).astype(numpy.float32)
    powers = numpy.exp(scores.astype(numpy.float64))
    probabilities = powers / powers.sum(1, keepdims=True)
    answers = probabilities.argmax(1)
    every = dict(labels=list(range(classes)), zero_division=0)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, answers, **every)
    areas = [metrics.roc_auc_score(labels == c, probabilities[:, c]) for c in range(classes)]
    return {
        "scores": scores.astype(float).flatten().tolist(),
        "labels": labels.tolist(),
        "classes": classes,
        "accuracy": metrics.accuracy_score(labels, answers),
        "loss": metrics.log_loss(labels, probabilities, labels=range(classes)),
        "macro_f1": metrics.f1_score(labels, answers, average="macro"),
        "micro_f1": metrics.f1_score(labels, answers, average="micro"),
        "weighted_f1": metrics.f1_score(labels, answers, average="weighted"),
        "roc_auc": metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro"),
        "calibration_error": calibration_error(probabilities, labels),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "images": support.tolist(),
        "per_class_roc_auc": areas,
        "confusion": metrics.confusion_matrix(labels, answers).tolist(),
    } | ({"top5": metrics.top_k_accuracy_score(labels, probabilities, k=5)} if classes > 5 else {})


def main():
    cases = [make_measures(200, 7, 1), make_measures(60, 3, 2)]
    (TRAINING / "measures.json").write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
