"""Plain Python functions, run so that NumPy's, SciPy's and the math module's functions in them reach pullback."""

from pullback.transforms.program.run import PROVIDERS as PROVIDERS
from pullback.transforms.program.run import as_program as as_program
from pullback.transforms.program.run import call as call
from pullback.transforms.program.run import copied as copied
from pullback.transforms.program.run import standing_in as standing_in
from pullback.transforms.program.stand_ins import FunctionStandIn as FunctionStandIn
from pullback.transforms.program.stand_ins import holds_tensor as holds_tensor
