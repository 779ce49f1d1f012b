"""What a shared page logs: nothing that a visitor wrote."""

import logging
import threading

import pytest

from sd.ui.adapter.errors import LOG, page_error
from sd.ui.hosting import logs

SECRET = "a prompt of somebody"


@pytest.fixture(autouse=True)
def _put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    for name in logs.LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "filters", [])


def test_of_an_error_its_kind_and_place_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    logs.be_discreet()
    try:
        raise ZeroDivisionError(SECRET)
    except ZeroDivisionError as error:
        page_error(error, None)
    assert "ZeroDivisionError at test_logs.py:" in caplog.text and SECRET not in caplog.text
    LOG.error("nothing to hide")
    assert "nothing to hide" in caplog.text


def test_what_ends_a_thread_is_told_without_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    logs.be_discreet()

    def fail() -> None:
        raise ValueError(SECRET)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    told = capsys.readouterr().err
    assert told.startswith("a thread ended: ValueError at test_logs.py:") and SECRET not in told
