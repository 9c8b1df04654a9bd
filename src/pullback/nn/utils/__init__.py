"""Tools around modules and their parameters, under PyTorch's names."""

from pullback.nn.utils import parametrizations as parametrizations
from pullback.nn.utils import parametrize as parametrize
from pullback.nn.utils import rnn as rnn
from pullback.nn.utils.hooked_norms import *
from pullback.nn.utils.parameters import *
