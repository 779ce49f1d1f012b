"""The bytes of texts and names of unknown origin as text: certain where they tell, else one guess.

UTF-8, and UTF-16 or -32 with its mark, tell what they are. For anything else one encoding is
guessed for all the texts of a set together, by how usual the characters are that each would give;
whoever guesses says so.
"""

import codecs
import unicodedata
from collections.abc import Iterable, Sequence

MARKS = (  # longer ones first: UTF-32's begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
EAST_ASIAN = ("gb18030", "cp932", "cp949", "big5hkscs")
OF_TEXTS = ("utf-8", *EAST_ASIAN, "cp1251", "cp874", "cp1252")
OF_NAMES = ("utf-8", *EAST_ASIAN, "cp866", "cp1251", "cp874", "cp437")
UNMARKED = ("utf-16-le", "utf-16-be")
CALLED = {
    "utf-8": "UTF-8",
    "gb18030": "GB18030",
    "cp932": "Shift-JIS",
    "cp949": "EUC-KR",
    "big5hkscs": "Big5",
    "cp1251": "Windows-1251",
    "cp1252": "Windows-1252",
    "cp874": "Windows-874",
    "cp866": "cp866",
    "cp437": "cp437",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
}
LEAST = 0.3  # usualness of a guess
MOST_GUESSED = 2**15  # bytes that a guess looks at
WESTERN = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüßœÀÁÂÄÅÆÇÈÉÊÖØÜÑ’‘“”–—…°©®«»¡¿€·×")
THAI_LETTERS = frozenset("กขคงจชดตถทนบปผพฟมยรลวสหอ")
THAI_VOWELS = frozenset("ะัาำิีึืุูเแโใไ็่้๊์")
THAI_BEFORE = frozenset("เแโใไ")  # vowels before their letter, and signs after theirs
THAI_AFTER = frozenset("ะัาำิีึืฺุู็่้๊๋์ํ๎")
HANZI = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里"
    "用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实"
    "日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政"
    "美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员"
    "解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件"
    "计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象"
    "完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运"
    "猫狗鸟鱼花草树红黄蓝绿黑紫橙灰粉图片照只朵匹辆幅猪牛羊兔虎熊鸡鸭车船房屋桥河湖云雪雨夜晨阳星男孩笑脸"
)
HANGUL = frozenset(
    "이다는을가에의고를한하로은도지사기서들어인자나시대그리일해전아스정수부있것으면보라장제국상원만오구우러"
    "주게여니거관과소신동었성안적조비개공경화모물미세실무생선습및역마방계교년차위행산내터드까데문달발통학음외"
    "용의식단중당말분반양유트진심연저며회결요음했던불금초본르간현번강살집새꽃무빨파란록검흰색그림강얼굴웃남녀"
    "말토끼곰호랑돼닭오리차배집다람쥐고양풍경밤낮봄여름을겨울하늘바구별눈비"
)


def certain(data: bytes) -> str | None:
    """Return bytes as text where they tell their encoding, else None; UnicodeError if they lie."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return data.decode(encoding)
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def guess(texts: Iterable[bytes], encodings: Sequence[str]) -> str | None:
    """Return the likeliest of `encodings` for all texts together, or None if none is likely."""
    pieces, length = [], 0
    for text in texts:
        pieces.append(text)
        length += len(text)
        if length > MOST_GUESSED:
            break
    if any(b"\0" in piece for piece in pieces):
        encodings = UNMARKED
    scores = {encoding: _usualness(pieces, encoding) for encoding in encodings}
    best = max(scores, key=lambda encoding: scores[encoding], default="")
    return best if scores.get(best, 0) >= LEAST else None


def _usualness(pieces: Sequence[bytes], encoding: str) -> float:
    """Return how usual, 0 to 1, what `encoding` makes of the bytes is; 0 where it cannot be."""
    try:
        texts = [piece.decode(encoding) for piece in pieces]
    except UnicodeError:
        return 0.0
    if encoding in UNMARKED:
        plain = [1.0 if each.isascii() else 0.5 for each in "".join(texts) if _is_plain(each)]
        return sum(plain) / max(1, sum(map(len, texts)))
    if encoding == "utf-8":
        return 1.0
    total = count = 0.0
    for text in texts:
        for before, character, after in zip(" " + text, text, text[1:] + " ", strict=False):
            if character > "\x7f":
                count += 1
                total += _weight(character, encoding, before, after)
    return total / count if count else 0.0


def _is_plain(character: str) -> bool:
    return character.isspace() or character.isprintable()


def _weight(character: str, encoding: str, before: str, after: str) -> float:
    """Return how usual a character is in what is written in an encoding, 0 to 1."""
    if encoding in ("cp1252", "cp437", "cp1251", "cp866"):
        if character.isupper() and before.islower():
            return -0.7
        if encoding in ("cp1252", "cp437"):
            return 0.6 if character in WESTERN else 0.0
        beside = [each for each in (before, after) if each.isalpha()]
        whole = beside and all("А" <= each <= "я" for each in beside)
        return 0.7 if "А" <= character <= "я" and whole else 0.0
    if encoding == "cp874":
        return _thai_weight(character, before, after)
    if unicodedata.category(character) in ("Co", "Cn", "Cc"):
        return -1.0
    return _east_asian_weight(character, encoding)


def _thai_weight(character: str, before: str, after: str) -> float:
    """Return how usual a character is in Thai: no word is of two scripts, few are of letters alone.

    Chinese of a few characters, read so, is.
    """
    foreign = any("@" <= each <= "~" and each != "_" for each in (before, after))
    misplaced = character in THAI_AFTER and not "ก" <= before <= "๎"
    misplaced |= character in THAI_BEFORE and not "ก" <= after <= "ฮ"
    if foreign or misplaced:
        return -1.0
    return 0.95 if character in THAI_VOWELS else 0.45 if character in THAI_LETTERS else -0.3


def _east_asian_weight(character: str, encoding: str) -> float:
    """Return how usual a character is, by its place in a standard that has the usual ones first."""
    lead, trail = _pair(character, encoding)
    if encoding == "cp932":
        kana = "\u3040" <= character <= "\u30ff"
        return 1.0 if kana else 0.65 if 0x88 <= lead <= 0x97 else 0.5 if lead == 0x81 else 0.1
    if encoding == "cp949":
        if "\uac00" <= character <= "\ud7a3":
            return 1.0 if character in HANGUL else 0.4 if lead else 0.0
        return 0.3 if lead == 0xA1 else 0.1
    if encoding == "big5hkscs":
        usual = 0.9 if trail < 0xA1 else 0.4  # a third of Big5 ends as nothing in GB 2312 does
        return usual if 0xA4 <= lead <= 0xC6 else 0.3 if lead == 0xA1 else 0.05
    return 0.95 if character in HANZI else 0.5 if 0xB0 <= lead <= 0xD7 else 0.4 if lead else 0.02


def _pair(character: str, encoding: str) -> tuple[int, int]:
    """Return a character's two bytes in the standard that an encoding extends; zeros if none."""
    standard = {"gb18030": "gb2312", "cp949": "euc_kr", "big5hkscs": "big5"}.get(encoding, encoding)
    try:
        data = character.encode(standard)
    except UnicodeError:
        return 0, 0
    return (data[0], data[1]) if len(data) == 2 else (0, 0)
