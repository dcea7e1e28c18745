"""Write the graph of a network for TensorBoard, with a box for each name scope.

The graph of one training step has hundreds of operations. `with tf.name_scope("hidden")` puts `hidden/`
before the names of the operations inside, and TensorBoard folds them into one box, which opens with a double
click.
Only the operations of a graph have names; in eager mode a scope does nothing.

    python examples/tensorflow/name_scopes.py tb && tensorboard --logdir tb
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import tensorflow as tf
from graph_and_eager import first_batches
from low_level_networks import training_step, variables
from same_run import SameRun, same_run


def write_graph(run: SameRun, folder: Path, steps: int = 20) -> Counter[str]:
    """Take some steps, write their graph and losses, and return the number of operations in each scope."""
    step = tf.function(training_step(run, variables(run)))
    lr = tf.constant(run.recipe.lr)
    with tf.summary.create_file_writer(str(folder)).as_default():
        tf.summary.trace_on(graph=True)
        for number, (images, labels) in enumerate(first_batches(run, steps)):
            loss = step(images, labels, lr)
            if number == 0:
                tf.summary.trace_export(name=f"{run.config.arch}_step", step=0)
            tf.summary.scalar("loss", loss, step=number)
    operations = step.get_concrete_function(images, labels, lr).graph.get_operations()
    return Counter(operation.name.split("/")[0] for operation in operations if "/" in operation.name)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "tb")
    for scope, operations in write_graph(same_run("cnn"), folder / "cnn").items():
        print(f"{scope:24} {operations:4} operations")
    print(f"Open it with: tensorboard --logdir {folder}")
