"""How each architecture is trained. Loads no torch, so that settings can be shown and checked at once."""

from __future__ import annotations

from digitcli.config import Recipe

RECIPES = {
    "softmax": Recipe(epochs=20, lr=1e-3),
    "sigmoid_mlp": Recipe(
        epochs=30,
        batch_size=10,
        optimizer="sgd",
        lr=0.5,
        schedule="constant",
        warmup=0.0,
        loss="squared_error",
    ),
    "mlp": Recipe(epochs=20, lr=2e-3, weight_decay=0.01, dropout=0.3, augment=True, ema=0.999),
    "fast": Recipe(
        epochs=1,
        batch_size=256,
        lr=0.01,
        beta1=0.7,
        beta2=0.9,
        schedule="linear",
        warmup=0.2,
        label_smoothing=0.1,
        augment=True,
        dtype="bfloat16",
    ),
    "lenet5": Recipe(epochs=15, lr=3e-3, weight_decay=0.01, augment=True, ema=0.999),
    "cnn": Recipe(epochs=6, lr=2e-3, weight_decay=0.05, dropout=0.5, augment=True, ema=0.999, dtype="auto"),
    "resnet": Recipe(epochs=16, lr=4e-3, weight_decay=0.05, augment=True, ema=0.999, dtype="auto"),
    "reader": Recipe(
        epochs=40,
        batch_size=32,
        optimizer="muon",
        lr=3e-3,
        weight_decay=0.02,
        warmup=0.02,
        loss="ctc",
        dropout=0.1,
        ema=0.999,
        clip=2.0,
        dtype="bfloat16",
    ),
}
