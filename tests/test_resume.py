"""Checkpoints: a run that is killed ends where the undisturbed one does; what does not fit or is damaged is refused."""

from __future__ import annotations

import gc
import random
import re
import shutil
import signal
import threading
import time
import warnings
from pathlib import Path

import child_resume
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import daily
from training import assert_equal, read, start, trained

from adjax import loop, surface, train
from adjax.checkpoint import KEEP, Checkpoints, MismatchError
from adjax.sharding import to_host

# Where orbax can't read an array it leaves coroutines behind.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def _standing():
    """What other tests have left is not looked through again after each of these."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def collected():
    """What they leave is found here, not in whichever test comes when the collector runs."""
    yield
    gc.collect()


FACTS = {"batch_size": 16, "data": "5e1f", "shape": (8, 8, 1), "rate": 0.1}


@pytest.fixture(scope="module")
def program():
    return child_resume.program()


@pytest.fixture(scope="module")
def undisturbed(program):
    return to_host(trained(program, child_resume.STEPS))


def saved(folder, program, steps: int, **options) -> train.State:
    with Checkpoints(folder, FACTS) as checkpoints:
        return to_host(loop.train(program, steps, checkpoints, **options))


def steps_in(folder: Path) -> list[int]:
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


def test_killed_it_ends_the_same(tmp_path, undisturbed, capsys):
    """kill −9 once, then on in this process to the end."""
    folder, end = tmp_path / "checkpoints", tmp_path / "end.npz"
    process = start("child_resume.py", folder, end)
    try:
        lines = [line for _, line in zip(range(9), process.stdout, strict=False)]
        time.sleep(0.01)
        process.kill()
        lines.append(process.communicate(timeout=120)[0])
    finally:
        process.kill()
    output = "".join(lines)
    assert process.returncode == -signal.SIGKILL, output
    assert "from 0" in output
    assert not end.exists()
    child_resume.live(folder, end)
    output = capsys.readouterr().out
    assert 6 <= int(re.search(r"from (\d+)", output)[1]) < child_resume.STEPS
    assert f"end at {child_resume.STEPS}, received None" in output
    assert_equal(read(end, undisturbed), undisturbed)
    assert sorted(p.name for p in folder.iterdir()) == ["59", "60"], "half-written folders stay"


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_the_same(tmp_path, undisturbed):
    """kill −9 and SIGTERM at random moments, in and between saves, until a life is left alone to the end."""
    rng = random.Random(7)
    folder, end = tmp_path / "checkpoints", tmp_path / "end.npz"
    previous, resumed_from = 0, []
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, None):
        process = start("child_resume.py", folder, end)
        steps, lines, printed = 2 * rng.randint(1, 6), [], 0
        try:
            for line in process.stdout:
                lines.append(line)
                printed += 2 * line.startswith("step")
                if number is not None and printed >= steps:
                    time.sleep(rng.uniform(0, 0.3))
                    process.send_signal(number)
                    break
            lines.append(process.communicate(timeout=120)[0])
        finally:
            process.kill()
        output = "".join(lines)
        first = re.search(r"from (\d+)", output)
        assert first, output
        resumed_from.append(int(first[1]))
        assert resumed_from[-1] >= previous, output
        assert process.returncode == (-9 if number == signal.SIGKILL else 0), output
        if number == signal.SIGTERM:
            stopped = re.search(r"end at (\d+), received 15", output)
            assert stopped, output
            assert steps_in(folder)[-1] == int(stopped[1])
        previous = max([*steps_in(folder), 0])
    assert len(set(resumed_from)) >= 4, resumed_from
    assert f"end at {child_resume.STEPS}, received None" in output
    assert_equal(read(end, undisturbed), undisturbed)
    assert sorted(p.name for p in folder.iterdir()) == ["59", "60"], "half-written folders stay"


def test_resumed_within_a_process_it_ends_the_same(tmp_path, program, undisturbed):
    """From checkpoints in the middle of an epoch; restored arrays are donated and trained on at once."""
    for steps in (5, 9, child_resume.STEPS):
        resumed = []
        state = saved(tmp_path, program, steps, checkpoint_every=1000, resumed=resumed.append)
        assert state.step == steps
    assert resumed == [9]
    assert_equal(state, undisturbed)


def test_restored_arrays_are_the_devices_own(tmp_path, program):
    """Donation must not write into memory that orbax or NumPy still holds."""
    saved(tmp_path, program, 4)
    with Checkpoints(tmp_path, FACTS) as checkpoints:
        states = [checkpoints.restore(program.init(program.table)) for _ in range(2)]
        kept = to_host(states[1])
        for _ in train.epochs(program, states[0], 12):
            pass
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(states[0].members))
        assert_equal(states[1], kept)
        shardings = jax.tree.map(lambda x: x.sharding, program.init(program.table))
        assert jax.tree.all(jax.tree.map(lambda x, s: x.sharding == s, states[1], shardings))


def test_it_saves_when_told_and_keeps_the_newest(tmp_path, program):
    written = []

    class Watched(Checkpoints):
        def save(self, step, state):
            super().save(step, state)
            written.append(step)
            assert (tmp_path / str(step)).is_dir(), "save returned before the checkpoint was there"

    with Watched(tmp_path, FACTS) as checkpoints:
        loop.train(program, 13, checkpoints, checkpoint_every=5)
        assert written == [5, 11, 13]  # ends of dispatches of two steps, three an epoch
        assert steps_in(tmp_path) == written[-KEEP:]
        loop.train(program, 13, checkpoints)
        assert written == [5, 11, 13]


def test_it_saves_whatever_it_is_told_to(tmp_path, program):
    """A step before the newest too, which orbax would leave out; a step that is there stays as it is."""
    first, second = (program.init(program.table) for _ in range(2))
    second = second._replace(step=second.step + 7)
    with Checkpoints(tmp_path, FACTS) as checkpoints:
        checkpoints.save(9, first)
        checkpoints.save(4, first)
        assert steps_in(tmp_path) == [4, 9]
        checkpoints.save(9, second)
        assert int(checkpoints.restore(first).step) == 0


def test_a_checkpoint_is_whole_when_save_returns(tmp_path, program):
    """What is on the disk at that moment, copied away, restores."""
    folder = tmp_path / "run"
    with Checkpoints(folder, FACTS) as checkpoints:
        state = program.init(program.table)
        for step, state, _ in train.epochs(program, state, 4):  # noqa: B020
            checkpoints.save(step, state)
            shutil.copytree(folder, tmp_path / f"copy{step}")
    for step in (2, 3, 4):
        with Checkpoints(tmp_path / f"copy{step}", FACTS) as copy, warnings.catch_warnings():
            warnings.simplefilter("error")
            assert int(copy.restore(program.init(program.table)).step) == step


def test_metrics_are_reported_in_order_and_none_is_lost(program):
    reports = []
    loop.train(program, 13, report=lambda step, metrics: reports.append((step, metrics["loss"].shape)))
    assert reports == [(s, (2,)) for s in (2, 3, 5, 6, 8, 9, 11, 12, 13)]


@pytest.mark.parametrize("number", [*daily([signal.SIGTERM, signal.SIGINT], signal.SIGTERM)])
def test_a_signal_stops_and_saves(tmp_path, program, number):
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with Checkpoints(tmp_path, FACTS) as checkpoints, loop.StopSignal() as stop:

        def report(step, metrics):
            if step == 6:
                signal.raise_signal(number)

        state = loop.train(program, 60, checkpoints, checkpoint_every=1000, stop=stop, report=report)
        assert stop.received == number
        assert 6 < state.step < 12
        assert steps_in(tmp_path) == [state.step]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({**FACTS, "batch_size": 32}, ["batch_size is 32 here, 16 there"]),
        (
            {**FACTS, "data": "0000", "rate": 0.3},
            ['data is "0000" here, "5e1f" there', "rate is 0.3 here, 0.1 there"],
        ),
        ({**FACTS, "model": "vgg16"}, ['model is "vgg16" here, unknown there']),
        ({k: v for k, v in FACTS.items() if k != "rate"}, ["rate is unknown here, 0.1 there"]),
        ({**FACTS, "shape": [8, 8, 3]}, ["shape is [8, 8, 3] here, [8, 8, 1] there"]),
    ],
)
def test_another_runs_checkpoint_is_refused_naming_every_difference(tmp_path_factory, program, facts, named):
    folder = tmp_path_factory.getbasetemp() / "facts"
    if not folder.exists():
        saved(folder, program, 2)
    with Checkpoints(folder, facts) as checkpoints:
        with pytest.raises(MismatchError) as error:
            checkpoints.restore(program.init(program.table))
        for difference in named:
            assert difference in str(error.value)
        assert str(error.value).count(" here, ") == len(named)


def test_another_state_is_refused_naming_its_leaves(tmp_path, program):
    saved(tmp_path, program, 2)
    state = program.init(program.table)
    more = jax.tree.map(lambda x: jax.device_put(np.concatenate([x, x[:1]]), x.sharding), state.members)
    other = state._replace(members=more)
    with Checkpoints(tmp_path, FACTS) as checkpoints:
        with pytest.raises(MismatchError, match=r"'centers'\] is \"float32\[3,10,16\]\" here, \"float32\[2,10,16\]\""):
            checkpoints.restore(other)
        bare = state._replace(members={**state.members, "extra": jnp.zeros(2)})
        with pytest.raises(MismatchError, match=r"extra'\] is \"float32\[2\]\" here, unknown there"):
            checkpoints.restore(bare)


def test_a_refusal_says_how_to_go_on(tmp_path, program):
    """Each surface in its own words; what was not given is unset."""
    saved(tmp_path, program, 2)
    with Checkpoints(tmp_path, {**FACTS, "rate": None}) as checkpoints:
        state = program.init(program.table)
        with pytest.raises(MismatchError, match=r"rate is unset here, 0.1 there. name another directory, or delete"):
            checkpoints.restore(state)
        with surface.command_line(), pytest.raises(MismatchError, match=r"--out FOLDER .*, --no-resume starts it"):
            checkpoints.restore(state)


def test_closed_before_anything_was_saved_it_has_cleared_away(tmp_path, monkeypatch):
    """Orbax's thread, going on as the interpreter shut down, had printed a traceback after the error of the run."""
    from orbax.checkpoint._src.path import temporary_paths

    real, cleared = temporary_paths.all_temporary_paths, threading.Event()

    async def slow(*arguments, **options):
        time.sleep(0.2)
        found = await real(*arguments, **options)
        cleared.set()
        return found

    monkeypatch.setattr(temporary_paths, "all_temporary_paths", slow)
    with pytest.raises(ValueError, match="of the run"), Checkpoints(tmp_path, FACTS):
        raise ValueError("of the run")
    assert cleared.is_set()


def test_facts_that_are_no_json_are_refused(tmp_path):
    with pytest.raises(TypeError, match="JSON"):
        Checkpoints(tmp_path, {"rows": np.arange(3)})


def files(checkpoint: Path) -> list[Path]:
    return sorted(p for p in checkpoint.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def two(tmp_path_factory, program):
    """A folder with the checkpoints of steps 2 and 4, and both states."""
    folder = tmp_path_factory.mktemp("two")
    states = {step: saved(folder, program, step, checkpoint_every=1000) for step in (2, 5)}
    return folder, states


def damage_and_restore(two, tmp_path, program, harm):
    """Restores a copy whose newest checkpoint was harmed: the state and what was warned of."""
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(two[0], folder)
    harm(folder / "5")
    with Checkpoints(folder, FACTS) as checkpoints, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state = to_host(checkpoints.restore(program.init(program.table)))
    return state, [str(w.message) for w in caught if "checkpoint of step" in str(w.message)]


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.parametrize("bits", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_never_trained_on(two, tmp_path, program, bits):
    """So many bits of each file of a checkpoint: either nothing that counts was hit, or the one before is taken."""
    rng, fell_back = random.Random(3), {}
    for number in range(len(files(two[0] / "5"))):
        for _ in range(bits):
            bit = rng.randrange(10**6)
            harm = lambda path, n=number, b=bit: flip(files(path)[n], b)  # noqa: E731
            state, messages = damage_and_restore(two, tmp_path, program, harm)
            name = files(two[0] / "5")[number].name
            if messages:
                assert "checkpoint of step 5 is damaged" in messages[0]
            fell_back.setdefault(name, []).append(bool(messages))
            assert_equal(state, two[1][2 if messages else 5])
    assert any(map(any, fell_back.values()))
    # The file with the numbers: every bit of its data counts.
    largest = max(files(two[0] / "5"), key=lambda p: p.stat().st_size)
    assert largest.parent.name == "d"
    assert any(fell_back[largest.name]), fell_back


def test_a_description_that_orbax_refuses_is_damage(two, tmp_path, program):
    """A key of which a bit is another: orbax would open no checkpoint of the run."""

    def harm(folder):
        path = folder / "_CHECKPOINT_METADATA"
        path.write_bytes(path.read_bytes().replace(b"init_timestamp_nsecs", b"init_timestamp_nsec{"))

    state, messages = damage_and_restore(two, tmp_path, program, harm)
    assert_equal(state, two[1][2])
    assert "checkpoint of step 5 is damaged, its facts can't be read" in messages[0]
    folder = tmp_path / "copy"
    harm(folder / "2")
    for _ in range(2):  # what is put aside is not forgotten
        with Checkpoints(folder, FACTS) as checkpoints, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ValueError, match=r"are damaged \(steps \[5, 2\]\)"):
                checkpoints.restore(program.init(program.table))
    with Checkpoints(folder, FACTS) as checkpoints:
        checkpoints.save(1, program.init(program.table))
    assert {path.name for path in folder.iterdir() if "damaged" in path.name} == set()


@pytest.mark.parametrize("name", ["facts", "seal"])
def test_changed_facts_are_damage_not_a_mismatch(two, tmp_path, program, name):
    def harm(path):
        file = path / "_CHECKPOINT_METADATA"
        text = file.read_text()
        if name == "facts":
            assert '"batch_size": 16' in text
            file.write_text(text.replace('"batch_size": 16', '"batch_size": 17'))
        else:
            file.write_text(re.sub(r'"seal": "....', '"seal": "0000', text))

    state, messages = damage_and_restore(two, tmp_path, program, harm)
    assert "its facts are not as written" in messages[0]
    assert_equal(state, two[1][2])


@pytest.mark.slow
def test_a_missing_file_is_damage(two, tmp_path, program):
    for number in range(len(files(two[0] / "5"))):
        state, messages = damage_and_restore(two, tmp_path, program, lambda p, n=number: files(p)[n].unlink())
        assert_equal(state, two[1][2 if messages else 5])
        assert all(len(message) < 500 for message in messages)


def test_all_damaged_is_an_error(two, tmp_path, program):
    def harm(path):
        for step in ("2", "5"):
            (path.parent / step / "_CHECKPOINT_METADATA").write_text("{}")

    with pytest.raises(ValueError, match=r"all checkpoints in .*copy are damaged \(steps \[5, 2\]\): delete it"):
        damage_and_restore(two, tmp_path, program, harm)


def test_after_a_damaged_checkpoint_new_ones_are_kept(two, tmp_path, program):
    """The damaged newest must not stop the saves before its step, stay and be trusted, or push out whole ones."""
    folder = tmp_path / "run"
    shutil.copytree(two[0], folder)
    (folder / "5" / "_CHECKPOINT_METADATA").write_text("{}")
    with pytest.warns(UserWarning, match="checkpoint of step 5 is damaged"):
        saved(folder, program, 3)
    assert steps_in(folder) == [2, 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state = saved(folder, program, 5, checkpoint_every=1000)
    assert steps_in(folder) == [3, 5]
    assert_equal(state, two[1][5])


def test_the_same_step_is_written_anew_where_it_was_damaged(two, tmp_path, program):
    folder = tmp_path / "run"
    shutil.copytree(two[0], folder)
    (folder / "5" / "_CHECKPOINT_METADATA").write_text("{}")
    with pytest.warns(UserWarning, match="damaged"):
        saved(folder, program, 5, checkpoint_every=1000)
    with Checkpoints(folder, FACTS) as checkpoints, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_equal(checkpoints.restore(program.init(program.table)), two[1][5])


def test_half_written_checkpoints_are_cleared_away(two, tmp_path, program):
    folder = tmp_path / "run"
    shutil.copytree(two[0], folder)
    shutil.copytree(folder / "5", folder / "7.orbax-checkpoint-tmp")
    with Checkpoints(folder, FACTS) as checkpoints:
        assert int(checkpoints.restore(program.init(program.table)).step) == 5
    assert sorted(p.name for p in folder.iterdir()) == ["2", "5"]


def test_an_empty_folder_has_nothing_to_restore(tmp_path, program):
    with Checkpoints(tmp_path / "new", FACTS) as checkpoints:
        assert checkpoints.restore(program.init(program.table)) is None


def test_stop_signals_belong_to_the_main_thread():
    """Python's own rule and words; the handlers stay as they were."""
    before, errors = signal.getsignal(signal.SIGTERM), []

    def enter():
        try:
            loop.StopSignal().__enter__()
        except ValueError as error:
            errors.append(str(error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert "main thread" in errors[0]
    assert signal.getsignal(signal.SIGTERM) is before
