"""Batches from the host: the right images, each gathered once and ahead of time."""

import jax
import numpy as np
import pytest

from adjax.prefetch import HostPrefetcher

IMAGES = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)
HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def rows(seed: int, steps: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 50, (2, steps, 3)).astype(np.int32)


def test_blocks_are_the_batches_of_their_steps_and_zeros_behind_the_end():
    feed, wanted = HostPrefetcher(IMAGES, 3, HERE), rows(0)
    feed.begin(wanted)
    for first, real in ((0, 3), (3, 3), (6, 1)):
        block = np.asarray(feed.block(first))
        assert block.shape == (2, 3, 3, 1, 1, 1)
        np.testing.assert_array_equal(block[:, :real], IMAGES[wanted[:, first : first + 3]])
        assert not block[:, real:].any()


@pytest.mark.parametrize(("steps", "blocks", "gathered"), [(7, 2, [0, 3, 6]), (7, 3, [0, 3, 6]), (6, 2, [0, 3])])
def test_each_block_is_gathered_once_and_ahead_and_none_behind_the_end(steps, blocks, gathered):
    feed, asked = HostPrefetcher(IMAGES, 3, HERE), []
    gather = feed._gather
    feed._gather = lambda rows, first: asked.append(first) or gather(rows, first)  # type: ignore[method-assign]
    feed.begin(rows(0, steps))
    [feed.block(3 * number) for number in range(blocks)]
    feed._pool.shutdown()  # what was asked for ahead is done, too
    assert asked == gathered


def test_a_new_epoch_forgets_what_the_last_one_sent_ahead():
    feed, later = HostPrefetcher(IMAGES, 3, HERE), rows(1)
    feed.begin(rows(0))
    feed.block(0)
    feed.begin(later)
    np.testing.assert_array_equal(np.asarray(feed.block(3)), IMAGES[later[:, 3:6]])
