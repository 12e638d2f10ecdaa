"""Language codes of three letters (ISO 639-2/T), as MP4 files carry them, from BCP 47 tags.

A table and nothing else.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["iso_639_2"]

_PAIRS: Final = """
    aa:aar ab:abk af:afr ak:aka am:amh ar:ara as:asm az:aze ba:bak be:bel bg:bul bi:bis bm:bam bn:ben
    bo:bod br:bre bs:bos ca:cat ce:che co:cos cs:ces cy:cym da:dan de:deu dv:div dz:dzo ee:ewe el:ell
    en:eng eo:epo es:spa et:est eu:eus fa:fas ff:ful fi:fin fj:fij fo:fao fr:fra fy:fry ga:gle gd:gla
    gl:glg gn:grn gu:guj gv:glv ha:hau he:heb hi:hin hr:hrv ht:hat hu:hun hy:hye ia:ina id:ind ig:ibo
    in:ind is:isl it:ita iu:iku iw:heb ja:jpn jv:jav ka:kat kk:kaz kl:kal km:khm kn:kan ko:kor ks:kas
    ku:kur kw:cor ky:kir la:lat lb:ltz lg:lug ln:lin lo:lao lt:lit lv:lav mg:mlg mi:mri mk:mkd ml:mal
    mn:mon mr:mar ms:msa mt:mlt my:mya nb:nob ne:nep nl:nld nn:nno no:nor ny:nya oc:oci om:orm or:ori
    os:oss pa:pan pl:pol ps:pus pt:por qu:que rm:roh rn:run ro:ron ru:rus rw:kin sa:san sc:srd sd:snd
    se:sme sg:sag si:sin sk:slk sl:slv sm:smo sn:sna so:som sq:sqi sr:srp ss:ssw st:sot su:sun sv:swe
    sw:swa ta:tam te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi
    ty:tah ug:uig uk:ukr ur:urd uz:uzb ve:ven vi:vie vo:vol wa:wln wo:wol xh:xho yi:yid yo:yor za:zha
    zh:zho zu:zul
"""

_CODES: Final = {pair[:2]: pair[3:] for pair in _PAIRS.split()}

_THREE_LETTERS: Final = re.compile(r"[a-z]{3}", re.ASCII)


def iso_639_2(language: str) -> str:
    """Give the code for a BCP 47 tag by its first part: "jpn" for "ja-JP", "und" for what is not known."""
    primary = re.split(r"[-_]", language, maxsplit=1)[0].lower()
    return primary if _THREE_LETTERS.fullmatch(primary) else _CODES.get(primary, "und")
