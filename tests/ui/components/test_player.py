"""What a player is sent of a film."""

import json

from sd.ui.adapter.served_files import FILE_DATA
from sd.ui.components import player


def test_a_player_is_sent_its_frames_as_texts_and_its_chunks_as_files() -> None:
    frames = [{"i": k, "t": 1.5 * k, "log_snr": None} for k in (1, 2, 3)]
    chunks = [{"src": "a", "first": 1, "count": 2}, {"src": "b", "first": 3, "count": 1}]
    films = [{"frames": frames, "chunks": chunks, "running": True}]
    films.append({"frames": frames, "chunks": [], "running": False})
    sent = player.content(films, "en", at=2)
    assert [len(film["frames"]) for film in sent["lanes"]] == [2, 1]
    assert sent["live"] and sent["at"] == 2 and sent["words"] == player.words("en")
    for film in sent["lanes"]:
        assert [each for text in film["frames"] for each in json.loads(text)] == frames
    assert sent["lanes"][0]["chunks"][0]["src"] == {"path": "a", "meta": FILE_DATA}
    assert films[0]["frames"] == frames and films[0]["chunks"] == chunks
