"""Neural networks, under PyTorch's names: modules, losses, their functions and initialisers."""

from pullback.nn import functional as functional
from pullback.nn import init as init
from pullback.nn import utils as utils
from pullback.nn.activation import *
from pullback.nn.containers import *
from pullback.nn.layers import *
from pullback.nn.loss import *
from pullback.nn.module import Module as Module
from pullback.nn.parameter import Buffer as Buffer
from pullback.nn.parameter import Parameter as Parameter
