"""Data for training: datasets, loaders of batches, and the two tables that come with pullback."""

from pullback.data.bar import progress
from pullback.data.datasets import Table, auto_mpg, pima_diabetes
from pullback.data.loader import DataLoader, default_collate, default_convert
from pullback.data.samplers import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from pullback.data.samples import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset, random_split

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "Table",
    "TensorDataset",
    "WeightedRandomSampler",
    "auto_mpg",
    "default_collate",
    "default_convert",
    "pima_diabetes",
    "progress",
    "random_split",
]
