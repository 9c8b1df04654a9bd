"""Everything layers compute, as functions: `from pullback.nn import functional as F`, with PyTorch's names."""

from pullback.nn.functional.activation import *
from pullback.nn.functional.attention import *
from pullback.nn.functional.bag import *
from pullback.nn.functional.channels import *
from pullback.nn.functional.classes import *
from pullback.nn.functional.convolution import *
from pullback.nn.functional.ctc import *
from pullback.nn.functional.distance import *
from pullback.nn.functional.dropout import *
from pullback.nn.functional.layer import *
from pullback.nn.functional.loss import *
from pullback.nn.functional.margins import *
from pullback.nn.functional.padding import *
from pullback.nn.functional.pooling import *
from pullback.nn.functional.sampling import *
