"""Neural networks, under PyTorch's names: modules, losses, their functions and initialisers."""

from pullback.nn import functional as functional
from pullback.nn import init as init
from pullback.nn import utils as utils
from pullback.nn.activation import *
from pullback.nn.attention import *
from pullback.nn.bag import *
from pullback.nn.classifiers import *
from pullback.nn.containers import *
from pullback.nn.convolution import *
from pullback.nn.dropout import *
from pullback.nn.layers import *
from pullback.nn.loss import *
from pullback.nn.module import Module as Module
from pullback.nn.normalization import *
from pullback.nn.padding import *
from pullback.nn.parameter import Buffer as Buffer
from pullback.nn.parameter import Parameter as Parameter
from pullback.nn.pooling import *
from pullback.nn.rnn import *
from pullback.nn.transformer import *
from pullback.nn.upsampling import *
