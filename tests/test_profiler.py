import numpy as np

import lamina
from lamina import Tensor, ops


def test_profiles_lie_inside_each_other():
    x = Tensor(np.ones((4, 4), np.float32))
    with lamina.profile() as outer:
        ops.relu(x)
        with lamina.profile() as inner:
            ops.softmax(x)
        with lamina.profile():
            ops.softmax(x)
        x @ x
    inside, total = inner.kernels, outer.kernels
    (name,) = inside
    assert inside[name].calls == 1
    assert total[name].calls == 2
    assert len(total) == 3
    assert total[name].seconds >= inside[name].seconds
    with lamina.profile() as after:
        pass
    assert not after.kernels
