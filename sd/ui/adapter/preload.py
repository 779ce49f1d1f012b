"""Which of gradio's own files the page will need, told to the browser with the page itself.

gradio finds them in four steps, each of which waits for the files of the one before: its loader,
what that loads, the page's frame, the parts of the page. Told at once, they come while the first
are still read. Of a gradio whose files are bundled in another way nothing is told, and it loads as
it always does.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import gradio as gr

FRONTEND = Path(gr.__file__).parent / "templates" / "frontend"
LOADER = re.compile(r'src="\./assets/(index-[\w-]+\.js)"')
TABLE = re.compile(r"m\.f=\[([^\]]*)\]")  # of the files that a script's imports need, by number
IMPORT = r"import\(`\./NAME-[\w-]+\.js`\).{0,80}?__vite__mapDeps\(\[([\d,]+)\]\)"
OF_KIND = r"[,{]KIND:\{.*?component:\(\)=>.*?" + IMPORT.replace("NAME", r"\w+")
LINKS = {
    ".js": '<link rel="modulepreload" crossorigin href="./assets/{}">',
    ".css": '<link rel="preload" as="style" crossorigin href="./assets/{}">',
}


def preload_tags(page: gr.Blocks) -> bytes:
    """Return the links for a page's head to what its parts need; none where none are found."""
    shown = (each for each in page.blocks.values() if getattr(each, "visible", True) is not False)
    kinds = {each.get_block_name() for each in shown}
    names = dict.fromkeys(list_files(FRONTEND, sorted(kinds)))
    return "".join(LINKS[Path(name).suffix].format(name) for name in names).encode()


def list_files(frontend: Path, kinds: Iterable[str]) -> Iterator[str]:
    """Yield the names of the files that a page with parts of these kinds needs, as it needs them.

    frontend: gradio's folder of its page and, in `assets`, of the page's files.
    """
    assets = frontend / "assets"
    loader = LOADER.search(read(frontend / "index.html"))
    if loader is None:
        return
    first = imported(read(assets / loader[1]), IMPORT.replace("NAME", "Index"))
    yield from (loader[1], *first)
    index = next(iter(first), "")
    yield from imported(read(assets / index), IMPORT.replace("NAME", "Blocks"))
    core = read(assets / next((name for name in first if name.startswith("core-")), ""))
    for kind in kinds:
        yield from imported(core, OF_KIND.replace("KIND", kind))


def imported(script: str, pattern: str) -> list[str]:
    """Return the names of what an import of a script needs, itself first."""
    table, found = TABLE.search(script), re.search(pattern, script)
    if table is None or found is None:
        return []
    names = re.findall(r'"\./([\w.-]+\.(?:js|css))"', table[1])
    numbers = [int(number) for number in found[1].split(",")]
    return [names[number] for number in numbers if number < len(names)]


def read(path: Path) -> str:
    """Return a text, "" where there is none."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""
