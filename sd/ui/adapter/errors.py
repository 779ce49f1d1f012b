"""What a page shows of an error: one line that is harmless in HTML."""

import errno
import html
import logging
import re
from pathlib import Path

import gradio as gr

from sd.common import validation
from sd.common.text import brief, printable, system_reason
from sd.common.validation import InputError
from sd.ui.mistakes import translate
from sd.ui.texts import page_language, say

FIXABLE = {  # reasons of the system that a person can fix: a full disk, a folder not theirs
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EFBIG, errno.EIO),
    *(errno.ENOTDIR, errno.EMFILE),
    *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else []),
}
ENTITY_BEGUN = re.compile("&[a-z]*$")
LOG = logging.getLogger(__name__)


class PageError(gr.Error):
    """An error's line, cut after it was made harmless and never inside an entity."""

    def __init__(self, line: str) -> None:
        line = html.escape(line.encode("utf-8", "backslashreplace").decode(), quote=False)
        if len(line) > validation.LONGEST_MESSAGE:
            line = ENTITY_BEGUN.sub("", line[: validation.LONGEST_MESSAGE - 1]) + "…"
        super().__init__(line, title=say("mistake", "en"), print_exception=False)


def page_error(error: Exception, request: gr.Request | None) -> PageError:
    """Return what is shown of an error: a mistake's own line, or the system's reason for a file.

    Of anything unexpected no detail is shown; the details go to the log.
    """
    lang = page_language(request.headers) if request else "en"
    if isinstance(error, gr.Error) and not isinstance(error, PageError):
        error = InputError(error.message)  # of gradio itself
    if isinstance(error, InputError):
        error = PageError(translate(str(error), lang))
    elif isinstance(error, OSError) and error.errno in FIXABLE:
        names = [] if error.filename is None else [Path(str(error.filename)).name]
        error = PageError(
            ": ".join([*(brief(printable(name)) for name in names), system_reason(error)])
        )
    if not isinstance(error, PageError):
        LOG.error("unexpected error in a handler of the page", exc_info=error)
        error = PageError(say("unexpected", lang))
    error.title = say("mistake", lang)
    return error
