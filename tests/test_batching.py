"""Batches of a server: who is scored with whom, how long one waits, and how many may."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time

import numpy as np
import pytest
from serving import SHAPE, ask, form, pictures, save_two_classes, serving

from adjax import thresholds
from adjax.predict import loading
from adjax.predict.batch import predict_batch
from adjax.serve.batching import Batcher, QueueFull
from adjax.serve.model import Model

pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_two_classes(tmp_path_factory)


def test_no_size_of_batch_is_compiled_while_serving(saved):
    loaded = loading.load(saved)  # with an interval, as no other test of this process
    interval = thresholds.threshold_interval(loaded.detector.calibration_scores, 0.05)
    made, before = Model(loaded._replace(interval=interval), 3), predict_batch._cache_size()
    made.warm()
    assert made.sizes == [1, 2, 4]
    assert predict_batch._cache_size() == before + 3
    images = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), np.uint8)
    scores = [[one["score"] for one in made.score(images[:n])] for n in (1, 2, 3, 4)]
    assert predict_batch._cache_size() == before + 3
    for n, some in enumerate(scores, 1):
        np.testing.assert_allclose(some, scores[-1][:n], rtol=1e-5)


class Slow:
    """A model whose pictures are numbers, and which remembers its batches."""

    def __init__(self, name):
        self.name, self.batches, self.held = name, [], threading.Event()

    def score(self, images):
        self.held.wait()
        self.batches.append([int(image[0]) for image in images])
        return [{"score": (self.name, int(image[0]))} for image in images]


def numbers(*values):
    return [np.array([value]) for value in values]


def test_what_comes_while_a_batch_is_scored_is_the_next_batch_and_models_are_not_mixed():
    async def run():
        one, two = Slow("one"), Slow("two")
        batcher = Batcher(max_batch=3, max_queue=100, threads=1)
        first = batcher.submit(one, numbers(0))
        while batcher._ready:
            await asyncio.sleep(0.001)
        rest = [*batcher.submit(one, numbers(1, 2, 3, 4)), *batcher.submit(two, numbers(5, 6))]
        one.held.set(), two.held.set()
        said = [(await future).said["score"] for future in [*first, *rest]]
        await asyncio.to_thread(batcher.close)
        assert one.batches == [[0], [1, 2, 3], [4]]
        assert two.batches == [[5, 6]]
        assert said == [("one", k) for k in range(5)] + [("two", 5), ("two", 6)]
        assert batcher.pending == 0
        with pytest.raises(QueueFull):
            batcher.submit(one, numbers(7))

    asyncio.run(run())


def test_a_batch_waits_as_long_as_it_may_and_no_longer_when_full():
    async def run():
        model = Slow("one")
        model.held.set()
        batcher = Batcher(max_batch=2, max_queue=100, threads=1, delay_s=0.2)
        began = time.monotonic()
        first = batcher.submit(model, numbers(0))
        await asyncio.sleep(0.05)
        await asyncio.gather(*first, *batcher.submit(model, numbers(1)))
        assert time.monotonic() - began < 0.19
        await asyncio.gather(*batcher.submit(model, numbers(2)))
        await asyncio.to_thread(batcher.close)
        assert model.batches == [[0, 1], [2]]

    asyncio.run(run())


def test_a_batch_that_fails_is_an_error_of_its_own():
    async def run():
        model = Slow("one")
        model.held.set()
        score = model.score
        model.score = lambda images: score(images) if images[0][0] else 1 / 0
        batcher = Batcher(max_batch=1, max_queue=100, threads=1)
        bad, good = batcher.submit(model, numbers(0, 1))
        with pytest.raises(ZeroDivisionError):
            await bad
        assert (await good).said["score"] == ("one", 1)
        await asyncio.to_thread(batcher.close)

    asyncio.run(run())


def test_a_full_queue_is_said_and_empties(saved):
    with serving(saved, max_queue=2) as (port, state):
        held, model = threading.Event(), state.model
        score = model.score
        model.score = lambda images: held.wait() and score(images)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            taken = [pool.submit(ask, port, "POST", "/v1/score", content) for content in pictures(2)]
            while state.batcher.pending < 2:
                time.sleep(0.01)
            code, answer, headers = ask(port, "POST", "/v1/score", pictures(1)[0])
            assert code == 429
            assert headers["retry-after"] == "1"
            assert "2 pictures are waiting" in answer["error"]
            held.set()
            assert [one.result()[0] for one in taken] == [200, 200]
        assert ask(port, "POST", "/v1/score", pictures(1)[0])[0] == 200


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits(saved):
    with serving(saved, max_queue=2) as (port, _):
        body, kind = form([(f"{i}.png", content) for i, content in enumerate(pictures(9))])
        code, answer, _ = ask(port, "POST", "/v1/score", body, Content_Type=kind)
        assert code == 200
        assert [row["status"] for row in answer["images"]] == ["ok"] * 9
