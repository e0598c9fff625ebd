import json
import random

import numpy as np
import torch

from swiftrl.rlhf.randomness import random_state, restore_random_state


def draw():
    return random.random(), random.gauss(0, 1), np.random.randn(3).tolist(), torch.randn(3).tolist()


def test_every_source_goes_on_where_it_was():
    device = torch.device("cpu")
    random.gauss(0, 1)  # leaves a second value in store
    np.random.randn()
    state = json.loads(json.dumps(random_state(device)))
    first = draw()
    assert draw() != first
    restore_random_state(state, device)
    assert draw() == first
