"""A sampling as the page shows it: what has come since the last look, every second or two."""

import html
from collections.abc import Iterator

from sd.ui import models
from sd.ui.denoise.job import Job
from sd.ui.texts import duration, say


def progress_html(words: list[str], share: float) -> str:
    """Return the progress line and its bar."""
    line = "</span><span>".join(html.escape(word, quote=False) for word in words)
    return (
        f'<div class="progress"><p><span>{line}</span></p><div class="track" role="progressbar"'
        f' aria-valuemin="0" aria-valuemax="100" aria-valuenow="{100 * share:.0f}">'
        f'<i style="width:{100 * share:.1f}%"></i></div></div>'
    )


def watched(job: Job) -> Iterator[bool]:
    """Start a job and yield whenever there is news, or none for a while; True when it has ended.

    Closing this iterator, as a closed page does, asks the job to end. What the job could not do is
    raised after everything that it could do was shown.
    """
    job.start()
    try:
        ended = False
        while not ended:
            ended = job.news()
            yield ended
    finally:
        job.stop()
    if job.error:
        raise job.error


def line_of(job: Job, lang: str, ended: bool) -> str:
    """Return where a sampling is on its way, as words and a bar."""
    total = job.recipe.steps
    share = job.done / total
    if ended and job.stopped:
        return progress_html([say("stopped", lang, i=job.done, n=total)], share)
    if ended:
        told = {"n": total, "s": f"{job.seconds:.1f}", "device": models.machine().label}
        return progress_html([say("done", lang, **told)], share)
    if not job.done:
        if job.replayed and job.recipe.branch:
            of = job.recipe.branch.at
            return progress_html([say("replaying", lang, i=job.replayed, n=of)], 0)
        return progress_html([say("loading", lang)], 0)
    left = duration(job.seconds / job.done * (total - job.done), lang)
    t = f"{job.last.t:g}" if job.last else "0"
    words = [say("progress", lang, i=job.done, n=total, t=t), say("progress_left", lang, s=left)]
    if job.recipe.clip_x0 and job.last:
        words.append(say("progress_clipped", lang, n=f"{100 * job.last.clipped:.0f}"))
    return progress_html(words, share)
