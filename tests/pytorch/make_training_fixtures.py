"""Writes the reference values of measures, optimizers, schedules and losses to tests/fixtures/training.

    pip install torch timm safetensors scikit-learn
    python tests/pytorch/make_training_fixtures.py

* torch.optim and timm.optim (Lion): 200 steps of each optimizer over a noisy quadratic.
* torch.optim.lr_scheduler: 200 steps of each schedule.
* torch.nn.functional: the losses and their gradients (the focal loss is written out in torch: Lin et
  al. 2017, equation 5, with softmax).
* scikit-learn: F1, precision, recall, ROC-AUC, confusion matrix, top-5 accuracy, log loss.

Each number is a library's; nothing here computes a measure but the calibration error, which
scikit-learn does not have (Guo et al. 2017, equation 3).
"""

import json
import warnings
from pathlib import Path

import numpy
import torch
from make_fixtures import write
from timm.optim import Lion
from torch.nn import functional
from torch.optim import lr_scheduler
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


STEPS = 200


def make_optimizer(optimizer, rate, decay, **settings):
    """Steps from a given start along given noise: the gradient depends on the weights, so that an
    error in one step shows in all that follow. `w` decays, `b` does not."""
    generator = torch.Generator().manual_seed(3)
    w, b = (torch.randn(shape, generator=generator).requires_grad_() for shape in [(4, 3), (5,)])
    noise_w, noise_b = (torch.randn(STEPS, *p.shape, generator=generator) for p in (w, b))
    result = {"w.0": w.detach().clone(), "b.0": b.detach().clone(), "noise_w": noise_w, "noise_b": noise_b}
    groups = [{"params": [w], "weight_decay": decay}, {"params": [b], "weight_decay": 0.0}]
    stepper = optimizer(groups, lr=rate, **settings)
    traces = [], []
    for noises in zip(noise_w, noise_b):
        for parameter, noise, trace in zip((w, b), noises, traces):
            # The values of the step, exact in float32; a power of two loses nothing.
            parameter.grad = 0.5 * parameter.detach() + noise
        stepper.step()
        for parameter, trace in zip((w, b), traces):
            trace.append(parameter.detach().clone())
    # Every tenth step is kept: errors add up, they do not go away.
    result |= {"w": torch.stack(traces[0])[9::10], "b": torch.stack(traces[1])[9::10]}
    return result, {"rate": str(rate), "decay": str(decay)} | {name: str(value) for name, value in settings.items()}


def optimizers():
    optim = torch.optim
    yield "sgd", make_optimizer(optim.SGD, 0.05, 5e-4, momentum=0.9, nesterov=True)
    yield "sgd_plain", make_optimizer(optim.SGD, 0.05, 5e-4, momentum=0.8)
    yield "adam", make_optimizer(optim.Adam, 0.01, 1e-2, betas=(0.9, 0.99), eps=1e-6)
    yield "adamw", make_optimizer(optim.AdamW, 0.01, 0.05)
    yield "adamax", make_optimizer(optim.Adamax, 0.01, 1e-2)
    yield "rmsprop", make_optimizer(optim.RMSprop, 0.005, 1e-2)
    yield "rmsprop_momentum", make_optimizer(optim.RMSprop, 0.002, 1e-2, alpha=0.95, momentum=0.9)
    yield "lion", make_optimizer(Lion, 0.002, 0.5)


def make_schedule(settings, steps_per_epoch, after_warmup):
    """What `after_warmup` gives behind `LinearLR`, stepped once per batch."""
    rate, steps = settings["lr"], settings["epochs"] * steps_per_epoch
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    warm = round(steps * settings["warmup"])
    scheduler = after_warmup(optimizer, steps, warm, steps_per_epoch)
    if warm and settings["schedule"] != "onecycle":
        rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / warm, total_iters=max(warm - 1, 1))
        scheduler = lr_scheduler.SequentialLR(optimizer, [rise, scheduler], milestones=[warm])
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return {"settings": settings, "steps_per_epoch": steps_per_epoch, "rates": rates}


def make_plateau():
    """One step per epoch, and a loss that stops falling now and then."""
    generator = torch.Generator().manual_seed(4)
    settings = {"schedule": "plateau", "lr": 0.1, "epochs": STEPS, "warmup": 0.0, "gamma": 0.3, "plateau_patience": 4}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=4, eps=0)
    rates, losses = [], []
    for epoch in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append((2 * 0.99**epoch + 0.4 * torch.randn(1, generator=generator).abs()).item())
        scheduler.step(losses[-1])
    assert len(set(rates)) > 5
    return {"settings": settings, "steps_per_epoch": 1, "rates": rates, "losses": losses}


def schedules():
    def case(schedule, after_warmup, warmup=0.1, **more):
        return make_schedule({"schedule": schedule, "lr": 0.1, "epochs": 20, "warmup": warmup} | more, 10, after_warmup)

    s = lr_scheduler
    yield case("constant", lambda o, n, w, e: s.ConstantLR(o, factor=1, total_iters=1))
    yield case("step", lambda o, n, w, e: s.StepLR(o, 3 * e, 0.5), period=3, gamma=0.5)
    yield case("multistep", lambda o, n, w, e: s.MultiStepLR(o, [4 * e, 9 * e], 0.2), milestones=[4, 9], gamma=0.2)
    yield case("cosine", lambda o, n, w, e: s.CosineAnnealingLR(o, n - w))
    yield case("cosine", lambda o, n, w, e: s.CosineAnnealingLR(o, n), warmup=0.0)
    restarts = {"period": 4, "period_factor": 2}
    yield case("restarts", lambda o, n, w, e: s.CosineAnnealingWarmRestarts(o, 4 * e, 2), **restarts)
    yield case("onecycle", lambda o, n, w, e: s.OneCycleLR(o, 0.1, n, pct_start=0.3, cycle_momentum=False), warmup=0.3)
    yield case("polynomial", lambda o, n, w, e: s.PolynomialLR(o, n - w, 1.5), power=1.5)
    yield make_plateau()


def make_losses():
    """Losses of hard and of mixed targets, with and without class weights."""
    generator = torch.Generator().manual_seed(5)
    logits = 2 * torch.randn(8, 5, generator=generator)
    labels, partners = (torch.randint(5, (8,), generator=generator) for _ in range(2))
    share = torch.rand(8, 1, generator=generator).double() * 0.4 + 0.55
    weights = torch.tensor([0.5, 2.0, 1.0, 0.25, 1.25]).double()
    prior = torch.tensor([0.4, 0.1, 0.2, 0.25, 0.05]).double()
    one_hot, other = (functional.one_hot(each, 5).double() for each in (labels, partners))
    mixed = share * one_hot + (1 - share) * other

    def focal(scores, weight, gamma):
        log_share = scores.log_softmax(1).gather(1, labels[:, None])[:, 0]
        per_image = -((1 - log_share.exp()) ** gamma) * log_share
        per_image = per_image if weight is None else per_image * weight[labels]
        return per_image.sum() / (len(labels) if weight is None else weight[labels].sum())

    smooth = lambda targets, share: (1 - share) * targets + share / 5
    cross_entropy = functional.cross_entropy
    bce = functional.binary_cross_entropy_with_logits
    cases = {
        "ce": lambda z: cross_entropy(z, labels),
        "ce_smooth": lambda z: cross_entropy(z, labels, label_smoothing=0.1),
        "ce_weighted": lambda z: cross_entropy(z, labels, weights),
        "ce_weighted_smooth": lambda z: cross_entropy(z, labels, weights, label_smoothing=0.1),
        "ce_mixed": lambda z: cross_entropy(z, mixed),
        "focal": lambda z: focal(z, None, 2.0),
        "focal_weighted": lambda z: focal(z, weights, 1.5),
        "logit_adjusted": lambda z: cross_entropy(z + 1.5 * prior.log(), labels),
        "bce": lambda z: bce(z, one_hot),
        "bce_smooth_mixed": lambda z: bce(z, smooth(mixed, 0.1)),
        "bce_weighted": lambda z: bce(z, one_hot, weights),
    }
    result = {"logits": logits, "labels": labels, "partners": partners, "share": share, "weights": weights, "prior": prior}
    for name, loss in cases.items():
        leaf = logits.double().requires_grad_()
        value = loss(leaf)
        value.backward()
        result |= {f"{name}.loss": value.detach(), f"{name}.grad": leaf.grad}
    return result, {"source": "torch.nn.functional"}


def main():
    warnings.simplefilter("ignore")
    cases = [make_measures(200, 7, 1), make_measures(60, 3, 2)]
    (TRAINING / "measures.json").write_text(json.dumps(cases) + "\n")
    (TRAINING / "schedules.json").write_text(json.dumps(list(schedules())) + "\n")
    for name, made in optimizers():
        write(TRAINING / f"trace_{name}.safetensors", *made)
    write(TRAINING / "losses.safetensors", *make_losses())


if __name__ == "__main__":
    main()
