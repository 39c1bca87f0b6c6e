"""Data sets and the loader that cuts them into batches."""

from lamina.data.dataset import (
    Batch,
    BatchDataset,
    Dataset,
    SequenceDataset,
    Subset,
    TensorDataset,
    random_split,
)
from lamina.data.loader import DataLoader, default_collate

__all__ = [
    "Batch",
    "BatchDataset",
    "DataLoader",
    "Dataset",
    "SequenceDataset",
    "Subset",
    "TensorDataset",
    "default_collate",
    "random_split",
]
