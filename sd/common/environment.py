"""What a child process gets of this one's environment: what it needs to work, and no secret.

A trainer and the decoders of strangers' pictures have no use for the tokens that a page is given.
"""

import os
import re
from collections.abc import Mapping

from sd.common.paths import PROJECT

NAMES = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"),
        # Windows starts no socket, temporary file or library without these.
        *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERNAME", "USERPROFILE"),
        *("HOMEDRIVE", "HOMEPATH", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA"),
        *("NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE", "PROCESSOR_IDENTIFIER"),
        *("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"),
        # Where a pretrained text encoder lies that a run was begun with.
        *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "TRANSFORMERS_CACHE"),
    )
)
PREFIXES = (
    *("SD_", "LC_", "XDG_", "PYTHON", "MALLOC_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "VECLIB_", "DNNL_", "ONEDNN_", "ATEN_"),
    *("TORCH", "PYTORCH_", "TRITON_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "HIP_", "ROCR_"),
)
SECRET = re.compile(r"SECRET|TOKEN|PASS|CREDENTIAL|ADMIN|KEY")


def for_child(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a child that runs this package; see `NAMES` and `PREFIXES`."""
    needed = {name: value for name, value in environment.items() if is_needed(name)}
    path = filter(None, [str(PROJECT), environment.get("PYTHONPATH")])
    return {**needed, "PYTHONPATH": os.pathsep.join(path)}


def is_needed(name: str) -> bool:
    """Tell whether a child needs a variable; Windows writes its names in either case."""
    name = name.upper()
    return (name in NAMES or name.startswith(PREFIXES)) and not SECRET.search(name)
