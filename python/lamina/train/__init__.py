"""Training: the loop, what may happen in it, and its record. Names are Keras's."""

from lamina.train.callbacks import (
    Callback,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    TerminateOnNaN,
)
from lamina.train.evaluation import evaluate, predict
from lamina.train.history import History
from lamina.train.loop import Run, fit

__all__ = [
    "Callback",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "ModelCheckpoint",
    "Run",
    "TerminateOnNaN",
    "evaluate",
    "fit",
    "predict",
]
