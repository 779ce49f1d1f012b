"""A sampling that pauses: others have the network meanwhile, and it goes on as if it never had."""

from typing import Any

import gradio as gr
import pytest

from sd.checkpoints.model import Model
from sd.ui.denoise import tab as denoise
from sd.ui.denoise.job import Job, resumed, watch
from sd.ui.denoise.tree import Tree
from tests.helpers import denoising
from tests.helpers.denoising import (
    ENGLISH,
    another_day,
    equal,
    free,
    one_line,
    replayed,
    slowed,
    values,
)

pytestmark = pytest.mark.usefixtures("little", "quick")


def go_on(tree: Tree, steps: Any) -> list[Any]:
    """Return what the page shows while a paused sampling goes on."""
    return list(denoise.go_on(ENGLISH, tree, gr.EventData(None, {"steps": steps})))


def paused_page(steps: int = 12) -> Tree:
    """Return a page whose sampling pauses after its first step."""
    tree = Tree()
    for _ in denoise.run(ENGLISH, tree, **values(steps=steps)):
        denoise.pause(tree)
    return tree


def test_a_paused_job_lets_others_in_and_ends_as_without_a_pause(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, recipe = another_day(monkeypatch), denoising.recipe(steps=20)
    job, other = Job(recipe), Job(denoising.recipe(seed=9))
    job.pause()
    assert list(watch(job))[-1] and (job.paused, job.done, job.stopped) == (True, 1, False)
    film = job.film_json()
    assert film is not None and not film["running"] and len(film["frames"]) == 1
    assert free() and list(watch(other))[-1] and other.done == 6
    assert list(resumed(job, 3))[-1] and (job.paused, job.done) == (True, 4)
    assert list(resumed(job, None))[-1] and (job.paused, job.done) == (False, 20)
    assert equal(kept.steps(recipe), replayed(recipe, little))
    assert job.wait(0) and free()


def test_a_paused_job_that_is_stopped_has_ended() -> None:
    job = Job(denoising.recipe())
    job.pause()
    list(watch(job))
    assert not job.wait(0)
    job.stop()
    assert job.wait(0) and not job.paused and job.stopped and free()
    job.go_on()
    assert job.done == 1


def test_the_page_pauses_steps_and_goes_on(little: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(monkeypatch, little, 0.003)
    tree = paused_page()
    assert tree.job is not None and tree.job.paused
    done = tree.job.done
    node = tree.current
    assert node.done == done < 12 and node.filmed == done
    *_, shown = go_on(tree, 1)
    assert tree.job.done == done + 1 == tree.current.done
    assert shown["asked"] == denoise.PAUSED and f"paused at step {done + 1} of 12" in shown["line"]
    first, *_, shown = go_on(tree, 0)
    assert first == {"asked": denoise.RUNNING} and shown["asked"] == denoise.RESTING
    assert (tree.current.done, tree.current.filmed) == (12, 12) and len(tree.nodes) == 1
    with pytest.raises(gr.Error, match="nothing pauses here"):
        go_on(tree, 1)


def test_drawing_anew_ends_what_pauses() -> None:
    tree = paused_page()
    job = tree.job
    list(denoise.run(ENGLISH, tree, **values(seed=8)))
    assert job is not None and job.stopped and not job.paused
    assert tree.current.done == 6 and free()


@pytest.mark.parametrize("steps", [-1, 1.5, "1", None, True, 10**9])
def test_what_are_no_steps_is_told_in_a_line(steps: Any) -> None:
    tree = paused_page()
    with pytest.raises(gr.Error) as error:
        go_on(tree, steps)
    assert "steps" in one_line(error.value) and tree.job is not None and tree.job.paused
    denoise.pause("no tree")  # type: ignore[arg-type]
