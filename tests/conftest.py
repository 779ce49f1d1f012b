"""What the tests share: a home, the smallest network, real pictures, the GPU's mark."""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sd.config import Config
from sd.ui import state

# Small networks are fastest on one thread; children inherit it, and byte-equality wants one count.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

STARTER = Path(__file__).parent.parent / "sd" / "data" / "starter" / "emoji64.zip"
TINY = (  # 203,460 parameters: 32 channels are the least that 32 groups allow
    "training.batch_size=4",
    "training.learning_rate=0.002",
    "training.steps=4",
    "training.sample_early=[]",
    "training.input_height=8",
    "training.input_width=8",
    "unet.channel=1",
    "unet.n_embed=1",
    "unet.model_channels=32",
    "unet.channel_mult=[1]",
    "unet.attention_resolutions=[]",
    "unet.num_heads=1",
    # One channel a group: a norm takes back what is added to it, so time and class must scale.
    "unet.use_scale_shift_norm=True",
    "unet.resblock_updown=False",
    "unet.patch_size=2",
    "diffusion.timesteps=50",
    "diffusion.schedule=cosine",
    "diffusion.prediction=v",
)


def pytest_configure(config: pytest.Config) -> None:
    """Under CI a test that failed runs once more and is told as RERUN; one fault fails both."""
    if os.environ.get("CI") == "true" and config.pluginmanager.hasplugin("rerunfailures"):
        config.option.reruns = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show, too, what failed before a test was run once more."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"{report.nodeid}, before it ran once more")
        terminalreporter.line(report.longreprtext)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip by name what is marked `gpu` where there is no CUDA."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip(f"{item.name}: CUDA is not available")


@pytest.fixture(scope="session", autouse=True)
def _home_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SD_HOME", str(tmp_path_factory.mktemp("home")))
        with state.use(state.Shared()):  # handlers are called without a page, too
            yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty SD_HOME for one test, with nothing bundled beside it."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("SD_HOME", str(folder))
    monkeypatch.setattr("sd.runs.home.BUNDLED_RUNS", tmp_path / "bundled")
    return folder


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """The smallest network, on grey pictures of 8 x 8; a step takes about 10 ms."""
    return Config().with_settings(TINY)


@pytest.fixture
def tiny_ini(tiny_config: Config, tmp_path: Path) -> Path:
    """`tiny_config` as a file."""
    path = tmp_path / "tiny.ini"
    path.write_text(tiny_config.to_ini(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def emoji() -> dict[str, bytes]:
    """Twelve real pictures of the starter set, PNG files of 64 x 64."""
    with zipfile.ZipFile(STARTER) as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")][:600:50]
        return {Path(name).name: archive.read(name) for name in names}


@pytest.fixture
def pictures(emoji: dict[str, bytes], tmp_path: Path) -> Path:
    """A folder of the twelve real pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, data in emoji.items():
        (folder / name).write_bytes(data)
    return folder
