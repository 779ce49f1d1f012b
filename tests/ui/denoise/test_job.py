"""One sampling at work: what it makes, how it ends, what is kept of it, and the tree of a page."""

import math
import random
import time
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest
import torch

from sd.checkpoints.model import Model
from sd.common.validation import InputError
from sd.diffusion.sampling import SampleStep
from sd.generation.recipe import DEEPEST, Branch, Recipe, Start
from sd.runs import Home
from sd.ui import api, models
from sd.ui.denoise import tab as denoise
from sd.ui.denoise.job import Job, StepCache, watch
from sd.ui.denoise.tree import MOST_NODES, Tree, title
from tests.helpers import denoising
from tests.helpers.denoising import (
    ENGLISH,
    another_day,
    equal,
    free,
    reached,
    replayed,
    slowed,
    values,
)

pytestmark = pytest.mark.usefixtures("little", "quick")
PLAIN = Recipe("little", count=2, steps=6, seed=5)


def ran(job: Job) -> Job:
    """Run a job to its end, as the page does."""
    for _ in watch(job):
        pass
    return job


@pytest.mark.parametrize("name", ["noise", "seeds", "picture", "mask", "branch"])
def test_a_job_makes_what_the_package_makes(
    little: Model, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kept, recipe = another_day(monkeypatch), denoising.beginnings()[name]
    job, expected = ran(Job(recipe, "a name")), replayed(recipe, little)
    assert equal(kept.steps(recipe), expected)
    assert job.last is not None and torch.equal(job.last.x_t, expected[-1].x_t)
    assert (job.done, job.stopped, job.error) == (recipe.steps, False, None)
    film = job.film_json("told")
    assert film is not None
    assert (film["label"], film["line"], film["running"]) == ("a name", "told", False)
    assert [frame["i"] for frame in film["frames"]] == [step.i for step in expected]
    first = kept.before(recipe, 1)
    assert first is not None and film["count"] == recipe.count == len(first)


def test_no_look_comes_just_before_the_next_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sd.ui.denoise.job.INTERVALS", (0.25, 2.0))
    waited: list[float] = []
    job = Job(PLAIN)
    monkeypatch.setattr(job._news, "wait", waited.append)
    job.wait_news()
    assert len(waited) == 1 and waited[0] > 2.5


def test_a_job_that_is_not_seen_keeps_its_end_alone(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, recipe = another_day(monkeypatch), denoising.recipe()
    job = ran(Job(recipe, filmed=False))
    assert job.film_json() is None and kept.steps(recipe) == []
    assert job.last is not None and torch.equal(job.last.x_t, replayed(recipe, little)[-1].x_t)


def test_a_yielding_job_lets_others_in_between_and_makes_the_same(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, other = denoising.recipe(steps=40), denoising.recipe(steps=3, seed=9)
    expected = replayed(plain, little)[-1].x_t
    slowed(monkeypatch, little, 0.003)
    patient = Job(plain, yielding=True)
    patient.start()
    while not patient.done:
        time.sleep(0.001)
    quick = ran(Job(other))
    assert quick.done == 3 and patient.done < 40
    with models.turn():  # so do those who ask the network on a thread of their own
        assert patient.done < 40
    assert patient.wait(denoising.PATIENCE) and patient.error is None
    assert patient.last is not None and torch.equal(patient.last.x_t, expected)


def test_a_yielding_job_ends_when_asked_to_and_tells_what_it_could_not_do(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, little, 0.003, fails_at=3)
    with pytest.raises(FloatingPointError):
        ran(Job(denoising.recipe(steps=40), yielding=True))
    slowed(monkeypatch, little, 0.003)
    job = Job(denoising.recipe(steps=40), yielding=True)
    for _ in watch(job):
        job.stop()
    assert job.stopped and job.done < 40 and free()


def test_stop_ends_after_the_step_at_hand_and_keeps_what_came(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, recipe = another_day(monkeypatch), denoising.recipe(steps=40)
    slow = slowed(monkeypatch, little, 0.003)
    job = Job(recipe)
    job.start()
    reached(job, 3)
    job.stop()
    at = job.done
    assert job.wait(denoising.PATIENCE)
    assert at <= job.done <= at + 1 < 40 and slow.calls == job.done
    assert job.stopped and equal(kept.steps(recipe), replayed(recipe, little)[: job.done])
    assert job.film is not None and job.film.chunks
    film = job.film_json()
    assert film is not None and not film["running"] and film["total"] == 40
    assert [frame["i"] for frame in film["frames"]] == list(range(1, job.done + 1))


def test_a_sampling_ends_where_its_page_is_closed(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, little, 0.003)
    job = Job(denoising.recipe(steps=40))
    job.start()
    reached(job, 3)
    monkeypatch.setattr(Home, "closed_line", "back at noon")
    assert job.wait(denoising.PATIENCE)
    assert job.stopped and job.done < 40


def test_twenty_of_twenty_stops_end_within_a_step_and_never_two_work_at_once(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, slow = another_day(monkeypatch), slowed(monkeypatch, little, 0.002)
    moments, late = random.Random(7), []
    jobs = [Job(denoising.recipe(steps=1000, seed=seed)) for seed in range(20)]
    jobs[0].start()
    for job, following in zip(jobs, [*jobs[1:], None], strict=True):
        reached(job, 1)
        if following:
            following.start()  # waits for its turn while this one works
        time.sleep(moments.uniform(0, 0.04))
        job.stop()
        at = job.done
        assert job.wait(denoising.PATIENCE)
        late.append(job.done - at)
    assert len(late) == 20 and set(late) <= {0, 1}
    assert [len(kept.steps(job.recipe)) for job in jobs] == [job.done for job in jobs]
    assert all(job.stopped for job in jobs)
    assert slow.most == 1 and slow.calls == sum(job.done for job in jobs)


def test_jobs_wait_for_their_turn_and_one_stopped_before_it_asks_nothing(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = slowed(monkeypatch, little)
    job, other = (Job(denoising.recipe(seed=seed)) for seed in (1, 2))
    with models.turn():
        job.start()
        other.start()
        job.stop()
        assert not job.wait(0.05) and job.film_json() is None
    assert job.wait(denoising.PATIENCE) and other.wait(denoising.PATIENCE)
    assert (job.done, job.error, other.done, slow.calls) == (0, None, 6, 6)


def test_what_the_model_cannot_is_raised_after_what_it_could(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, little, fails_at=4)
    job, looks = Job(denoising.recipe()), []
    with pytest.raises(FloatingPointError, match="network is lost"):
        for ended in watch(job):
            looks.append(ended)
    assert looks[-1] is True and job.done == 3 and free()
    film = job.film_json()
    assert film is not None and [frame["i"] for frame in film["frames"]] == [1, 2, 3]


def test_a_failed_sampling_tells_nothing_but_the_log_and_keeps_its_node(
    little: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slowed(monkeypatch, little, fails_at=4)
    tree = Tree()
    with pytest.raises(gr.Error) as told:
        list(denoise.run(ENGLISH, tree, **values()))
    assert "network" not in told.value.message and "network is lost" in caplog.text
    assert (tree.current.done, tree.current.filmed) == (3, 3)


@pytest.mark.parametrize("opened", ["making", "watched", "endpoint"])
def test_a_closed_page_ends_the_sampling_within_a_step(
    little: Model, monkeypatch: pytest.MonkeyPatch, opened: str
) -> None:
    slow, tree = slowed(monkeypatch, little, 0.005), Tree()
    recipe, made = denoising.recipe(steps=50), []
    start = Job.start
    monkeypatch.setattr(Job, "start", lambda job: (made.append(job), start(job)))
    if opened == "endpoint":
        asked = (50, 5, 2, 0.0, "fixed_small", "trailing", True)
        stream: Any = api.denoise_pictures("little", "ddim", *asked)
    else:
        streams = {"making": lambda: denoise.sample(tree, recipe, "en")}
        stream = streams.get(opened, lambda: watch(Job(recipe)))()
    next(stream)
    if opened == "making":
        next(stream)
    job = made[0]
    reached(job, 2)
    stream.close()  # as gradio does when the page has gone
    at = job.done
    assert job.wait(denoising.PATIENCE) and free()
    assert at <= job.done <= at + 1 < 50 and slow.calls == job.done
    assert job.wait(denoising.PATIENCE)


def test_a_page_that_denoises_again_ends_what_it_had_begun(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, tree = slowed(monkeypatch, little, 0.005), Tree()
    first = denoise.sample(tree, denoising.recipe(steps=50), "en")
    next(first)
    next(first)
    job = tree.job
    assert job is not None
    list(denoise.sample(tree, denoising.recipe(seed=6), "en"))
    assert job.wait(denoising.PATIENCE) and job.stopped and slow.most == 1
    assert tree.current.recipe.seed == 6 and tree.current.done == 6


def test_a_forgotten_parent_is_made_again_and_the_branch_is_the_same(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, kept = slowed(monkeypatch, little), another_day(monkeypatch)
    parent = denoising.recipe(sampler="ddpm")
    branch = denoising.recipe(sampler="ddpm", steps=3, branch=Branch(parent, 3), seed=8)
    deeper = replace(branch, steps=2, branch=Branch(branch, 1, denoising.paint()))
    for recipe in (parent, branch, deeper):
        assert ran(Job(recipe)).replayed == 0
    made = [kept.steps(recipe) for recipe in (parent, branch, deeper)]
    assert slow.calls == 6 + 3 + 2
    for place, replayed_steps in ((1, 3), (2, 3 + 1)):
        recipe, again = (parent, branch, deeper)[place], another_day(monkeypatch)
        job = ran(Job(recipe))
        assert equal(again.steps(recipe), made[place])
        assert job.replayed == (replayed_steps if place == 1 else job.replayed) > 0


def test_a_parent_of_which_too_little_is_kept_is_made_again(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = another_day(monkeypatch)
    branch = replace(PLAIN, steps=3, branch=Branch(PLAIN, 3))
    made = replayed(PLAIN, little)
    kept.begin(PLAIN, made[0].x_t)
    for each in made[:2]:
        kept.add(PLAIN, each)
    job = ran(Job(branch))
    assert (job.replayed, job.done) == (3, 3)
    assert equal(kept.steps(branch), replayed(branch, little))


def test_stop_also_ends_the_making_again_of_a_parent(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, tree = slowed(monkeypatch, little, 0.004), Tree()
    another_day(monkeypatch)
    parent = denoising.recipe(steps=50)
    job_of = denoise.sample(tree, denoising.recipe(steps=5, branch=Branch(parent, 45)), "en")
    next(job_of)
    job = tree.job
    line = ""
    while "again" not in line:
        line = next(job_of)["line"]
    assert job is not None and "of 45" in line
    denoise.stop(tree)
    at = job.replayed
    *_, last = job_of
    assert at <= job.replayed <= at + 1 and slow.calls == job.replayed < 45
    assert (job.done, job.error, tree.nodes) == (0, None, {}) and free()
    assert "stopped at step 0 of 5" in last["line"]


# ---- what is kept


def step(i: int, size: int = 1000) -> SampleStep:
    """A step of three tensors of 4 x `size` bytes each."""
    x = torch.full((size,), float(i))
    return SampleStep(i, 10.0 - i, x, x + 0.25, x + 0.5, 0.0)


def named(seed: int) -> Recipe:
    return Recipe("little", seed=seed)


def filled(kept: StepCache, recipe: Recipe, steps: int) -> None:
    kept.begin(recipe, torch.zeros(1000))
    for i in range(1, steps + 1):
        kept.add(recipe, step(i))


def test_the_oldest_recipe_makes_room() -> None:
    kept = StepCache(90_000)  # 4,000 for a start and 12,000 a step
    for seed in (1, 2):
        filled(kept, named(seed), 3)
    assert [len(kept.steps(named(seed))) for seed in (1, 2)] == [3, 3]
    filled(kept, named(3), 1)
    assert [len(kept.steps(named(seed))) for seed in (1, 2, 3)] == [0, 3, 1]
    assert kept.before(named(1), 1) is None and kept.before(named(2), 1) is not None
    for seed in range(4, 60):  # what goes leaves its room
        filled(kept, named(seed), 3)
        assert [len(kept.steps(named(s))) for s in (seed - 1, seed)] == [1 if seed == 4 else 3, 3]
        assert not kept.steps(named(seed - 2)) or seed == 4


def test_a_sampling_too_large_is_not_kept_and_made_anew_it_begins_empty() -> None:
    kept = StepCache(30_000)
    filled(kept, named(1), 5)
    assert kept.steps(named(1)) == [] and kept.before(named(1), 1) is None
    filled(kept, named(1), 2)
    filled(kept, named(1), 1)
    assert [each.i for each in kept.steps(named(1))] == [1]


def test_x_before_a_step() -> None:
    kept = StepCache()
    filled(kept, named(1), 3)
    found = [kept.before(named(1), i) for i in range(6)]
    assert [None if x is None else float(x[0]) for x in found] == [None, 0, 1, 2, 3, None]
    assert kept.before(named(2), 1) is None and kept.before(named(2), 2) is None


# ---- the tree


def child(parent: Recipe, **changes: Any) -> Recipe:
    return replace(parent, branch=Branch(parent, 1), **changes)


def shown_film(*steps: int) -> dict[str, Any]:
    return {"id": "x", "frames": [{"i": i} for i in steps]}


def test_a_branch_lies_under_its_parent() -> None:
    tree = Tree()
    root = tree.add(PLAIN)
    first = tree.add(child(PLAIN))
    second = tree.add(child(first.recipe, seed=9))
    beside = tree.add(child(PLAIN, seed=10))
    alone = tree.add(child(replace(PLAIN, seed=1)))  # its parent was never here
    assert [node.parent for node in tree.nodes.values()] == [None, 1, 2, 1, None]
    assert (root.number, second.number, beside.number, alone.number) == (1, 3, 4, 5)
    assert tree.current is alone and tree.find(first.recipe) is first


def test_the_oldest_leaves_go_and_parents_stay() -> None:
    tree = Tree()
    tree.add(PLAIN)
    for seed in range(100, 100 + 3 * MOST_NODES):
        newest = tree.add(child(PLAIN, seed=seed))
        assert len(tree.nodes) <= MOST_NODES and tree.current is newest
    assert next(iter(tree.nodes)) == 1 and list(tree.nodes)[1:] == list(
        range(newest.number - MOST_NODES + 2, newest.number + 1)
    )
    with pytest.raises(InputError, match="sampling = 2: it is not kept any more"):
        tree.show(2)


def test_the_deepest_chain_leaves_room_for_the_newest() -> None:
    tree, recipe = Tree(), PLAIN
    tree.add(recipe)
    for seed in range(DEEPEST):
        recipe = child(recipe, seed=seed)
        tree.add(recipe)
    with pytest.raises(InputError, match=f"more than {DEEPEST} deep"):
        child(recipe)
    for seed in range(3 * MOST_NODES):
        newest = tree.add(child(PLAIN, seed=100 + seed))
    assert len(tree.nodes) == MOST_NODES and tree.current is newest
    assert 1 in tree.nodes and DEEPEST + 1 not in tree.nodes


def test_a_node_of_which_nothing_was_made_is_forgotten() -> None:
    tree = Tree()
    first, second = tree.add(PLAIN), tree.add(replace(PLAIN, seed=6))
    tree.forget(second)
    assert tree.current is first
    tree.forget(first)
    assert (tree.nodes, tree.shown) == ({}, None)
    with pytest.raises(InputError, match="press Denoise first"):
        _ = tree.current
    assert tree.add(PLAIN).number == 3


def test_the_player_lists_what_can_be_compared() -> None:
    tree = Tree()
    assert tree.films() == tree.others() == []
    first, second = tree.add(PLAIN), tree.add(child(PLAIN, seed=6))
    tree.add(replace(PLAIN, seed=7))  # nothing of it has come yet
    first.film, second.film = shown_film(1), shown_film(1, 2)
    tree.show(2)
    assert tree.films() == [second.film]
    assert tree.others() == [
        {"number": 1, "parent": None, "shown": False, "film": first.film},
        {"number": 2, "parent": 1, "shown": True, "film": None},  # it is in the films already
    ]
    tree.show(1)
    assert tree.films() == [first.film] and tree.place == 0
    for number in (0, 4, -1, 1.5, math.nan, True, None, "1", 10**400):
        with pytest.raises(InputError, match="sampling = "):
            tree.show(number)
    assert tree.current is first


def test_names_in_the_tree_are_words() -> None:
    tree, start = Tree(), Start(denoising.picture(), 30.0)
    begun = tree.add(Recipe("little", start=start))
    between = tree.add(replace(PLAIN, seed_to=7))
    node = tree.add(replace(PLAIN, branch=Branch(PLAIN, 4, denoising.paint())))
    assert title(begun, "en") == "DDIM 50, seed 0, from a picture at t = 30"
    assert title(between, "en") == "DDIM 6, seed 5, to seed 7"
    assert title(node, "en") == "from step 4, DDIM 6, seed 5, painted"
    assert title(node, "zh") == "从第 4 步起，DDIM 6，种子 5，已涂改"
