"""Reads a folder of event files with TensorBoard's own reader, and prints what is in it as JSON."""

import io
import json
import sys

from PIL import Image
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2

accumulator = event_accumulator.EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0, "histograms": 0})
accumulator.Reload()
tags = accumulator.Tags()


def hparams(tag):
    content = accumulator.summary_metadata[tag].plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def value(field):
    return getattr(field, field.WhichOneof("kind"))


def image(tag):
    event = accumulator.Images(tag)[-1]
    decoded = Image.open(io.BytesIO(event.encoded_image_string))
    decoded.load()
    assert decoded.size == (event.width, event.height)
    return [event.width, event.height, decoded.format]


def histogram(tag):
    found = accumulator.Histograms(tag)[-1].histogram_value
    return {"num": found.num, "counted": sum(found.bucket), "sum": found.sum}


def node(definition):
    shape = definition.attr["_output_shapes"].list.shape[0]
    return [definition.op, list(definition.input), [side.size for side in shape.dim]]


start = hparams("_hparams_/session_start_info").session_start_info
print(
    json.dumps(
        {
            "scalars": {tag: [[e.step, e.value] for e in accumulator.Scalars(tag)] for tag in tags["scalars"]},
            "images": {tag: image(tag) for tag in tags["images"]},
            "histograms": {tag: histogram(tag) for tag in tags["histograms"]},
            "hparams": {name: value(setting) for name, setting in start.hparams.items()},
            "metrics": [info.name.tag for info in hparams("_hparams_/experiment").experiment.metric_infos],
            "status": hparams("_hparams_/session_end_info").session_end_info.status,
            "graph": {definition.name: node(definition) for definition in accumulator.Graph().node},
        }
    )
)
