"""Training: the loop, what may happen in it, and its record. Names are Keras's."""

from lamina.train.callbacks import (
    Callback,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    TerminateOnNaN,
)
from lamina.train.evaluation import evaluate, predict
from lamina.train.extras import EMA, CSVLogger, LearningRateScheduler, ReduceLROnPlateau
from lamina.train.history import History
from lamina.train.loop import Run, fit

__all__ = [
    "EMA",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "Run",
    "TerminateOnNaN",
    "evaluate",
    "fit",
    "predict",
]
