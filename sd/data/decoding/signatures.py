"""What a file is that is not read as a picture: by its first bytes, else by the end of its name."""

import re
from pathlib import PurePosixPath

SAVE = "save it as PNG or JPEG"
HEIC = f"HEIC, which needs `pip install pillow-heif`; or {SAVE}"
AVIF = f"AVIF, which Pillow reads from version 11.3 on; or {SAVE}"
JXL = f"JPEG XL, which is not read; {SAVE}"
JPEG_2000 = f"JPEG 2000, which is not read; {SAVE}"
SVG = "an SVG, which is a drawing without pixels; export it as PNG"
RAW = "a camera's RAW file, which is not developed here; export it as JPEG or 16-bit PNG"
PSD = "a layered document, which is not read; export it as PNG"
PDF = "a document of pages; export its pictures as PNG"
VIDEO = "a video; export some of its frames as PNG or JPEG"
EPS = "PostScript, which is not read; export it as PNG"
SCIENCE = "a file of measurements, which is not read; export it as 16-bit PNG or TIFF"
ICON = f"an icon file, which is not read; {SAVE}"
HDR = f"a high dynamic range picture, which is not read; {SAVE}"
TEXTURE = f"a texture, which is not read; {SAVE}"
TGA = f"TGA, which is not read; {SAVE}"
WEB_PAGE = "not a picture but a web page; download the picture itself"
LFS = "not a picture but a pointer of Git LFS; fetch it with `git lfs pull`"
ARCHIVE = "an archive in itself; unpack it"
NO_ZIP = "an archive of another kind than zip, which is not read; unpack it, or pack it as zip"

MARKS = (  # place, bytes there, what the file is
    (0, b"\xff\x0a", JXL),
    (4, b"JXL \r\n\x87\n", JXL),
    (4, b"jP  \r\n\x87\n", JPEG_2000),
    (0, b"\xff\x4f\xff\x51", JPEG_2000),
    (8, b"CR\x02", RAW),
    (0, b"FUJIFILMCCD-RAW", RAW),
    (0, b"IIRO", RAW),
    (0, b"IIRS", RAW),
    (0, b"MMOR", RAW),
    (0, b"IIU\0", RAW),
    (0, b"FOVb", RAW),
    (0, b"8BPS", PSD),
    (0, b"gimp xcf", PSD),
    (0, b"%PDF", PDF),
    (0, b"%!PS", EPS),
    (0, b"\xc5\xd0\xd3\xc6", EPS),
    (0, b"\x1aE\xdf\xa3", VIDEO),
    (8, b"AVI ", VIDEO),
    (0, b"\0\0\x01\xba", VIDEO),
    (0, b"\0\0\x01\xb3", VIDEO),
    (0, b"0&\xb2u\x8ef\xcf\x11", VIDEO),
    (0, b"FLV\x01", VIDEO),
    (0, b"\x76\x2f\x31\x01", HDR),
    (0, b"#?RADIANCE", HDR),
    (0, b"#?RGBE", HDR),
    (0, b"DDS ", TEXTURE),
    (0, b"\xabKTX", TEXTURE),
    (128, b"DICM", SCIENCE),
    (0, b"SIMPLE  =", SCIENCE),
    (0, b"\x93NUMPY", SCIENCE),
    (0, b"\0\0\x01\0", ICON),
    (0, b"icns", ICON),
    (0, b"version https://git-lfs", LFS),
    (0, b"PK\x03\x04", ARCHIVE),
    (0, b"Rar!", NO_ZIP),
    (0, b"7z\xbc\xaf\x27\x1c", NO_ZIP),
    (0, b"\x1f\x8b", NO_ZIP),
    (0, b"BZh", NO_ZIP),
    (0, b"\xfd7zXZ\0", NO_ZIP),
    (0, b"\x28\xb5\x2f\xfd", NO_ZIP),
    (257, b"ustar", NO_ZIP),
)
DNG = re.compile(rb"\x12\xc6\x01\0\x04\0\0\0|\xc6\x12\0\x01\0\0\0\x04")  # the tag DNGVersion
DNG_WITHIN = 2**16  # bytes
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
HEIF_BRANDS |= {b"mif1", b"msf1", b"mif2"}
AVIF_BRANDS = {b"avif", b"avis"}
SUFFIXES = {
    HEIC: "heic heif hif",
    AVIF: "avif avifs",
    JXL: "jxl",
    JPEG_2000: "jp2 j2k jpf jpx",
    SVG: "svg svgz",
    RAW: "cr2 cr3 crw nef nrw arw srf sr2 dng orf rw2 raf pef srw 3fr iiq x3f raw",
    PSD: "psd psb xcf kra clip procreate afphoto",
    PDF: "pdf",
    EPS: "eps ps ai",
    VIDEO: "mp4 m4v mov webm mkv avi mpg mpeg wmv flv 3gp",
    HDR: "exr hdr",
    TEXTURE: "dds ktx ktx2",
    SCIENCE: "dcm fits fit npy npz nii mat h5",
    ICON: "ico icns cur",
    TGA: "tga",
    ARCHIVE: "zip rar 7z gz tar tgz",
}
BY_SUFFIX = {suffix: kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes.split()}
READ = {  # of the formats that are read, to tell a damaged one from what is none
    "PNG": rb"\x89PNG",
    "JPEG": rb"\xff\xd8\xff",
    "GIF": rb"GIF8[79]a",
    "WEBP": rb"RIFF....WEBP",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "BMP": rb"BM.{12}[\x0c(48@l|]\0\0\0",
    "PPM": rb"P[1-6][\s#]",
}


def is_heif(data: bytes) -> bool:
    """Tell whether bytes begin as HEIC does, which Pillow reads by a plug-in."""
    return bool(_brands(data) & HEIF_BRANDS) and not _brands(data) & AVIF_BRANDS


def kind_of(data: bytes) -> str | None:
    """Return what a file is that is read by none of our readers, with the cure; None if unknown."""
    brands = _brands(data)
    if brands & AVIF_BRANDS:
        return AVIF
    if brands & HEIF_BRANDS:
        return HEIC
    if brands:
        return RAW if b"crx " in brands else VIDEO
    for place, mark, kind in MARKS:
        if data.startswith(mark, place):
            return kind
    if read_format(data) == "TIFF" and DNG.search(data, 0, DNG_WITHIN):
        return RAW
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<") and b"<svg" in head:
        return SVG
    return WEB_PAGE if re.match(rb"<!doctype html|<html|<head|<body", head) else None


def kind_by_name(name: str) -> str | None:
    """Return what a file is by the end of its name, with the cure; None if that tells nothing."""
    return BY_SUFFIX.get(PurePosixPath(name).suffix.lower().removeprefix("."))


def read_format(data: bytes) -> str | None:
    """Return which of the formats that are read a file begins as, or None."""
    found = (form for form, mark in READ.items() if re.match(mark, data, re.DOTALL))
    return next(found, None)


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of a file of the family of MP4 (ISO/IEC 14496-12, section 4.3)."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), len(data), 512)
    return {data[8:12], *(data[place : place + 4] for place in range(16, end, 4))}
