"""Writes network.pth, the checkpoint of part 2: PyTorch trains a 4-2-1 network and saves its state_dict.

    python -m pullback.demo.make_checkpoint

Run once; the file is part of the package. It says from four measurements of a car (`FEATURES`, standardised) whether it
was built in the USA.
"""

from __future__ import annotations

from pathlib import Path

from pullback.data import auto_mpg
from pullback.demo.network import FEATURES
from pullback.demo.rows import standardise

PATH = Path(__file__).with_name("network.pth")


def main() -> None:
    import numpy as np
    import torch
    from torch import nn

    class Network(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(4, 2)
            self.output = nn.Linear(2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.output(torch.sigmoid(self.hidden(x))))

    torch.manual_seed(1)
    table = auto_mpg()
    rows = table.matrix(*FEATURES, "origin")
    rows = rows[~np.isnan(rows).any(1)]
    x = torch.tensor(standardise(rows[:, :-1]), dtype=torch.float32)
    t = torch.tensor(rows[:, -1:] == 1, dtype=torch.float32)
    model = Network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, weight_decay=1e-3)
    for _ in range(600):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy(model(x), t)
        loss.backward()
        optimizer.step()
    right = ((model(x) > 0.5) == (t > 0.5)).float().mean()
    torch.save(model.state_dict(), PATH)
    print(f"{PATH}: loss {loss.item():.4f}, {right:.1%} of {len(x)} cars right")


if __name__ == "__main__":
    main()
