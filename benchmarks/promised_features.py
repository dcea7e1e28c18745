"""Run a command for each promised feature: `python benchmarks/promised_features.py -o features.json`.

`ROWS` is the list of the features. A row is a feature, a check, and a command as it is typed in a shell:

    reading: a number :: texts() == ["40713"]
        digitcli predict pictures/number.jpg --format csv

The commands run in their order in one temporary folder, with small data that `prepare` makes there first. A
row passes if its command ends with exit code 0 and its check is true: a Python expression with the names of
`names_of_checks`. Options stand in brackets before `::`, with semicolons between them: `exit 8` expects
another exit code, `needs X` skips the row if the Python package or the program X is missing, and `after
FEATURE` runs that row first. In commands, `{repo}` is the folder of the repository, and `{few}` stands for
few training digits and one epoch. The script ends with exit code 8 if a row fails.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import importlib.util
import io
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageFilter

sys.path.append(str(Path(__file__).parents[1]))
from digitcli import load_dataset
from tests.support.forms import blank_form, filled_form

REPOSITORY = Path(__file__).resolve().parent.parent
LIMIT_S = 1200  # for one command; on a busy machine it takes many times as long as on an idle one
BULK_PICTURES = 200  # more than 128, from which on `predict --jobs` starts processes
FEW = "--data digits.npz --epochs 1"
PROGRAMS = {"compiler": ("cc", "gcc", "clang"), "browser": ("chromium", "google-chrome", "chrome")}
CORRUPTIONS = "shot_noise impulse_noise glass_blur motion_blur shear scale rotate brightness translate stripe"
CORRUPTIONS += " fog spatter dotted_line zigzag canny_edges"
# The number of parameters of each architecture, and the options of its training if they are not `FEW`.
DIGIT_NETWORKS = {
    "softmax": 7850, "sigmoid_mlp": 79510, "mlp": 670730, "fast": 109242, "robust": 819978, "lenet1": 3246,
    "lenet5": 61706, "cnn": 3274634, "allconv": 153322, "vgg": 288170, "resnet": 308586, "resnet14": 696554,
    "wide_resnet": 691162, "squeeze_excite": 314214, "mobilenet": 159178, "convmixer": 38346, "vit": 138890,
    "mixer": 174246, "lstm": 321418, "capsnet": 718592, "tiny": 9667, "micro": 970, "hog": 12970,
}  # fmt: skip
OTHER_NETWORKS = {
    "reader": (1795044, "--dry-run -b 1"),
    "glance": (516084, "--dry-run -b 1"),
    "finder": (1253798, "--time 1s -b 1"),
}
PLUGIN = """
from torch import nn
from digitcli.architectures.layers import Normalize
def spikenet():
    return nn.Sequential(Normalize(), nn.Flatten(), nn.Linear(784, 12), nn.ReLU(), nn.Linear(12, 10))
"""
ROWS = r"""
reading: a number :: texts() == ["40713"] and rows()[0]["status"] == "read"
    digitcli predict pictures/number.jpg --format csv
reading: a row of CSV per number :: texts() == ["8052", "314", "159", "57721"] and rows()[3]["row"] == "2"
    digitcli predict pictures/page.jpg --per number --format csv
reading: table, JSON, JSON Lines, CSV :: out.count("40713") >= 8 and out.count('"digit": "7"') == 2
    for form in table json jsonl csv; do digitcli predict pictures/number.jpg --format $form || exit 1; done
reading: --length :: [row["reason"] for row in rows()] == ["constraint", ""]
    digitcli predict image.png pictures/number.jpg --length 4-6 --format csv
reading: --pattern :: [row["reason"] for row in rows()] == ["constraint", ""]
    digitcli predict image.png pictures/number.jpg --pattern '4\d{4}' --format csv
reading: --range :: [row["reason"] for row in rows()] == ["", "constraint"]
    digitcli predict image.png pictures/number.jpg --range 0-100 --format csv
reading: --check-digit :: [row["reason"] for row in rows()] == ["", "constraint"]
    digitcli predict luhn.png pictures/number.jpg --check-digit luhn --format csv
reading: --single-digit :: texts() == ["4"]
    digitcli predict image.png --single-digit --format csv
reading: refusal by --min-confidence :: rows()[0]["reason"] == "low_confidence" and texts() == ["40713"]
    digitcli predict pictures/number.jpg --min-confidence 0.999 --format csv
reading: refusal by --max-error :: rows()[0]["status"] == "refused"
    digitcli predict pictures/number.jpg --max-error 0.001 --format csv
reading: --rotate :: "57721" in texts() and {row["rotation"] for row in rows()} == {"90"}
    digitcli predict turned.png --rotate 90 --per number --format csv
reading: --rotate auto :: "57721" in texts() and rows()[0]["rotation"] == "90"
    digitcli predict turned.png --per number --format csv
reading: standard input :: texts() == ["4"]
    digitcli predict - --format csv < image.png
reading: --files-from standard input :: texts() == ["4", "83059"]
    printf 'image.png\0pictures/form.png\0' | digitcli predict --files-from - -0 --format csv
reading: a folder of pictures :: texts("readings.csv") == ["2026", "", "83059", "40713", "8052 314 159 57721"]
    digitcli predict pictures --jobs 2 -o readings.csv
reading: bulk with two processes :: sum(row["text"] == row["file"][-5] for row in rows("bulk.csv")) > 190
    digitcli predict scans -m fast --jobs 2 -o bulk.csv
reading: --resume of a stopped bulk [after reading: bulk with two processes] \
:: "stopped" in out and texts("stopped.csv") == texts("bulk.csv")
    digitcli predict scans -m fast --jobs 1 -o stopped.csv --resume & job=$!
    until [ -s stopped.csv.partial ] || ! kill -0 $job; do sleep 0.02; done; kill $job; wait $job
    test $? = 143 && test ! -e stopped.csv && echo stopped
    digitcli predict scans -m fast --jobs 1 -o stopped.csv --resume
reading: a damaged file stops no other [exit 4] :: [row["status"] for row in rows()] == ["error", "read"]
    digitcli predict damaged.png image.png --format csv
reading: PDF [needs pypdfium2] :: [row["page"] + row["text"] for row in rows()] == ["140713", "283059"]
    digitcli predict pages.pdf --format csv
reading: HEIC [needs pillow_heif] :: texts() == ["40713"]
    digitcli predict number.heic --format csv
reading: TIFF with two pages :: texts() == ["40713", "83059"]
    digitcli predict pages.tif --format csv
reading: annotation :: picture("annotated/number.jpg.png").width >= picture("luhn.png").height
    digitcli predict pictures/number.jpg --annotate annotated
reading: --show-steps (course 12) :: "as the digit network sees it" in out and "█" in out
    digitcli predict image.png -m cnn --show-steps
reading: -m cnn :: texts() == ["4"] and rows()[0]["model"].startswith("cnn@")
    digitcli predict image.png -m cnn --format csv
reading: an ensemble of names :: texts() == ["4"] and rows()[0]["model"].count("@") == 3
    digitcli predict image.png -m fast -m cnn -m robust --format csv
tables: a grid of CSV, with doubts beside it :: Path("marks.csv").read_text() == "4,30,34\n5,21,26\n6,13,19\n"
    digitcli predict marks.png --table -o marks.csv
tables: names, types and checks :: rows()[1] == {"a": "5", "b": "21", "sum": "26"}
    digitcli predict marks.png --table --columns a,b,sum --type integer --check 'sum = a + b' --format csv
tables: a record of each cell :: [row["value"] for row in rows()][-3:] == ["6", "13", "19"]
    digitcli predict marks.png --table --type amount --locale de --per number --format csv
tables: Excel [needs xlsxwriter] :: Path("marks.xlsx").read_bytes()[:2] == b"PK"
    digitcli predict marks.png --table -o marks.xlsx
tables: meters :: [row["reason"] for row in rows()][1::3] == ["implausible_change", "", ""]
    printf 'meter,now\n4,99\n5,20\n6,10\n' > was.csv
    digitcli predict marks.png --table --columns meter,now,sum --previous was.csv --max-change 5 \
      --per number --format csv
forms: a template of a blank :: "6 digits" in out and exists("form.toml") and exists("fields.png")
    digitcli form learn blank_form.png -o form.toml && digitcli form show form.toml -o fields.png
forms: filled ones become rows [after forms: a template of a blank] \
:: rows("forms.csv")[0]["field_1"] == "204857" and rows("forms.csv")[1]["reason"] == "not_this_form"
    digitcli predict filled.png marks.png --form form.toml -o forms.csv
scale: portions of a manifest :: answer()["is_whole"] and answer()["pictures"] == 200
    digitcli plan scans -o plan.parquet --portion-size 50
    digitcli predict --manifest plan.parquet -o parts -m fast --portion 0/2
    digitcli predict --manifest plan.parquet -o parts -m fast && digitcli verify parts --format json
scale: Parquet [needs pyarrow] :: out.split() == ["4"]
    digitcli predict image.png -o readings.parquet
    python -c "import pyarrow.parquet as pq; print(*pq.read_table('readings.parquet')['text'].to_pylist())"
training: exact resume :: "stopped" in out and difference("runs/whole", "runs/parts") == 0
    train="digitcli train --arch lenet5 --data digits.npz --epochs 25"
    $train -o runs/whole || exit 1; $train -o runs/parts & job=$!
    until [ -s runs/parts/metrics.csv ] || ! kill -0 $job; do sleep 0.02; done; kill $job; wait $job
    test $? = 143 && echo stopped; digitcli train --resume runs/parts
training: settings in a file (course 8) \
:: "augment = false" in text("recipe.toml") and answer()["parameters"] == 7850
    digitcli train --arch softmax --print-config > recipe.toml
    digitcli train --config recipe.toml --dry-run --format json
training: every augmentation :: setting("augmented", "mixup") == 0.2 and setting("augmented", "elastic") == 1
    digitcli train --arch lenet1 {few} -o runs/augmented --augment --elastic 1 \
      --random-lines 0.5 --random-convolution 0.5 --random-erasing 0.5 --mixup 0.2
training: synthetic characters :: setting("synthetic", "synthetic") == 0.5
    digitcli train --arch lenet1 {few} -o runs/synthetic --synthetic 0.5
training: regularization :: answer()["parameters"] > 600000 and "stochastic depth 0.2" in err
    digitcli train --arch wide_resnet --data digits.npz -b 16 --dry-run --dropout 0.2 --weight-decay 0.1 \
      --label-smoothing 0.1 --stochastic-depth 0.2 --normalization group --format json
training: early stopping (course 7) :: answer()["epochs"] < 60
    digitcli train --arch mlp --no-augment --epochs 60 --patience 1 --data digits.npz --format json
training: optimization :: setting("optimized", "optimizer") == "muon"
    digitcli train --arch mlp {few} -o runs/optimized --optimizer muon \
      --warmup 0.2 --max-grad-norm 1 --ema-decay 0.9 --initialization orthogonal
training: transfer with rehearsal (course 16) :: answer()["original_accuracy"] > 0.9 and answer()["start"]
    python course/lesson-16.py && digitcli train --from fast --data noisy.npz --rehearse 0.3 --epochs 1 \
      --min-epoch-steps 5 --format json
training: transfer with frozen stages :: answer()["trained_parameters"] < answer()["parameters"]
    digitcli train --from micro {few} --min-epoch-steps 1 --freeze 2 --format json
training: pretrained torchvision :: answer()["parameters"] > 1000000
    TORCH_HOME=torch digitcli train --arch torchvision/mobilenet_v3_small --pretrained --data digits.npz \
      --dry-run -b 16 --format json
training: distillation (course 15) :: setting("student", "teacher") == ["robust", "micro"] and "T=4" in out
    python course/lesson-15.py
    digitcli train --arch tiny --teacher robust --teacher micro {few} -o runs/student
training: an ensemble of seeds (course 14) \
:: answer()["test_accuracy"] > 0.1 and exists("runs/seeds/member-1")
    digitcli train --arch softmax --members 2 {few} -o runs/seeds --format json
training: an ensemble of architectures \
:: len(answer()["selection"]["additions"]) == 2 and exists("mixed.safetensors")
    digitcli train --arch softmax {few} -o runs/mixed-softmax > train.txt
    digitcli train --arch lenet1 {few} -o runs/mixed-lenet1 > train.txt
    digitcli evaluate runs/mixed-softmax runs/mixed-lenet1 --select 2 --data digits.npz -o mixed.safetensors \
      --format json
training: selection of an ensemble (course 14) \
:: len(answer()["selection"]["additions"]) == 2 and exists("both.safetensors")
    digitcli evaluate micro tiny fast --select 2 --data digits.npz -o both.safetensors --format json
training: two processes :: difference("runs/alone", "runs/pair") < 1e-5
    digitcli train --arch softmax {few} -o runs/alone
    torchrun --standalone --nproc-per-node 2 -m digitcli train --arch softmax {few} -o runs/pair
training: TensorBoard [needs tensorboard] \
:: any(b"validation" in file.read_bytes() for file in Path("tb").rglob("*tfevents*"))
    digitcli train --arch lenet1 {few} --tensorboard tb
training: corrected labels [after doctor: a dataset] :: "Labels corrected:" in err
    sed -E '2,$s/^(train,[0-9]+),[0-9],/\1,,/' corrections.csv > edited.csv
    digitcli train --arch softmax {few} --corrections edited.csv
evaluation: interval :: answer()["accuracy_low"] < answer()["accuracy"] == 0.9961 < answer()["accuracy_high"]
    digitcli evaluate fast --format json
evaluation: calibration :: answer()["ece"] < 0.02 and "<svg" in text("calibration.svg")
    digitcli evaluate micro --save calibration.svg --format json
evaluation: every answer :: len(rows("answers.csv")) == 200
    digitcli evaluate micro --data digits.npz --save answers.csv
evaluation: a missed goal [exit 8] :: answer()["n"] == 200
    digitcli evaluate micro --data digits.npz --min-accuracy 1 --format json
evaluation: robustness :: len(answer()["robustness"]["corruptions"]) == 15
    digitcli evaluate fast --robustness --data digits.npz --format json
evaluation: MNIST-C [after course 2: the forward pass by hand] \
:: len(answer()["groups"]) == 15 and answer()["n"] == 150000
    digitcli evaluate runs/softmax-1 --data mnist-c --format json
evaluation: published files of MNIST-C :: len(answer()["groups"]) == 15 and answer()["n"] == 300
    digitcli evaluate micro --data mnist_c --format json
evaluation: out-of-distribution :: {"noise", "letters"} <= {test["name"] for test in answer()["ood"]}
    digitcli evaluate fast --ood --data digits.npz --format json
evaluation: lines (course 13) :: answer()["exact_match"] > 0.7 and answer()["cer"] < 0.2
    digitcli evaluate reader --format json
data: CSV, pictures, IDX \
:: re.findall(r'(?m)^  "n": (\d+),\n  "accuracy": (?:1|0\.9)', out) == ["100", "100", "200"]
    for data in digits.csv digits idx; do digitcli evaluate tiny --data $data --format json || exit 1; done
comparison: seeds and statistics \
:: [len(model["runs"]) for model in answer()["models"]] == [2, 2] and answer()["best"]
    digitcli compare softmax:epochs=1 lenet1:epochs=1 --seeds 2 --data digits.npz --save two.json \
      --plot two.svg --format json
comparison: a saved file [after comparison: seeds and statistics] \
:: answer()["images"] == 200 and "<svg" in text("two.svg")
    digitcli compare two.json --format json
comparison: saved runs (course 8) :: len(answer()["models"]) > 10 and answer()["best"]
    digitcli compare {repo}/benchmarks/switches.json --format json
comparison: trained models (course 11) :: answer()["best"] and answer()["images"] == 10000
    digitcli compare shipped/micro shipped/fast --format json
comparison: optimizers on validation digits (course 6) :: len(rows()) == 2
    digitcli compare fast:optimizer=sgd,lr=0.1 fast:optimizer=muon --seeds 1 --data digits.npz \
      --split validation --format csv
tune [needs optuna] \
:: answer()["best"]["accuracy"] >= answer()["recipe"]["accuracy"] and len(answer()["trials"]) == 2
    digitcli tune --arch softmax:epochs=1 --trials 2 --data digits.npz --vary lr=1e-3..1e-1 --format json
benchmark :: {row["runtime"] for row in answer()["results"]} == {"torch", "onnxruntime"}
    digitcli benchmark --arch micro -b 1 --runtime torch,onnxruntime --format json | tee speeds.json
benchmark: a baseline [after benchmark] :: "micro" in out
    digitcli benchmark --arch micro -b 1 --runtime onnxruntime --baseline speeds.json --max-slowdown 1000
explain: saliency :: methods() == {"saliency"}
    digitcli explain fast image.png -m saliency --format json
explain: integrated gradients :: methods() == {"integrated-gradients"}
    digitcli explain fast image.png -m integrated-gradients --format json
explain: occlusion :: methods() == {"occlusion"} and picture("four.png").width > 100
    digitcli explain fast image.png -m occlusion --save four.png --format json
explain: activations and filters (course 4) :: answer()[0]["layers"] and "<img" in text("layers.html")
    digitcli explain cnn image.png -m feature-maps -m filters --save layers.html --format json
explain: neighbours :: [near["label"] for near in answer()[0]["neighbours"]] == [4, 4, 4]
    digitcli explain fast image.png -m prototype --format json
explain: counterfactual :: answer()[0]["changes"][0]["after"] > answer()[0]["changes"][0]["before"]
    digitcli explain fast image.png -m occlusion --counterfactual 9 --format json
explain: a mistake of the test digits (course 10) :: answer()[0]["digit"] != 5 and exists("mistakes.npz")
    digitcli explain fast --test-digit 2035 -m saliency --save mistakes.npz --format json
explain: a line, four methods :: len(methods()) == 4 and answer()[0]["text"] == "4"
    digitcli explain reader image.png -m saliency -m smoothgrad -m occlusion -m integrated-gradients \
      --format json
explain: a digit of a line :: (answer()[0]["digit"], answer()[0]["runner_up"]) == (7, 1)
    digitcli explain reader pictures/number.jpg -m saliency --position 3 --against 1 --format json
doctor: the installation :: answer()["facts"]["digitcli"] and not findings("error")
    digitcli doctor --format json
doctor: a run (course 6) :: "learning_rate_too_high" in findings()
    digitcli train --arch softmax --data digits.npz --epochs 12 --lr 3 -o runs/too-fast
    digitcli doctor runs/too-fast --format json
doctor: a learning rate (course 6) :: float(answer()["facts"]["suggested learning rate"]) > 0
    digitcli doctor softmax --lr-range --format json
doctor: a dataset :: len(rows("corrections.csv")) > 3
    digitcli doctor digits.npz -o corrections.csv --save doubtful.html --format json
doctor: a model :: answer()["facts"]["architecture"] == "micro"
    digitcli doctor micro --format json
doctor: a picture :: "several_digits" in findings()
    digitcli doctor pictures/number.jpg --label 4071 --format json
report: a run [after doctor: a run (course 6)] :: re.search('<svg|image/svg', text("run.html"))
    digitcli report runs/too-fast -o run.html
report: an evaluation :: "confusion" in text("model.html").lower()
    digitcli evaluate micro --data digits.npz --save evaluation.json
    digitcli report evaluation.json -o model.html
report: a comparison :: "dropout" in text("comparison.html")
    digitcli report {repo}/benchmarks/dropout.json -o comparison.html
report: readings :: "57721" in text("readings.html")
    digitcli predict pictures/page.jpg -o page.jsonl && digitcli report page.jsonl -o readings.html
calibrate :: answer()["threshold"] > 0 and answer()["answered"] >= 8
    digitcli calibrate lines --max-error 0.2 --confidence 0.8 -o calibrated.safetensors --format json
calibrate: use of the threshold [after calibrate] :: texts() == ["40713"]
    digitcli predict pictures/number.jpg -m calibrated.safetensors --format csv
adapt :: answer()["right_after"] > answer()["right_before"] and exists("my-reader/reader.safetensors")
    digitcli adapt outlined -o my-reader --epochs 3 --format json
adapt: use of the model [after adapt] :: texts() and "reader@" in rows()[0]["model"]
    digitcli predict outlined/0.png -m my-reader --format csv
adapt: report [after adapt] :: exists("adaptation.html")
    digitcli report my-reader -o adaptation.html
compression: folding, pruning, 4 bits [needs torch_pruning] \
:: compressed("fold") and compressed("prune") and compressed("int4")
    digitcli compress micro --steps fold,prune=0.2,int4 --data digits.npz --epochs 1 -o int4 --format json
compression: 8 bits :: compressed("int8")
    digitcli compress micro --steps int8 --data digits.npz -o int8 --format json
compression: use of the model [after compression: 8 bits] :: answer()["n"] == 200
    digitcli evaluate int8 --data digits.npz --format json
export: ONNX [needs onnx; needs onnxscript] :: exported() and text("micro.onnx", "latin1")
    digitcli export micro -o micro.onnx --format json
export: torch.export :: exported() and exists("micro.pt2")
    digitcli export micro --to torch -o micro.pt2 --format json
export: Hugging Face :: exported() and json.loads(text("micro-hf/config.json"))
    digitcli export micro --to hf -o micro-hf --format json
export: C [needs compiler] :: exported() and "digit_predict" in text("micro-c/digit_model.h")
    digitcli export micro --to c -o micro-c --format json
export: C with 8-bit integers [needs compiler; after compression: 8 bits] \
:: exported(10) and exists("int8-c/digit_model.c")
    digitcli export int8 --to c --dtype int8 -o int8-c --format json
export: browser [needs browser] :: exported() and "<canvas" in text("micro.html")
    digitcli export micro --to html -o micro.html --format json
export: TensorFlow Lite [needs ai_edge_litert] \
:: exported() and Path("micro.tflite").read_bytes()[4:8] == b"TFL3"
    digitcli export micro --to tflite -o micro.tflite --format json
export: SavedModel [needs tensorflow] :: exported() and exists("micro-saved/saved_model.pb")
    digitcli export micro --to saved_model -o micro-saved --format json
plug-ins: an architecture by entry point (course 17) :: answer()["parameters"] == 9550
    PYTHONPATH=plugin:$PYTHONPATH digitcli train --arch spikenet {few} -o runs/spikenet --format json
course 1: data :: "(60000, 28, 28) uint8 [7 2 1 0 4 1 4 9 5 9]" in out
    python course/lesson-1.py
course 2: the forward pass by hand :: float(out.split()[-1]) < 1e-3
    digitcli train --arch softmax --epochs 1 --out runs/softmax-1 --force && python course/lesson-2.py
course 3: back-propagation by hand [needs pytest] :: " passed" in out
    python -m pytest -q -n0 -p no:cacheprovider -c {repo}/pyproject.toml --rootdir {repo} \
      {repo}/tests/architectures/test_by_hand.py -k back_propagation
course 3: learning rates :: len(answer()["models"]) == 2
    digitcli compare sigmoid_mlp:epochs=1 sigmoid_mlp:epochs=1,lr=5 --seeds 1 --data digits.npz --format json
course 5: parameters of a network :: "9,667" in out
    digitcli models tiny
course 9: a training of a second :: answer()["epochs"] > 0
    digitcli train --arch vit --time 1s --data digits.npz --format json
TensorFlow: the page shows the code of the examples :: shown_code(out) > 5
    cat {repo}/docs/tensorflow.md
TensorFlow: the same gradients [needs tensorflow] :: "weight" in out or "layer" in out
    python {repo}/examples/tensorflow/gradients.py
TensorFlow: tests of the examples [needs tensorflow; needs pytest] :: " passed" in out
    python -m pytest -q -p no:cacheprovider -o addopts= {repo}/examples/tensorflow
synthesize :: len(rows("five/labels.csv")) == 5 and picture("five/00004.png").height > 10
    digitcli synthesize --out five --count 5 --seed 3 --format json
models: the list :: len(answer()) >= 27
    digitcli models --format json
models: shipped :: all(name in out for name in "robust micro reader finder glance digit_or_none".split())
    digitcli models --shipped
command line: --version :: re.search(r"\d+\.\d+\.\d+", out)
    digitcli --version
command line: --help of each command :: out.count("Usage:") == 15
    for name in predict train evaluate calibrate adapt explain compare tune benchmark report compress \
      export models doctor synthesize; do digitcli $name --help || exit 1; done
command line: completion :: out.split() == ["predict"]
    _DIGITCLI_COMPLETE=complete_bash COMP_WORDS='digitcli pre' COMP_CWORD=1 digitcli
command line: a wrong name [exit 2] :: "cnn" in err
    digitcli train --arch cnnn
library: Reader :: out.split() == ["read", "40713", "5"]
    python -c "import digitcli; r = digitcli.Reader().read('pictures/number.jpg'); \
      print(r.status, r.text, len(r.numbers[0].digits))"
library: constraints, arrays, networks :: out.split() == ["refused", "constraint", "10"]
    python -c "import digitcli as d, numpy, PIL.Image, torch; limits = d.parse_constraints(length='2'); \
      reading = d.Reader(constraints=limits).read(numpy.array(PIL.Image.open('pictures/number.jpg'))); \
      print(reading.status, reading.reason, d.create_model('resnet')(torch.rand(8, 1, 28, 28)).shape[1])"
library: train, infer, evaluate :: out.split() == ["200", "200"]
    python -c "import digitcli as d; recipe = {'epochs': 1}; test = d.load_dataset('digits.npz').test; \
      run = d.train(d.TrainConfig(arch='softmax', recipe=recipe, data='digits.npz')).run; \
      model = d.load_model(run); \
      print(len(d.infer(model, test.images)), d.evaluate(run, data='digits.npz').n)"
"""


@dataclass(frozen=True)
class Row:
    """A promised feature, its command and the check of the result."""

    feature: str
    command: str
    check: str
    exit_code: int = 0
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A row that has passed, has failed or was skipped, and the reason."""

    feature: str
    verdict: str
    reason: str = ""
    seconds: float = 0.0
    processor_seconds: float = 0.0


def read_rows() -> list[Row]:
    """Return the rows of the table, then a training of each architecture."""
    entries = re.split(r"\n(?=\S)", ROWS.strip().replace("\\\n::", "::"))
    networks = {name: (number, FEW) for name, number in DIGIT_NETWORKS.items()} | OTHER_NETWORKS
    trainings = [
        Row(
            f"training: architecture {name}",
            f"digitcli train --arch {name} {options} --format json",
            f'answer()["architecture"] == "{name}" and answer()["parameters"] == {number}',
        )
        for name, (number, options) in networks.items()
    ]
    return [*map(parse_row, entries), *trainings]


def parse_row(entry: str) -> Row:
    """Parse a row of the table: `feature [options] :: check`, and the lines of the command."""
    heading, command = entry.split("\n", 1)
    match = re.fullmatch(r"(.*?)(?: \[((?:exit|needs|after) [^]]*)\])? +:: (.*)", heading)
    if match is None:
        raise ValueError(f"This heading has no check: {heading}")
    feature, options, check = match.groups()
    pairs = [option.strip().split(" ", 1) for option in options.split(";")] if options else []
    exit_code = next((int(value) for key, value in pairs if key == "exit"), 0)
    needs, after = (tuple(value for key, value in pairs if key == word) for word in ("needs", "after"))
    return Row(feature, re.sub(r"(?m)^    ", "", command), check, exit_code, needs, after)


def select(rows: list[Row], word: str) -> list[Row]:
    """Return the rows whose feature matches a regular expression, each after the rows that it needs."""
    named = {row.feature: row for row in rows}
    selected: dict[str, Row] = {}

    def add(row: Row) -> None:
        for feature in row.after:
            add(named[feature])
        selected.setdefault(row.feature, row)

    for row in rows:
        if re.search(word, row.feature, re.IGNORECASE):
            add(row)
    return list(selected.values())


def names_of_checks(out: str, err: str) -> dict[str, Any]:
    """Return the names that a check may use: the outputs of the command, functions of them and of files."""

    def answer() -> Any:
        return json.loads(re.split(r"(?m)^(?=[\[{])", out, maxsplit=1)[-1])

    def rows(name: str = "") -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(Path(name).read_text() if name else out)))

    def findings(severity: str = "") -> list[str]:
        return [found["rule"] for found in answer()["findings"] if severity in ("", found["severity"])]

    return {
        "out": out,
        "err": " ".join(err.split()),
        "answer": answer,
        "rows": rows,
        "texts": lambda name="": [row["text"] for row in rows(name)],
        "findings": findings,
        "methods": lambda: {each["method"] for each in answer()[0]["attributions"]},
        "compressed": lambda step: any(step in str(model["steps"]) for model in answer()["tried"]),
        "exported": lambda most=0: answer()["parity"]["different_answers"] <= most,
        "setting": lambda run, key: find_key(json.loads(Path("runs", run, "config.json").read_text()), key),
        "text": lambda name, encoding="utf-8": Path(name).read_text(encoding),
        "exists": lambda name: Path(name).exists(),
        "picture": Image.open,
        "difference": difference,
        "shown_code": shown_code,
        **{"Path": Path, "json": json, "re": re},
    }


def find_key(document: Any, key: str) -> Any:
    """Return the value of a key anywhere in the objects of a JSON document, or None."""
    if not isinstance(document, dict):
        return None
    values = [document.get(key), *(find_key(value, key) for value in document.values())]
    return next((value for value in values if value is not None), None)


def difference(run: str, other: str) -> float:
    """Return the largest difference between the weights of two runs."""
    from safetensors.numpy import load_file

    weights, others = (load_file(Path(folder, "model.safetensors")) for folder in (run, other))
    assert weights.keys() == others.keys()
    return max(float(np.abs(weights[name] - others[name]).max(initial=0)) for name in weights)


def shown_code(page: str) -> int:
    """Return the number of Python blocks of a page; each line must be in the examples or in the package."""
    files = [*(REPOSITORY / "examples").rglob("*.py"), *(REPOSITORY / "digitcli").rglob("*.py")]
    lines = {line.strip() for file in files for line in file.read_text().splitlines()}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert all(line.strip() in lines for block in blocks for line in block.splitlines())
    return len(blocks)


def prepare() -> None:
    """Make the small data of the commands in the current folder."""
    mnist = load_dataset("mnist")
    assert mnist.test is not None
    train, test = mnist.train.take(np.arange(600)), mnist.test.take(np.arange(200))
    images, labels = {"images": train.images, "test_images": test.images}, train.labels
    np.savez("digits.npz", labels=labels, test_labels=test.labels, allow_pickle=False, **images)
    table = np.hstack([train.labels[:100, None], train.images[:100].reshape(100, 784)])
    names = ",".join(["label", *(f"pixel{number}" for number in range(784))])
    np.savetxt("digits.csv", table, fmt="%d", delimiter=",", header=names, comments="")
    Path("idx").mkdir()
    for part, digits in (("train", train), ("t10k", test)):
        for kind, values in (("images-idx3", digits.images), ("labels-idx1", digits.labels)):
            shape = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
            Path("idx", f"{part}-{kind}-ubyte").write_bytes(shape + values.astype(np.uint8).tobytes())
    for name in CORRUPTIONS.split():
        Path("mnist_c", name).mkdir(parents=True)
        np.save(f"mnist_c/{name}/test_images.npy", test.images[:20, ..., None])
        np.save(f"mnist_c/{name}/test_labels.npy", test.labels[:20])
    for number in range(100):
        Path("digits", str(train.labels[number])).mkdir(parents=True, exist_ok=True)
        Image.fromarray(train.images[number]).save(f"digits/{train.labels[number]}/{number}.png")
    prepare_pictures()
    prepare_numbers(test.images, [str(label) for label in test.labels])
    prepare_sheets(test.images, [str(label) for label in test.labels])
    prepare_code()


def prepare_pictures() -> None:
    """Copy the pictures of the documentation, and write them in other formats, turned, and damaged."""
    shutil.copytree(REPOSITORY / "docs" / "pictures", "pictures")
    shutil.copy(REPOSITORY / "image.png", "image.png")
    number, form, page = (Image.open(f"pictures/{name}") for name in ("number.jpg", "form.png", "page.jpg"))
    page.rotate(90, expand=True).save("turned.png")
    for suffix in ("tif", "pdf"):
        number.convert("RGB").save(f"pages.{suffix}", save_all=True, append_images=[form.convert("RGB")])
    Path("damaged.png").write_text("no picture")
    if importlib.util.find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()
        number.convert("RGB").save("number.heic")


def prepare_numbers(images: Any, labels: list[str]) -> None:
    """Write a card number, many single digits, and labelled numbers whose digits are drawn as outlines."""
    write_number([images[labels.index(digit)] for digit in "79927398713"], "luhn.png")
    Path("scans").mkdir()
    for index in range(BULK_PICTURES):
        write_number([images[index]], f"scans/{index:03}-{labels[index]}.png")
    Path("outlined").mkdir()
    table = ["file,text"]
    for start in range(0, 64, 4):
        write_number(images[start : start + 4], f"outlined/{start}.png", outlined=True)
        table.append(f"{start}.png,{''.join(labels[start : start + 4])}")
    Path("outlined", "labels.csv").write_text("\n".join(table) + "\n")


def prepare_sheets(images: Any, labels: list[str]) -> None:
    """Write a ruled table of MNIST's digits, a blank form, and a filled one."""
    table = np.full((300, 400), 250, np.uint8)
    table[30::80, 30:371] = table[30:271, 30::113] = 80
    for row, texts in enumerate([("4", "30", "34"), ("5", "21", "26"), ("6", "13", "19")]):
        for column, text in enumerate(texts):
            ink = np.hstack([images[labels.index(digit)] for digit in text])
            y, x = 52 + 80 * row, 86 + 113 * column - ink.shape[1] // 2
            table[y : y + 28, x : x + ink.shape[1]] -= ink // 10 * 9
    Image.fromarray(table).save("marks.png")
    blank = blank_form()
    Image.fromarray(blank).save("blank_form.png")
    Image.fromarray(filled_form(blank, {"field_1": "204857"})).save("filled.png")


def write_number(digits: Any, name: str, outlined: bool = False) -> None:
    """Write a picture of MNIST's digits side by side, dark on light paper and enlarged."""
    ink = np.pad(np.hstack(list(digits)), ((20, 20), (30, 30)))
    picture = Image.fromarray(ink).resize((3 * ink.shape[1], 3 * ink.shape[0]), Image.Resampling.BICUBIC)
    if outlined:
        solid = picture.point(lambda level: 255 * (level > 127))
        wide, narrow = (solid.filter(kind(3)) for kind in (ImageFilter.MaxFilter, ImageFilter.MinFilter))
        picture = ImageChops.subtract(wide, narrow)
    ImageChops.invert(picture).save(name)


def prepare_code() -> None:
    """Write a plug-in, the programs of the course's lessons, and weights in place of those of ImageNet."""
    import torch
    import torchvision

    facts = Path("plugin", "spikenet-1.0.dist-info")
    facts.mkdir(parents=True)
    Path("plugin", "spiking.py").write_text(PLUGIN)
    (facts / "METADATA").write_text("Name: spikenet\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[digitcli.architectures]\nspikenet = spiking:spikenet\n")
    Path("course").mkdir()
    course = (REPOSITORY / "docs" / "i-want-to-understand-neural-networks.md").read_text()
    for number, lesson in re.findall(r"^## (\d+)\. (.*?)(?=^## |\Z)", course, re.DOTALL | re.MULTILINE):
        blocks = re.findall(r"```python\n(.*?)```", lesson, re.DOTALL)
        Path("course", f"lesson-{number}.py").write_text("\n".join(blocks))
    weights = Path("torch", "hub", "checkpoints")
    weights.mkdir(parents=True)
    name = torchvision.models.get_model_weights("mobilenet_v3_small").DEFAULT.url.rsplit("/", 1)[1]
    torch.save(torchvision.models.mobilenet_v3_small().state_dict(), weights / name)


def run_command(command: str) -> tuple[int, str, str]:
    """Run a command in the shell, with one thread; return its exit code and its two outputs."""
    command = command.replace("{repo}", shlex.quote(str(REPOSITORY))).replace("{few}", FEW)
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    variables = {"PATH": programs, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    try:
        arguments = ["bash", "-c", command]
        done = subprocess.run(arguments, env=os.environ | variables, capture_output=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return 124, "", f"The command ran for more than {LIMIT_S} seconds."
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def judge(row: Row) -> Verdict:
    """Run the command of a row and check its result."""
    for need in row.needs:
        if not (importlib.util.find_spec(need) or any(map(shutil.which, PROGRAMS.get(need, ())))):
            return Verdict(row.feature, "skipped", f"needs {need}")
    started, used = time.perf_counter(), processor_seconds()
    code, out, err = run_command(row.command)
    times = round(time.perf_counter() - started, 1), round(processor_seconds() - used, 1)
    if code != row.exit_code:
        reason = f"exit code {code}, expected {row.exit_code}: {err.strip()[-500:]}"
        return Verdict(row.feature, "failed", reason, *times)
    try:
        if eval(row.check, names_of_checks(out, err)):
            return Verdict(row.feature, "passed", "", *times)
        reason = "the check is false"
    except Exception as error:  # an unexpected result raises exceptions of many kinds
        reason = f"{type(error).__name__}: {error}"
    return Verdict(row.feature, "failed", f"{reason}: {row.check}; output: {out[:500]}", *times)


def processor_seconds() -> float:
    """Return the processor time of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run the rows and print a line for each; end with exit code 8 if a row fails."""
    parser = argparse.ArgumentParser(description="Run a command for each promised feature.")
    parser.add_argument("--only", metavar="WORD", default="", help="run the rows whose feature matches WORD")
    parser.add_argument("--list", action="store_true", help="print the rows and run nothing")
    parser.add_argument("-o", "--output", type=Path, help="write the verdicts to this JSON file")
    arguments = parser.parse_args()
    rows = select(read_rows(), arguments.only)
    if arguments.list:
        print(*(f"{row.feature}\n{textwrap.indent(row.command, '    ')}" for row in rows), sep="\n")
        return
    output = arguments.output and arguments.output.resolve()
    verdicts = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ["DIGITCLI_CACHE"] = str(Path(folder, "cache"))
        prepare()
        for row in rows:
            result = judge(row)
            verdicts.append(dataclasses.asdict(result))
            reason = result.reason and f": {result.reason}"
            print(f"{result.seconds:7.1f} s  {result.feature}: {result.verdict}{reason}", flush=True)
    counts = Counter(each["verdict"] for each in verdicts)
    seconds, used = (sum(each[key] for each in verdicts) for key in ("seconds", "processor_seconds"))
    print(f"{len(rows)} rows, {dict(counts)}; {seconds:.0f} s, {used:.0f} s of a core")
    if output:
        output.write_text(json.dumps(verdicts, indent=2) + "\n")
    sys.exit(8 if counts["failed"] else 0)


if __name__ == "__main__":
    main()
