"""A sheet of samples is opened one way: whole, as large as the settings tell, or not at all."""

from pathlib import Path

import pytest
from PIL import Image

from sd.common.validation import InputError
from sd.config import Config
from sd.runs.sample_grid import grid_size, open_sample_grid


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_a_sheet_can_be_used_when_its_file_is_closed(
    tiny_config: Config, tmp_path: Path, mode: str
) -> None:
    assert grid_size(tiny_config) == (38, 38)
    Image.effect_noise((38, 38), 60).convert(mode).save(tmp_path / "step-1.png")
    sheet = open_sample_grid(tmp_path / "step-1.png", tiny_config)
    (tmp_path / "step-1.png").unlink()
    assert sheet.mode == "RGB" and sheet.resize((76, 76)).getbbox() == (0, 0, 76, 76)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" * 99])
def test_what_is_no_sheet_is_one_line(tiny_config: Config, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "step-1.png").write_bytes(data)
    with pytest.raises(InputError, match=r"step-1\.png: "):
        open_sample_grid(tmp_path / "step-1.png", tiny_config)
