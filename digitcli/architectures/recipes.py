"""How each architecture is trained. Loads no torch, so that settings can be shown and checked at once."""

from __future__ import annotations

from dataclasses import replace

from digitcli.architectures.registry import TORCHVISION
from digitcli.config import Recipe

# What several share.
CONVOLUTIONS = Recipe(
    lr=4e-3, weight_decay=0.05, normalization="batch", augment=True, ema_decay=0.999, dtype="auto"
)
RESIDUAL = replace(CONVOLUTIONS, stochastic_depth=0.0)
TOKENS = Recipe(
    epochs=14,
    lr=2e-3,
    weight_decay=0.05,
    warmup=0.2,
    stochastic_depth=0.0,
    augment=True,
    ema_decay=0.999,
    max_grad_norm=1.0,
    dtype="auto",
)

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
    "mlp": Recipe(
        epochs=20,
        lr=2e-3,
        weight_decay=0.01,
        dropout=0.3,
        normalization="batch",
        augment=True,
        ema_decay=0.999,
    ),
    "fast": Recipe(
        epochs=1,
        batch_size=256,
        lr=0.01,
        beta1=0.7,
        beta2=0.9,
        schedule="linear",
        warmup=0.2,
        label_smoothing=0.1,
        normalization="batch",
        augment=True,
        dtype="auto",
    ),
    "robust": replace(
        CONVOLUTIONS,
        epochs=60,
        dropout=0.2,
        elastic=0.5,
        random_lines=0.25,
        random_convolution=0.25,
        random_erasing=0.25,
    ),
    "lenet1": Recipe(epochs=15, lr=5e-3, augment=True, ema_decay=0.999),
    "lenet5": Recipe(epochs=15, lr=3e-3, weight_decay=0.01, augment=True, ema_decay=0.999),
    "cnn": Recipe(
        epochs=6, lr=2e-3, weight_decay=0.05, dropout=0.5, augment=True, ema_decay=0.999, dtype="auto"
    ),
    "resnet": replace(RESIDUAL, epochs=16),
    "allconv": replace(CONVOLUTIONS, epochs=8, dropout=0.1),
    "vgg": replace(CONVOLUTIONS, epochs=8, dropout=0.1),
    "resnet14": replace(RESIDUAL, epochs=12),
    "wide_resnet": replace(RESIDUAL, epochs=8, dropout=0.1),
    "squeeze_excite": replace(RESIDUAL, epochs=12),
    "mobilenet": replace(CONVOLUTIONS, epochs=12),
    "convmixer": replace(RESIDUAL, epochs=12),
    "vit": replace(TOKENS, optimizer="muon", lr=1e-2, warmup=0.1, dropout=0.0),
    "mixer": replace(TOKENS, dropout=0.0),
    "lstm": Recipe(
        epochs=15,
        lr=3e-3,
        weight_decay=0.01,
        dropout=0.2,
        augment=True,
        ema_decay=0.999,
        max_grad_norm=1.0,
        dtype="auto",
    ),
    "capsnet": Recipe(epochs=8, lr=2e-3, loss="margin", augment=True, ema_decay=0.999, dtype="auto"),
    "tiny": replace(CONVOLUTIONS, epochs=40, lr=0.01),
    "micro": Recipe(epochs=40, lr=0.02, normalization="batch", ema_decay=0.999, dtype="auto"),
    "hog": Recipe(epochs=20, lr=3e-3, augment=True),
    TORCHVISION: replace(CONVOLUTIONS, epochs=4, lr=1e-3, normalization=None),
    "reader": Recipe(
        epochs=40,
        batch_size=32,
        optimizer="muon",
        lr=3e-3,
        weight_decay=0.02,
        warmup=0.02,
        loss="ctc",
        dropout=0.1,
        stochastic_depth=0.0,
        normalization="batch",
        ema_decay=0.999,
        max_grad_norm=2.0,
        dtype="auto",
    ),
}
