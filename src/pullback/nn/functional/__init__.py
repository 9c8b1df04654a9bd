"""Everything layers compute, as functions: `from pullback.nn import functional as F`, with PyTorch's names."""

from pullback.nn.functional.activation import *
from pullback.nn.functional.layer import *
from pullback.nn.functional.loss import *
