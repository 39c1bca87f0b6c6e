import numpy as np
import pytest

from lamina import Tensor
from lamina.testing import check_grads


def test_what_is_no_tensor_is_named():
    x = Tensor(np.ones(3), requires_grad=True)
    with pytest.raises(TypeError, match=r"check_grads: args\[1\]: expected a Tensor, got ndarray"):
        check_grads(lambda x, y: x * y, x, np.ones(3))
    with pytest.raises(TypeError, match="check_grads: function: expected one Tensor, got tuple"):
        check_grads(lambda x: (x, x), x)
