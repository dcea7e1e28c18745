"""HTML: one page that needs nothing else, in which the network reads what a person draws.

The page forbids itself every request, and every script and style but its own (Content Security Policy).
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from math import prod
from typing import Any

from digitcli.errors import counted
from digitcli.export.browser import find_browser, run
from digitcli.export.layers import PlainLayer, count_weights, plain_layers
from digitcli.export.quantization import integer_weights, pack
from digitcli.export.source import Exporter, Source, describe
from digitcli.export.templating import policy_hash, read_asset, render
from digitcli.inference.torch_runtime import load_network

STYLES = ("page.css", "drawing.css")
SCRIPTS = ("network.js", "ink.js", "page.js")
EXAMPLES = 200  # test digits on which a browser is compared with PyTorch


def prepare(source: Source) -> Exporter:
    """Prepare the export of a model to one `.html` file.

    Raises:
        UsageError: the network has a layer that the page cannot compute.
        EnvironmentFault: the export is to be verified, and there is no browser.
    """
    layers = plain_layers(load_network(source.model), source.model.header.architecture, "html")
    if source.verified:
        find_browser()
    facts = describe(source)
    records, weights = _records(layers)
    style = "".join(map(read_asset, STYLES))
    script = '"use strict";\n' + "\n".join(map(read_asset, SCRIPTS))
    values = {
        "facts": facts,
        "layers": layers,
        "weights": count_weights(layers),
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "model": json.dumps({"facts": facts, "layers": records}).replace("<", "\\u003c"),
        "weights_base64": base64.b64encode(weights).decode(),
    }
    html = render("page.html.jinja", values, {"outputs": _outputs}, escape=True)
    return Exporter({"model.html": html.encode()}, {"layers": len(layers)}, run, examples=EXAMPLES)


def _policy(style: str, script: str) -> str:
    """Return a Content Security Policy that allows this style, this script and no request."""
    hashes = f"style-src {policy_hash(style)}; script-src {policy_hash(script)}"
    return f"default-src 'none'; img-src data:; {hashes}"


def _records(layers: tuple[PlainLayer, ...]) -> tuple[list[dict[str, Any]], bytes]:
    """Return the layers as JSON, in which arrays are places in a row of bytes, and these bytes.

    Weights that are integers take as many bits as each needs, see `quantization.pack`; other arrays are
    floats, which lie in front, so that each begins at a multiple of their size.
    """
    records, floats, packed = [], bytearray(), bytearray()
    for layer in layers:
        record = asdict(layer) | {"title": layer.title}
        integers = None if layer.scales is None else integer_weights(layer)
        if integers is not None:
            record["weights"], record["scales"] = None, integers.scales
            record["packed"] = {"start": len(packed), "count": integers.integers.size}
            packed += pack(integers.integers, integers.bits).tobytes()
        for name in ("weights", "biases", "scales"):
            array = record[name]
            if array is not None:
                record[name] = {"start": len(floats), "count": array.size}
                floats += array.astype("<f4").tobytes()
        records.append(record)
    for record in records:
        if "packed" in record:
            record["packed"]["start"] += len(floats)
    return records, bytes(floats + packed)


def _outputs(layer: PlainLayer) -> str:
    """Return the size of the output of a layer in words."""
    if prod(layer.shape[1:]) == 1:
        return f"{layer.shape[0]} values"
    maps, rows, columns = layer.shape
    return f"{counted(maps, 'map')} of {rows} x {columns}"
