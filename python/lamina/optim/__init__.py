"""Optimisers, schedules of the learning rate, clipping of gradients; names are PyTorch's."""

from lamina.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from lamina.optim.adaptive import Adadelta, Adagrad, RMSprop
from lamina.optim.clip import (
    clip_grad_norm_,
    clip_grad_value_,
)
from lamina.optim.compose import ChainedScheduler, SequentialLR
from lamina.optim.optimizer import (
    Optimizer,
)
from lamina.optim.plateau import ReduceLROnPlateau
from lamina.optim.schedule import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    StepLR,
)
from lamina.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "NAdam",
    "OneCycleLR",
    "Optimizer",
    "PolynomialLR",
    "RAdam",
    "RMSprop",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
]
