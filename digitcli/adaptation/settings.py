"""The settings of an adaptation. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from digitcli.errors import UsageError

# The architecture that is adapted: it reads the ink of lines.
INK_READER = "reader"
# The parts into which the pictures are divided: a network of each learns from four fifths of them.
FOLDS = 5
# The fewest pictures that can be read. With fewer, no test can tell an improvement from chance, and each fold
# has only one or two pictures. Chosen by hand.
LEAST_PICTURES = 10
# The passes over the labelled lines, at most. Chosen by cross-validation up to this number.
EPOCHS = 12
# The passes over the lines of pictures without labels, where there are too few labels to choose the number.
# Nothing tells when to stop then: the likelihood of targets that the network gave itself only rises. So it is
# a third of the most with labels, chosen by hand.
SELF_TRAINING_EPOCHS = 4
# The steps of an epoch: a pass over the labelled lines if it has so many. More would take too long for a
# person who waits, fewer would change the network too little to be told from chance.
LEAST_STEPS, MOST_STEPS = 20, 40
BATCH_SIZE = 32
# The share of composed lines in a batch, so that the network does not forget (Robins, "Catastrophic
# forgetting, rehearsal and pseudorehearsal", 1995).
COMPOSED_SHARE = 0.5
# The share of the peak learning rate of the recipe. It was chosen on 100 pictures that were composed of
# digits by Polish hands, with noise: AdamW with a rate of 3e-4 learned as fast and forgot more (after 4
# epochs it read 90.0 % of 600 composed lines, in place of 91.0 %).
LR_SHARE = 0.1
# The networks that a cross-validation keeps in memory, one of each fold after each epoch: about 1.5 GB.
MOST_NETWORKS = 600


@dataclass(frozen=True)
class FineTuning:
    """The settings of fine-tuning.

    epochs: the most epochs.
    seed: the random seed.
    lr_share: the share of the recipe's peak learning rate.
    composed_share: the share of composed lines in a batch.
    """

    epochs: int = EPOCHS
    seed: int = 0
    lr_share: float = LR_SHARE
    composed_share: float = COMPOSED_SHARE

    def steps_of_epoch(self, lines: int) -> int:
        """Return the steps of an epoch over a number of labelled lines."""
        labelled = BATCH_SIZE - round(self.composed_share * BATCH_SIZE)
        return min(MOST_STEPS, max(LEAST_STEPS, -(-lines // labelled)))


def check_settings(settings: FineTuning, folds: int) -> None:
    """Check the settings of an adaptation.

    Raises:
        UsageError: a value is out of range.
    """
    if folds < 2:
        raise UsageError(f"--folds is {folds}.", "Give 2 or more.")
    if settings.epochs < 1:
        raise UsageError(f"--epochs is {settings.epochs}.", "Give 1 or more.")
    if settings.epochs * folds > MOST_NETWORKS:
        cause = f"--epochs {settings.epochs} with --folds {folds} keeps {settings.epochs * folds:,} networks."
        raise UsageError(cause, f"Give fewer epochs or folds: at most {MOST_NETWORKS} fit into memory.")
