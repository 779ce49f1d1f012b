"""The host's view of a shared page: nothing without the token, and with it no names."""

import base64
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from sd.common.encoding import png_bytes
from sd.common.validation import InputError
from sd.data.ingest import ingest_images
from sd.runs.sharing import host
from sd.runs.sharing.closing import close, closed_line
from sd.ui.hosting.admin import HEADER, admin_token
from sd.ui.hosting.door import Door
from sd.ui.hosting.modes import PUBLIC, Mode
from sd.ui.hosting.visitors import HEADER as VISITOR
from sd.ui.hosting.visitors import Keys, Visitors
from sd.ui.texts import say
from tests.helpers.run_folders import START, STEP, make_run

KEYS = Keys(b"0123456789abcdef")


async def page(scope: Any, receive: Any, send: Any) -> None:
    """Stand for the page behind the door."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the page"})


@pytest.fixture
def crowd(tmp_path: Path) -> Visitors:
    return Visitors(tmp_path, PUBLIC, KEYS)


@pytest.fixture
def client(crowd: Visitors) -> TestClient:
    return TestClient(Door(page, crowd))


def ask(client: TestClient, token: str = KEYS.admin, **asked: str) -> Any:
    answer = client.post("/sd/host", json=asked, headers={HEADER: token})
    return answer.json() if answer.status_code == 200 else answer.status_code


def test_without_the_token_nothing_is_told(client: TestClient, crowd: Visitors) -> None:
    make_run(crowd.place / ("a1b2c3" + "0" * 18), "cats", events=START + STEP)
    for token in ("", "x", KEYS.token, KEYS.admin[:-1], KEYS.admin.upper()):
        assert ask(client, token, what="list") == 401
        assert ask(client, token, what="delete", visitor="a1b2c3") == 401
    assert client.post("/sd/host", json={"what": "list"}).status_code == 401
    html = client.get("/sd/host")
    assert html.status_code == 200 and "a1b2c3" not in html.text
    assert html.headers["x-frame-options"] == "DENY"
    assert len(list(crowd.place.iterdir())) == 1


@pytest.mark.parametrize("lang", ["en", "zh-CN"])
def test_the_page_of_the_host_speaks_its_language(client: TestClient, lang: str) -> None:
    text = client.get("/sd/host", headers={"accept-language": lang}).text
    assert f"<h1>{say('host_title', lang[:2])}</h1>" in text
    assert "WORDS;" not in text and f'lang="{lang[:2]}"' in text


def test_the_host_sees_letters_and_deletes(client: TestClient, crowd: Visitors) -> None:
    home = crowd.place / ("a1b2c3" + "0" * 18)
    make_run(home, "my secret cats", events=START + STEP)
    told = ask(client, what="list")
    (visitor,) = told["visitors"]
    (run,) = visitor["runs"]
    assert (visitor["id"], run["state"], run["step"]) == ("a1b2c3", "lost", 4)
    assert "cats" not in str(told) and str(crowd.place) not in str(told)
    assert told["slots"] >= 1 and told["free"] > 0 and told["closed"] == told["mistake"] == ""
    told = ask(client, what="delete", visitor="a1b2c3", run="ffffff")
    assert told["mistake"] == "run = 'ffffff': this visitor has none that is called so"
    assert ask(client, what="delete", visitor="a1b2c3", run=run["id"])["visitors"][0]["runs"] == []
    assert ask(client, what="delete", visitor="a1b2c3")["visitors"] == [] and not home.exists()


def test_the_host_closes_the_page_and_opens_it(client: TestClient, crowd: Visitors) -> None:
    key = client.post("/sd/visitor").json()["key"]
    kind = {"content-type": "multipart/form-data; boundary=b"}
    upload: Any = {"headers": {VISITOR: key, **kind}, "content": b"x"}
    assert client.post("/gradio_api/upload", **upload).text == "the page"
    assert ask(client, what="close", line="back at noon")["closed"] == "back at noon"
    answer = client.post("/gradio_api/upload", **upload)
    assert (answer.status_code, answer.text) == (503, "back at noon")
    assert client.post("/sd/visitor", headers={VISITOR: key}).json()["closed"] == "back at noon"
    assert client.get("/config").text == "the page"  # what is there stays
    assert ask(client, what="open")["closed"] == "" == closed_line(crowd.place.parent, {})
    assert client.post("/gradio_api/upload", **upload).text == "the page"


def test_pictures_are_shown_to_the_host_alone(client: TestClient, crowd: Visitors) -> None:
    home = crowd.place / ("a1b2c3" + "0" * 18)
    (home / "uploads").mkdir(parents=True)
    upload = home / "uploads" / "0123456789abcdef.zip"
    with zipfile.ZipFile(upload, "w") as packed:
        packed.writestr("1.png", png_bytes(Image.new("RGB", (90, 30), "red")))
        packed.writestr("2.png", png_bytes(Image.new("L", (30, 30), 200)))
    run = make_run(home, "cats", events=START + STEP)
    list(ingest_images(upload, run / "pictures", height=8, width=8, channels=3, fit="crop"))
    make_run(home, "empty", events=START)
    assert ask(client, "x", what="pictures", visitor="a1b2c3") == 401
    uploaded, trained = ask(client, what="pictures", visitor="a1b2c3")["sheets"]
    for address in (uploaded, trained):
        sheet = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
        assert sheet.size == (128, 64)
        assert sheet.getpixel((4, 4)) == pytest.approx((254, 0, 0), abs=3)
    letters = host.run_id(run)
    assert ask(client, what="pictures", visitor="a1b2c3", run=letters)["sheets"] == [trained]
    assert "sheets" not in ask(client, what="list")
    assert "none that is called so" in ask(client, what="pictures", visitor="ffffff")["mistake"]


def test_uploads_have_a_rate(tmp_path: Path) -> None:
    crowd = Visitors(tmp_path, Mode("few", sent_in_hour=10), KEYS)
    client = TestClient(Door(page, crowd))
    kind = {"content-type": "multipart/form-data; boundary=b", "accept-language": "zh-CN"}
    sent: Any = {"headers": {VISITOR: KEYS.mint(), **kind}, "content": b"x" * 10}
    assert client.post("/gradio_api/upload", **sent).text == "the page"
    answer = client.post("/gradio_api/upload", **sent)
    assert (answer.status_code, answer.text) == (429, "上传的图片太多：请一小时后再来")


@pytest.mark.parametrize("data", [b"", b"[", b"x" * 5000, b"null"])
def test_what_a_host_never_asks_is_refused(client: TestClient, data: bytes) -> None:
    answer = client.post("/sd/host", content=data, headers={HEADER: KEYS.admin})
    assert answer.status_code == 413
    for odd in ("[1]", '{"what": 7}', '{"what": "stop", "visitor": [1]}'):
        answer = client.post("/sd/host", content=odd, headers={HEADER: KEYS.admin})
        assert answer.status_code == 200 and answer.json()["mistake"]


def test_the_token_can_be_ones_own(crowd: Visitors) -> None:
    assert admin_token(crowd, {}) == KEYS.admin != KEYS.token
    assert admin_token(crowd, {"SD_ADMIN": "a token of the host"}) == "a token of the host"
    with pytest.raises(InputError, match="SD_ADMIN: must have at least 16 characters"):
        admin_token(crowd, {"SD_ADMIN": "short"})


def test_the_line_of_a_closed_page_is_told_before_work_is_taken(crowd: Visitors) -> None:
    close(crowd.place.parent, "back at noon")
    assert crowd.closed_line() == "back at noon"
    assert host.list_visitors(crowd.place) == []
