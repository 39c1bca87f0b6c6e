"""Data sets and the loader that cuts them into batches."""

from lamina.data.collate import default_collate
from lamina.data.dataset import (
    Batch,
    BatchDataset,
    ConcatDataset,
    Dataset,
    SequenceDataset,
    Subset,
    TensorDataset,
    random_split,
)
from lamina.data.loader import DataLoader
from lamina.data.sampler import WeightedRandomSampler

__all__ = [
    "Batch",
    "BatchDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "SequenceDataset",
    "Subset",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "random_split",
]
