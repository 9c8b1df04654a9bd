"""`pb.distributions`: probability distributions under PyTorch's names, differentiable in their parameters.

Densities, moments, entropies and divergences are functions of the parameters like any other; where `has_rsample`, so
are samples. Under `vmap` all elements share the noise; `pb.manual_seed` or `sample(..., generator=...)` fixes it.
"""

from pullback.distributions import constraints as constraints
from pullback.distributions import transforms as transforms
from pullback.distributions.categorical import *
from pullback.distributions.constraint_registry import *
from pullback.distributions.continuous import *
from pullback.distributions.discrete import *
from pullback.distributions.distribution import Distribution as Distribution
from pullback.distributions.gamma import *
from pullback.distributions.kl import *
from pullback.distributions.mixture import *
from pullback.distributions.multivariate_normal import LowRankMultivariateNormal as LowRankMultivariateNormal
from pullback.distributions.multivariate_normal import MultivariateNormal as MultivariateNormal
from pullback.distributions.normal import *
from pullback.distributions.relaxed import *
from pullback.distributions.transformed import *
from pullback.distributions.transforms import *
from pullback.distributions.von_mises import *
