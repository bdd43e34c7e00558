"""Chapter 10. One data set in the labels of another, to measure a model on what both know."""

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from ssd_lite.data import Sample, Samples


class Relabeled(Dataset):
    """A data set in a model's labels; objects of classes that the model does not know are left out.

    Args:
        data: the data set.
        theirs: its classes; label i + 1 means ``theirs[i]``.
        ours: the model's.
    """

    def __init__(self, data: Samples, theirs: Sequence[str], ours: Sequence[str]):
        numbers = {name: label for label, name in enumerate(ours, start=1)}
        self.data = data
        self.labels = torch.tensor([0, *(numbers.get(name, 0) for name in theirs)])

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        sample = self.data[index]
        labels = self.labels[sample.labels]
        known = labels > 0
        return sample._replace(
            boxes=sample.boxes[known], labels=labels[known], difficult=sample.difficult[known]
        )
