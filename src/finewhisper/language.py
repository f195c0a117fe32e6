"""The languages that Whisper knows, by any of their names: one type for every option, field, table and manifest.

A language may be given as Whisper's code, as a code of ISO 639-1, -2 or -3, as a BCP 47 tag with script, region or variant (``zh-Hans``,
``yue-Hant-HK``, ``es-419``), as a locale (``pt_BR.UTF-8``, FLEURS' ``cmn_hans_cn``), or by its name in English or in itself. Members of a
macrolanguage of ISO 639-3 (Egyptian Arabic, Min Nan) are that language, as Whisper was trained; Cantonese, for which large-v3 has a token
of its own, is ``yue`` wherever its name or code says so. Withdrawn codes mean what the IANA registry and CLDR's aliases make of them
(``iw`` he, ``in`` id, ``ji`` yi, ``mo`` ro, ``sh`` sr, ``fil`` tl).

Sources: openai/whisper's ``tokenizer.py``; ISO 639-2 and 639-3 code tables and macrolanguage mappings; the IANA language subtag registry;
Unicode CLDR's ``languageAlias``.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

from finewhisper.errors import UsageError

#: In the order of Whisper's tokens: its code, its English name; other codes; other names. Cantonese exists only in large-v3 and turbo.
_TABLE = """
en English; eng;
zh Chinese; zho chi cmn cdo cjy cnp cpx csp czh czo gan hak hsn lzh mnp wuu chs cht; Mandarin, Putonghua, 中文, 汉语, 漢語, 普通话
de German; deu ger; Deutsch
es Spanish; spa; Castilian, Español, Castellano
ru Russian; rus; Русский, Русский язык
ko Korean; kor; 한국어, 조선말
fr French; fra fre; Français
ja Japanese; jpn; 日本語
pt Portuguese; por; Português
tr Turkish; tur; Türkçe
pl Polish; pol; Polski
ca Catalan; cat; Valencian, Català, Valencià
nl Dutch; nld dut vls; Flemish, Nederlands, Vlaams
ar Arabic; ara arb acm acq acw acx acy adf aeb aec afb ajp apc apd arq ars ary arz auz avl ayl ayn ayp shu ssh; العربية
sv Swedish; swe; Svenska
it Italian; ita; Italiano
id Indonesian; ind in; Bahasa Indonesia, Bahasa
hi Hindi; hin; हिन्दी, हिंदी
fi Finnish; fin; Suomi
vi Vietnamese; vie; Tiếng Việt
he Hebrew; heb iw; עברית
uk Ukrainian; ukr; Українська, Українська мова
el Greek; ell gre; Modern Greek, Ελληνικά
ms Malay; msa may zsm zlm; Bahasa Melayu, Bahasa Malaysia, Standard Malay
cs Czech; ces cze; Čeština, Česky
ro Romanian; ron rum mo mol; Moldavian, Moldovan, Română
da Danish; dan; Dansk
hu Hungarian; hun; Magyar
ta Tamil; tam; தமிழ்
no Norwegian; nor nb nob; Norwegian Bokmål, Bokmål, Norsk, Norsk bokmål
th Thai; tha; ไทย, ภาษาไทย
ur Urdu; urd; اردو
hr Croatian; hrv scr; Hrvatski
bg Bulgarian; bul; Български
lt Lithuanian; lit; Lietuvių
la Latin; lat; Latina
mi Maori; mri mao; Te Reo Māori
ml Malayalam; mal; മലയാളം
cy Welsh; cym wel; Cymraeg
sk Slovak; slk slo; Slovenčina
te Telugu; tel; తెలుగు
fa Persian; fas per pes prs; Farsi, Dari, فارسی, دری
lv Latvian; lav lvs ltg; Latviešu
bn Bengali; ben; Bangla, বাংলা
sr Serbian; srp scc sh hbs cnr; Serbo-Croatian, Montenegrin, Српски, Srpski
az Azerbaijani; aze azj azb; Azeri, Azərbaycanca, Azərbaycan dili
sl Slovenian; slv; Slovene, Slovenščina
kn Kannada; kan; ಕನ್ನಡ
et Estonian; est ekk vro; Eesti, Eesti keel
mk Macedonian; mkd mac; Македонски
br Breton; bre; Brezhoneg
eu Basque; eus baq; Euskara
is Icelandic; isl ice; Íslenska
hy Armenian; hye arm; Հայերեն
ne Nepali; nep npi dty; नेपाली
mn Mongolian; mon khk mvf; Монгол, Монгол хэл
bs Bosnian; bos; Bosanski
kk Kazakh; kaz; Қазақша, Қазақ тілі
sq Albanian; sqi alb als aln aat aae; Shqip
sw Swahili; swa swh swc; Kiswahili
gl Galician; glg; Galego
mr Marathi; mar; मराठी
pa Punjabi; pan; Panjabi, ਪੰਜਾਬੀ
si Sinhala; sin; Sinhalese, සිංහල
km Khmer; khm; Central Khmer, Cambodian, ខ្មែរ, ភាសាខ្មែរ
sn Shona; sna; chiShona
yo Yoruba; yor; Yorùbá
so Somali; som; Soomaali
af Afrikaans; afr;
oc Occitan; oci;
ka Georgian; kat geo; ქართული
be Belarusian; bel; Byelorussian, Беларуская
tg Tajik; tgk; Тоҷикӣ
sd Sindhi; snd; سنڌي
gu Gujarati; guj; ગુજરાતી
am Amharic; amh; አማርኛ
yi Yiddish; yid ydd yih ji; ייִדיש, יידיש
lo Lao; lao; Laotian, ລາວ, ພາສາລາວ
uz Uzbek; uzb uzn uzs; Oʻzbekcha, O'zbekcha, Ўзбекча
fo Faroese; fao; Føroyskt
ht Haitian Creole; hat; Haitian, Kreyòl, Kreyòl ayisyen
ps Pashto; pus pbt pbu pst; Pushto, پښتو
tk Turkmen; tuk; Türkmençe
nn Nynorsk; nno; Norwegian Nynorsk, Norsk nynorsk
mt Maltese; mlt; Malti
sa Sanskrit; san; संस्कृतम्
lb Luxembourgish; ltz; Letzeburgesch, Lëtzebuergesch
my Myanmar; mya bur; Burmese, မြန်မာ, မြန်မာဘာသာ
bo Tibetan; bod tib; བོད་ཡིག, བོད་སྐད
tl Tagalog; tgl fil; Filipino, Pilipino, Wikang Tagalog
mg Malagasy; mlg plt;
as Assamese; asm; অসমীয়া
tt Tatar; tat; Татарча
haw Hawaiian; ; ʻŌlelo Hawaiʻi
ln Lingala; lin; Lingála
ha Hausa; hau;
ba Bashkir; bak; Башҡортса
jw Javanese; jv jav; Basa Jawa
su Sundanese; sun; Basa Sunda
yue Cantonese; ; Yue Chinese, Yue, Guangdonghua, 粤语, 粵語, 廣東話, 广东话
"""

#: Words for "not said": the model listens, or each line of a manifest says for itself.
_UNSAID = frozenset(
    {"", "auto", "automatic", "autodetect", "auto detect", "detect", "detected", "none", "null", "und", "undetermined", "unknown", "mul"}
)
#: What may stand before a language's name without making it another one.
_KINDS = (
    "simplified", "traditional", "standard", "modern", "mandarin", "american", "australian", "british", "indian", "brazilian", "european",
    "mexican", "latin american", "canadian", "swiss", "austrian", "egyptian", "levantine", "gulf", "moroccan", "eastern", "western",
    "northern", "southern", "iranian",
)  # fmt: skip
#: BCP 47 without private use: a language with an extended one, a script, a region, variants and extensions (RFC 5646, section 2.1); of
#: variants those that are registered for Whisper's languages and in use, for any word would do otherwise.
_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(?P<extended>(-[a-z]{3}){0,3})(-[a-z]{4})?(-([a-z]{2}|[0-9]{3}))?(-([0-9][a-z0-9]{3}|valencia|pinyin|wadegile|tarask|ekavsk|ijekavsk|polyton|monoton|oxendict))*(-[a-wyz0-9](-[a-z0-9]{2,8})+)*"
)
#: Tags that are no such form, or whose parts say less than the whole.
_WHOLE_TAGS = {"zh-min-nan": "zh", "min-nan": "zh", "zh-guoyu": "zh", "zh-xiang": "zh", "zh-hakka": "zh", "no-bok": "no", "no-nyn": "nn"}
_TAG_ONLY = {"nan": "zh"}  # by itself it is what pandas writes for an empty cell


def _key(name: str) -> str:
    """A name without what people write differently: case, accents, hyphens and underscores, the compatibility forms of Unicode."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(re.sub(r"[_-]", " ", "".join(part for part in plain if unicodedata.category(part) != "Mn")).split())


def _read(table: str) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """English names by Whisper's codes, and Whisper's codes by all codes and by all names."""
    names: dict[str, str] = {}
    by_code: dict[str, str] = {}
    by_name: dict[str, str] = {}
    for line in table.strip().splitlines():
        first, codes, others = line.split(";")
        code, names[first.split()[0]] = first.split(" ", 1)
        by_code |= dict.fromkeys([code, *codes.split()], code)
        by_name |= {_key(name): code for name in [names[code], *others.split(",")] if name.strip()}
    return names, by_code, by_name


#: Whisper's codes in the order of their tokens, and the languages' English names.
LANGUAGES: dict[str, str]
LANGUAGES, _BY_CODE, _BY_NAME = _read(_TABLE)


def spoken_language(language: str | None) -> str | None:
    """Whisper's code of a language given by any of its names; None where it is not said: ``auto``, ``none``, empty and their like.

    Raises:
        UsageError: Whisper has no such language.
    """
    if language is None or _key(language) in _UNSAID:
        return None
    return language_code(language)


def language_code(language: str) -> str:
    """Whisper's code of a language given by any of its names: Chinese, 中文, cmn, zho and zh-CN are all ``zh``, and en-US is ``en``.

    Raises:
        UsageError: Whisper has no such language, or ``language`` says that none is named (see :func:`spoken_language`).
    """
    name = language.strip()
    code = _by_tag(name.removeprefix("<|").removesuffix("|>").lower()) or _by_name(_key(name))
    if code is None:
        raise UsageError(f"language {language!r} is not one of Whisper's{_advice(_key(name))}")
    return code


def _by_tag(name: str) -> str | None:
    tag = re.split(r"[.@]", name)[0].replace("_", "-").partition("-x-")[0]  # a locale's encoding and modifier, and private use
    if tag in _WHOLE_TAGS or tag in _BY_CODE:
        return _WHOLE_TAGS.get(tag) or _BY_CODE[tag]
    found = _TAG.fullmatch(tag)
    if found is None or tag in _TAG_ONLY:
        return None
    language, extended = found["language"], found["extended"].split("-")[1:]
    known = _BY_CODE | _TAG_ONLY
    return known.get(extended[0], known.get(language)) if extended and known.get(language) else known.get(language)


def _by_name(name: str) -> str | None:
    """Of a name with what is added to it: "Chinese (Simplified)", "Brazilian Portuguese", "Mandarin Chinese"."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    aside = re.fullmatch(r"(?P<name>[^(（,]+?) ?[(（,] ?(?P<aside>[^)）]*)[)）]?", name)
    if aside is not None:
        return _BY_NAME.get(aside["aside"], _BY_NAME.get(aside["name"]))
    return next((_by_name(name.removeprefix(kind + " ")) for kind in _KINDS if name.startswith(kind + " ")), None)


def _advice(name: str) -> str:
    if name == "nan":
        return "; write zh or nan-TW for Min Nan, and nothing or auto where no language is named"
    close = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.8) if len(name) > 3 else []
    if close:
        return f"; did you mean {LANGUAGES[_BY_NAME[close[0]]]}?"
    return (
        "; give a code such as 'bg' or a name such as 'Bulgarian', or auto to have it detected. A language that Whisper lacks can be "
        "learnt under the code of one that is close to it"
    )


def _checked(value: Any) -> Any:
    try:
        return spoken_language(value) if isinstance(value, str) else value
    except UsageError as error:
        raise ValueError(str(error)) from None


#: A language in an option or a field: Whisper's code once checked, None where it is not said.
Language = Annotated[str | None, BeforeValidator(_checked)]

#: The least share of a set's detections, each weighed by its probability, with which a language counts as spoken in it.
_LEAST_SHARE = 0.2


def scoring_languages(given: Sequence[str | None], detected: Sequence[tuple[str, float | None]]) -> list[str]:
    """The language by whose rules each utterance of a set is scored: the given one, else what a model detected.

    Detection errs on short clips, and a sentence scored by the rules of another language says nothing. A language that makes up less than a
    fifth of a set's detections, each weighed by its probability, is taken for such a mistake: its utterances count as the commonest one.

    Args:
        detected: the language and its probability (None: certain) that the model took each utterance for.
    """
    weights: dict[str, float] = defaultdict(float)
    for known, (code, probability) in zip(given, detected, strict=True):
        if known is None:
            weights[code] += 1.0 if probability is None else probability
    commonest = max(weights, key=lambda code: weights[code], default="en")
    spoken = {code for code, weight in weights.items() if weight >= _LEAST_SHARE * sum(weights.values())}
    return [known or (code if code in spoken else commonest) for known, (code, _) in zip(given, detected, strict=True)]
