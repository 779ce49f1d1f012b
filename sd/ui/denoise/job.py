"""One sampling at work, on a thread beside the page: neither browser nor queue holds it up.

A `Job` is put to the page's one `Worker`, keeps its steps in the `StepCache`, and is followed by
`watch`. It ends within one network call of being asked to, and only then the next one begins.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from contextvars import copy_context
from functools import partial
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from sd.generation.recipe import Recipe
from sd.ui import models
from sd.ui.components.html import progress_bar
from sd.ui.components.player import store_chunk
from sd.ui.denoise import gpu
from sd.ui.hosting import zero_gpu
from sd.ui.published import speed
from sd.ui.state import home, shared
from sd.ui.texts import duration, say

if TYPE_CHECKING:
    from torch import Tensor

    from sd.diffusion.sampling import SampleStep
    from sd.generation.film import Film
    from sd.generation.pipeline import Source

# Seconds between updates of the page: the first pictures come soon, later ones together, for every
# update costs the browser about a tenth of a second of a core that the sampling wants.
INTERVALS = (0.25, 0.5, 1.0, 2.0)
# Without new pictures the page is updated after 1.5 of the longest interval; after exactly one it
# was updated twice in a row, just before every update with pictures.
PATIENCE = 1.5
MOST_BYTES_KEPT = 256 * 2**20  # bytes of all steps that are kept for branches and arrays


class Stopped(Exception):
    """A person stopped a sampling while it made its parent's steps again."""


class StepCache:
    """The steps of the newest samplings, by recipe; what has gone is made again when needed."""

    def __init__(self, most: int = MOST_BYTES_KEPT) -> None:
        """Keep at most so many bytes."""
        self._most, self._bytes, self._lock = most, 0, threading.Lock()
        self._steps: OrderedDict[Recipe, list[SampleStep]] = OrderedDict()
        self._starts: dict[Recipe, Tensor] = {}

    def begin(self, recipe: Recipe, start: "Tensor") -> None:
        """Forget a recipe's steps: they are being made anew, from `start`."""
        with self._lock:
            self._drop(recipe)
            self._steps[recipe], self._starts[recipe] = [], start
            self._bytes += start.nbytes

    def add(self, recipe: Recipe, step: "SampleStep") -> None:
        """Keep one step more; the oldest recipes make room, even this one if it is too large."""
        with self._lock:
            if recipe not in self._steps:
                return
            self._steps[recipe].append(step)
            self._bytes += 3 * step.x_t.nbytes
            while self._bytes > self._most and self._steps:
                self._drop(next(iter(self._steps)))

    def steps(self, recipe: Recipe) -> list["SampleStep"]:
        """Return what is kept of a recipe, from its first step on; nothing if it has gone."""
        with self._lock:
            return list(self._steps.get(recipe, ()))

    def before(self, recipe: Recipe, i: int) -> "Tensor | None":
        """Return x before step i = 1.. of a recipe, or None if it is not kept."""
        with self._lock:
            steps = self._steps.get(recipe, ())
            if i == 1:
                return self._starts.get(recipe)
            return steps[i - 2].x_t if 2 <= i <= len(steps) + 1 else None

    def branch_points(self, recipe: Recipe) -> dict[Recipe, "SampleStep"]:
        """Return the step at which the nearest recipe is left that this one branches from.

        Nothing where no such step is kept.
        """
        while branch := recipe.branch:
            recipe = branch.recipe
            if len(steps := self.steps(recipe)) >= branch.at:
                return {recipe: steps[branch.at - 1]}
        return {}

    def _drop(self, recipe: Recipe) -> None:
        start = self._starts.pop(recipe, None)
        self._bytes -= 0 if start is None else start.nbytes
        for step in self._steps.pop(recipe, ()):
            self._bytes -= 3 * step.x_t.nbytes


class Worker:
    """The one thread on which jobs are done, one after the other.

    One for all, because OpenMP keeps a team of threads for each that ever computed: with more of
    them than cores it no longer waits actively, and every step takes half as long again.
    """

    def __init__(self) -> None:
        """Begin with nothing to do; the thread starts with the first task."""
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._begun = threading.Lock()

    def run(self, task: Callable[[], None]) -> None:
        """Run a task, which raises nothing, after those before it."""
        self._tasks.put(task)
        if self._begun.acquire(blocking=False):
            threading.Thread(target=self._work, daemon=True, name="samplings").start()

    def _work(self) -> None:
        while True:
            self._tasks.get()()


class Job:
    """The making of one recipe's pictures.

    done: completed steps. replayed: steps of a branch's parents that had to be made again first.
    seconds: since the first step began. error: what ended it early, if anything did. end: the
    pictures of its last step, if it is filmed.
    """

    def __init__(
        self,
        recipe: Recipe,
        label: str = "",
        *,
        columns: int = 0,
        filmed: bool = True,
        pictured: bool = False,
        yielding: bool = False,
    ) -> None:
        """Take a recipe and what its film is called; one not `filmed` keeps its last step alone.

        One that is `yielding` is not filmed either, and lets others in after each of its steps.

        columns: of the film's pictures; nearly square unless there are several. If `pictured`, its
        film has numbers alone: what is shown are `pictures`, x_t and x0 of the newest step.
        """
        self.pictured, self.yielding = pictured, yielding
        self.pictures: tuple[Any, ...] = ()
        self.recipe, self.label, self.columns = recipe, label, columns
        self.filmed = filmed and not yielding
        self.film: Film | None = None
        self.last: SampleStep | None = None
        self.end: Tensor | None = None
        self.done = self.replayed = 0
        self.started = self.seconds = 0.0
        self._preparing = 0.0  # seconds from the opened model to the first step
        self.error: Exception | None = None
        self._stop, self._ended, self._news = (threading.Event() for _ in range(3))
        self._left: int | None = None  # steps until it pauses; None: all
        self._rest: Generator[SampleStep, None, None] | None = None  # of a paused one
        self._paused_at = 0.0
        self._context = copy_context()  # of the event, in which gradio notes the files of a page

    def start(self) -> None:
        """Begin, as soon as no other sampling is at work."""
        work = partial(self._work_a_step, self._steps()) if self.yielding else self._work
        shared(Worker).run(partial(self._context.run, work))

    def stop(self) -> None:
        """Ask for the end after the step at hand; a paused one has ended at once."""
        self._stop.set()
        if self.paused:
            self._rest = None
            self._ended.set()

    def pause(self) -> None:
        """Ask for a pause after the step at hand: then others have network, thread and queue."""
        self._left = 0

    def go_on(self, steps: int | None = None) -> None:
        """Go on from a pause, for so many steps until the next one, or to the end."""
        if not self.paused:
            return
        self._left = steps
        self._paused_at, paused = 0.0, time.monotonic() - self._paused_at
        self.started += paused
        self.start()

    @property
    def paused(self) -> bool:
        """Whether it waits to be gone on with."""
        return bool(self._paused_at) and self._rest is not None

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for the end; tell whether it has come."""
        return self._ended.wait(seconds)

    def wait_news(self) -> bool:
        """Wait for more to show, but not for ever; tell whether the job has ended or pauses.

        For one watcher only: the news are cleared.
        """
        self._news.wait(PATIENCE * INTERVALS[-1])
        self._news.clear()
        return self._ended.is_set() or self.paused

    @property
    def stopped(self) -> bool:
        """Whether it was asked to end before its last step."""
        return self._stop.is_set() and self.done < self.recipe.steps

    def film_json(self, line: str = "") -> dict[str, Any] | None:
        """Return its film as far as it was handed on, with a line of words; None before that."""
        if self.film is None or not self.film.frames:
            return None
        return self.film.json(line, running=not (self._ended.is_set() or self.paused))

    def _work(self) -> None:
        try:
            with models.turn():
                if not self._stop.is_set():
                    self._sample()
        except Stopped:
            pass
        except Exception as error:
            self.error = error
        finally:
            if not self.paused:
                self._ended.set()
            self._news.set()

    def _work_a_step(self, steps: Generator["SampleStep", None, None]) -> None:
        """Take one step, then wait behind all that has come meanwhile."""
        step = None
        try:
            with models.turn():
                if not self._stop.is_set():
                    step = next(steps, None)
        except Exception as error:
            self.error = error
        if step is None:
            steps.close()
            self._ended.set()
            self._news.set()
            return
        self.last, self.done = step, step.i
        self.seconds = time.monotonic() - self.started
        shared(Worker).run(partial(self._context.run, self._work_a_step, steps))

    def remake(self) -> Generator["SampleStep", None, None]:
        """Yield each step here and now, without a film; close it to let the next sampling begin."""
        with models.turn():
            yield from self._steps()

    def _sample(self) -> None:
        """Take step after step and publish from time to time, at last whatever there is."""
        published, updates = time.monotonic(), 0
        steps, self._rest = self._rest or self._steps(), None
        pausing = False
        try:
            for step in steps:
                self.last, self.done = step, step.i
                self.seconds = time.monotonic() - self.started
                if self.film:
                    self.film.add(step)
                    if time.monotonic() - published >= INTERVALS[min(updates, len(INTERVALS) - 1)]:
                        self._publish(self.film)
                        published, updates = time.monotonic(), updates + 1
                if self._stop.is_set() or home().closed_line:
                    self._stop.set()
                    break
                if self._left is not None:
                    self._left = max(0, self._left - 1)
                    if pausing := self._left == 0 and self.done < self.recipe.steps:
                        break
            if self.film and self.last:
                self.end = self._decode_end(self.film, self.last)
        finally:
            if self.film:
                self._end_film(self.film)
            if pausing:
                self._rest, self._paused_at = steps, time.monotonic()

    def _decode_end(self, film: "Film", last: "SampleStep") -> "Tensor":
        """Return the pictures of the last step; how long all of them took is noted."""
        end = film.space.decode(last.x_t)
        if self.done == self.recipe.steps:
            speed.note(self.recipe, self._preparing + time.monotonic() - self.started)
        return end

    def _end_film(self, film: "Film") -> None:
        film.end()
        self._publish(film)
        if self.end is not None and self.done == self.recipe.steps and not self.pictured:
            film.add_end(self.end, store_chunk)

    def _publish(self, film: "Film") -> None:
        """Make pictures of the newest steps, here where torch has its threads, and store them."""
        if not self.pictured:
            film.flush(store_chunk)
        elif film.count() and self.last is not None:
            from sd.data.images import make_grid

            ended = self.done == self.recipe.steps
            view = film.space.decode if ended else film.space.preview
            self.pictures = make_grid(view(self.last.x_t)), make_grid(view(self.last.x0))
        self._news.set()

    def _steps(self) -> Generator["SampleStep", None, None]:
        """Yield the recipe's steps, which are kept if they are to be seen."""
        from sd.generation.records import Replay, Start, sample_records

        source, opened = models.open_recipe_model(self.recipe), time.monotonic()
        device, cache = models.machine().device, shared(StepCache)
        if zero_gpu.is_lent():
            records = gpu.lent_records(self.recipe, home())
        else:
            known = cache.branch_points(self.recipe)
            records = sample_records(self.recipe, source, device, known)
        for record in records:
            if isinstance(record, Replay):
                self.replayed += 1
                if self._stop.is_set():
                    raise Stopped
                continue
            if isinstance(record, Start):
                if self.filmed:
                    cache.begin(self.recipe, record.x)
                    self.film = self._empty_film(source, record.x)
                self.started = time.monotonic()
                self._preparing = self.started - opened
                continue
            if self.filmed:
                cache.add(self.recipe, record)
            yield record

    def _empty_film(self, source: "Source", start: "Tensor") -> "Film":
        from sd.diffusion.timesteps import calls_per_step
        from sd.generation.film import Film
        from sd.generation.pipeline import space_of

        return Film(
            space_of(self.recipe, source.space),
            source.diffusion.schedule,
            self.recipe.steps,
            calls_per_step(self.recipe.sampler),
            label=self.label,
            start=start,
            columns=self.columns if self.columns > 1 else 0,
            captions=self.recipe.captions,
        )


def steps_of(recipe: Recipe, count: int) -> Iterator["SampleStep"]:
    """Yield the first `count` steps of a recipe: those that are kept, else made again."""
    kept = shared(StepCache).steps(recipe)
    if len(kept) >= count:
        yield from kept[:count]
        return
    with closing(Job(recipe).remake()) as steps:
        yield from islice(steps, count)


def develop(recipe: Recipe, i: int, columns: int) -> dict[str, Any] | None:
    """Return the decoded estimate x_0 of a step that is kept, as films carry it.

    None where a film shows the pictures themselves, and where the step has gone.
    """
    from sd.data.space import factor_of
    from sd.generation.film import make_still

    steps = shared(StepCache).steps(recipe)
    if not 0 < i <= len(steps) or factor_of(space := models.open_recipe_space(recipe)) == 1:
        return None
    with models.turn():
        pictures = space.decode(steps[i - 1].x0)
    return make_still("x0", i, pictures, columns, store_chunk)


# ---- as the page shows it


def watch(job: Job) -> Iterator[bool]:
    """Start a job and yield whenever there is news, or none for a while; True when it has ended.

    Closing this iterator, as a closed page does, asks the job to end. What the job could not do is
    raised after everything that it could do was shown. One that pauses has ended for its watcher:
    `resumed` watches it further.
    """
    job.start()
    yield from _follow(job)


def resumed(job: Job, steps: int | None) -> Iterator[bool]:
    """Go on with a paused job and watch it."""
    job.go_on(steps)
    yield from _follow(job)


def _follow(job: Job) -> Iterator[bool]:
    try:
        ended = False
        while not ended:
            ended = job.wait_news()
            yield ended
    finally:
        if not job.paused:
            job.stop()
    if job.error:
        raise job.error


def gpu_name() -> str | None:
    """Return what a sampling's GPU is called; None where the processor works it out."""
    if zero_gpu.is_lent():
        return zero_gpu.LABEL
    machine = models.machine()
    return None if machine.device == "cpu" else machine.label


def progress_line(job: Job, lang: str, ended: bool) -> Markup:
    """Return where a sampling is on its way, as words and a bar."""
    total = job.recipe.steps
    share = job.done / total
    if job.paused:
        return progress_bar([say("paused", lang, i=job.done, n=total)], share)
    if ended and job.stopped:
        return progress_bar([say("stopped", lang, i=job.done, n=total)], share)
    if ended:
        values = {"n": total, "s": f"{job.seconds:.1f}"}
        if (device := gpu_name()) is not None:
            return progress_bar([say("done_on", lang, device=device, **values)], share)
        return progress_bar([say("done", lang, **values)], share)
    if not job.done:
        if job.replayed and job.recipe.branch:
            of = job.recipe.branch.at
            return progress_bar([say("replaying", lang, i=job.replayed, n=of)], 0)
        return progress_bar([say("loading", lang)], 0)
    left = duration(job.seconds / job.done * (total - job.done), lang)
    t = f"{job.last.t:g}" if job.last else "0"
    words = [say("progress", lang, i=job.done, n=total, t=t), say("progress_left", lang, s=left)]
    clips = job.recipe.clip_x0 and (job.film is None or job.film.space.clips)
    if clips and job.last:
        words.append(say("progress_clipped", lang, n=f"{100 * job.last.clipped:.0f}"))
    return progress_bar(words, share)
