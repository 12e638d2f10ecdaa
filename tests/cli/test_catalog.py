"""Catalogs as spreadsheets and people write them, and every mistake in them told at once with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async import CaptionType
from akool_async.cli.catalog import Catalog, CatalogError, read_catalog
from tests.cli.conftest import Write, mistakes_of

URL = "https://example.com"


def targets_of(catalog: Catalog) -> list[tuple[str, ...]]:
    return [item.request.targets for item in catalog.items]


ROWS = f'url,languages,key\n{URL}/a.mp4,ja,first\n{URL}/b.mp4,"ja,fr",second\n'


@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        ROWS.replace("\n", "\r\n"),
        ROWS.replace("\n", "\r"),
        "\ufeff" + ROWS,
        ("\ufeff" + ROWS).encode("utf-16-le"),
        ROWS.encode("utf-16"),
        "sep=,\n" + ROWS,
        f"sep=;\r\nurl;languages;key\r\n{URL}/a.mp4;ja;first\r\n{URL}/b.mp4;ja,fr;second\r\n",
        f"url;languages;key\n{URL}/a.mp4;ja;first\n{URL}/b.mp4;ja,fr;second\n",
        f"url\tlanguages\tkey\n{URL}/a.mp4\tja\tfirst\n{URL}/b.mp4\tja fr\tsecond\n",
        f"URL|To|ID\n{URL}/a.mp4|ja|first\n\n{URL}/b.mp4|ja;fr|second\n||\n",
        f'\n\nurl,languages,key,#notes\n{URL}/a.mp4,ja,first,"two\nlines"\n{URL}/b.mp4,"ja\nfr",second\n',
    ],
    ids="plain crlf cr bom utf16-le utf16 sep-comma sep-semicolon semicolons tabs bars blank-lines".split(),
)
def test_reads_what_spreadsheets_write(write: Write, text: str | bytes) -> None:
    catalog = read_catalog(write(text))

    assert targets_of(catalog) == [("ja",), ("ja", "fr")]
    assert [item.request.key for item in catalog.items] == ["first", "second"]
    assert catalog.rows == 2


def test_reads_json_lines_and_yaml_with_lists_and_mappings(write: Write) -> None:
    lines = write(
        f'{{"url": "{URL}/a.mp4", "languages": ["ja", "no"], "voices": {{"ja": "v1"}}, "lipsync": true}}\n\n'
        f'{{"url": "{URL}/b.mp4", "languages": "fr", "speakers": 2, "fixed_words": {{"Paris": "Paname"}}}}\n',
        "videos.jsonl",
    )
    yaml = write(
        f"defaults: {{lipsync: yes}}\n"
        f"videos:\n- url: {URL}/a.mp4\n  languages: [ja, no]\n  voices: {{ja: v1}}\n"
        f"- url: {URL}/b.mp4\n  languages: fr\n"
        f"  speakers: 2\n  lipsync: no\n  fixed_words: {{Paris: Paname}}\n",
        "videos.yaml",
    )

    assert [item.request for item in read_catalog(lines).items] == [
        item.request for item in read_catalog(yaml).items
    ]
    first, second = (item.request for item in read_catalog(yaml).items)
    assert (first.targets, first.lipsync, first.voices_map) == (("ja", "no"), True, {"ja": "v1"})
    assert (second.lipsync, second.speaker_num, second.fixed_words) == (False, 2, {"Paris": "Paname"})


def test_reads_every_option_from_cells(write: Write) -> None:
    header = (
        "url,to,key,from,Lip-Sync,caption,caption_url,voices,style,speakers,remove music,dynamic_duration,"
        "no_translate_words,fixed_words,pronounced_words,webhook,#mine"
    )
    row = (
        f"{URL}/a.mp4,ja fr,k,en,yes,translated,{URL}/a.srt,ja=v1;fr=v2,calm,2.0,1,x,"
        f'"Akool; Bob","a=b; c=d",NASA=nassa,{URL}/hook,ignored'
    )
    (item,) = read_catalog(write(f"{header}\n{row}\n")).items
    request = item.request

    assert request.source_language == "en"
    assert (request.lipsync, request.remove_bgm, request.dynamic_duration) == (True, True, True)
    assert request.caption_type is CaptionType.TRANSLATED
    assert request.caption_url == f"{URL}/a.srt"
    assert request.voices_map == {"ja": "v1", "fr": "v2"}
    assert (request.style, request.speaker_num) == ("calm", 2)
    assert request.no_translate_words == ("Akool", "Bob")
    assert request.fixed_words == {"a": "b", "c": "d"}
    assert request.pronounced_words == {"NASA": "nassa"}
    assert request.webhook_url == f"{URL}/hook"


def test_rows_win_over_the_files_defaults_and_these_over_the_commands(write: Write) -> None:
    path = write(
        f"defaults:\n  style: calm\nvideos:\n- url: {URL}/a.mp4\n- {{url: {URL}/b.mp4, style: sad}}\n",
        "v.yml",
    )
    catalog = read_catalog(path, defaults={"targets": ("ja",), "style": "angry", "lipsync": True})

    assert [(item.request.style, item.request.lipsync) for item in catalog.items] == [
        ("calm", True),
        ("sad", True),
    ]


def test_names_in_any_script_are_kept(write: Write) -> None:
    path = write(f"url,languages,key\n{URL}/a.mp4,ja,東京の夜\n{URL}/b.mp4,ar,ليلة في القاهرة\n")

    assert [item.request.key for item in read_catalog(path).items] == ["東京の夜", "ليلة في القاهرة"]


@pytest.mark.parametrize(
    ("header", "row", "named"),
    [("url,key", "k", "1: languages"), ("url,To", "", "2: To (B2)")],
)
def test_missing_languages_are_named_as_people_know_them(
    header: str, row: str, named: str, write: Write
) -> None:
    found = mistakes_of(write(f"{header}\n{URL}/a.mp4{row and ','}{row}\n"))

    assert found[0].startswith(
        f"videos.csv:{named}: The languages are missing: fill them in, or use --to for all rows"
    )


def catalog_with_mistakes() -> tuple[str, set[str]]:
    """Give a catalog of 200 rows with 12 mistakes of 12 kinds, and the beginning of what is to be told."""
    header = "url,languages,key,lipsync,caption,speakers,style,voices,fixed_words,speeker,webhook,languages"
    rows = [f"{URL}/{number}.mp4,ja,video-{number},,,,,,,,," for number in range(2, 202)]

    def put(line: int, row: str) -> None:
        rows[line - 2] = row

    put(10, "example.com/10.mp4,ja,video-10,,,,,,,,,")
    put(20, f"{URL}/20.mp4,j,video-20,,,,,,,,,")
    put(30, f"{URL}/30.mp4,,video-30,,,,,,,,,")
    put(40, ",ja,video-40,,,,,,,,,")
    put(50, f"{URL}/50.mp4,ja,video-50,perhaps,,,,,,,,")
    put(60, f"{URL}/60.mp4,ja,video-60,,shiny,,,,,,,")
    put(70, f"{URL}/70.mp4,ja,video-70,,,11,,,,,,")
    put(80, f"{URL}/80.mp4,ja,video-80,,,,,fr=v1,,,,")
    put(90, f"{URL}/90.mp4,ja,video-89,,,,,,,,,")
    put(100, f"{URL}/99.mp4,ja,,,,,,,,,,")
    expected = {
        "videos.csv:1: languages (L1): The column is here twice",
        "videos.csv:1: speeker (J1): There is no such column.",
        "videos.csv:10: url (A10): 'example.com/10.mp4' has to begin with https:// or http://",
        "videos.csv:20: languages (B20): must be a language code",
        "videos.csv:30: languages (B30): The languages are missing",
        "videos.csv:40: url (A40): The video's URL is missing",
        "videos.csv:50: lipsync (D50): has to be yes or no",
        "videos.csv:60: caption (E60): must be one of",
        "videos.csv:70: speakers (F70): must be a whole number from 0",
        "videos.csv:80: voices (H80): names fr",
        "videos.csv:90: key (C90): This key names another video in videos.csv:89",
        "videos.csv:100: The same video and options into 'ja' are in videos.csv:99 already",
    }
    return "\n".join([header, *rows]) + "\n", expected


def test_twelve_mistakes_in_two_hundred_rows_are_told_at_once_with_their_places(write: Write) -> None:
    text, expected = catalog_with_mistakes()

    found = mistakes_of(write(text))

    assert len(found) == 12
    assert {wanted for wanted in expected if not any(one.startswith(wanted) for one in found)} == set()


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        ("", "v.csv", "v.csv: The file is empty."),
        ("url,languages\n", "v.csv", "v.csv: There is no row"),
        (f"{URL}/a.mp4,ja\n", "v.csv", "v.csv:1: The first row has to name the columns"),
        (f'url,languages\n{URL}/a.mp4,"ja\n', "v.csv", "v.csv:2: A quotation mark is opened here"),
        (f'url,languages\n"{URL}/a.mp4"x,ja\n', "v.csv", "v.csv:2: Something follows a closing quotation"),
        (f"url,languages\n{URL}/a.mp4,ja,fr\n", "v.csv", "v.csv:2: (C2): This cell has no column"),
        (
            f"url,langauges\n{URL}/a.mp4,ja\n",
            "v.csv",
            "v.csv:1: langauges (B1): There is no such column. Did you",
        ),
        (
            f"url,to,languages\n{URL}/a.mp4,ja,fr\n",
            "v.csv",
            "v.csv:1: languages (C1): This is the same as the",
        ),
        (f"url,languages\n{URL}/a.mp4,caf\xe9\n".encode("latin-1"), "v.csv", "v.csv:2: This is not UTF-8"),
        ("x", "v.numbers", 'v.numbers: The file ends in ".numbers"'),
        ("x", "v", "v: The file has no ending"),
        ('{"url": x}\n', "v.jsonl", "v.jsonl:1:9: This is not JSON"),
        ("[1]\n", "v.jsonl", "v.jsonl:1: Each line has to hold one object"),
        ('{"url": 5, "to": "ja"}\n', "v.jsonl", "v.jsonl:1: url: must be an absolute"),
        ('{"url": true, "to": "ja"}\n', "v.jsonl", "v.jsonl:1: url: has to be text"),
        (
            f'{{"url": "{URL}", "to": "ja", "to": "fr"}}\n',
            "v.jsonl",
            "v.jsonl:1: to: It is in this line twice",
        ),
        ("url: [\n", "v.yaml", "v.yaml:2:1: This is not YAML"),
        ("- 5\n", "v.yaml", "v.yaml:1:3: Each row has to be a mapping"),
        ("5", "v.yaml", "v.yaml:1:1: The file has to hold a list"),
        ("", "v.yaml", "v.yaml: The file has to hold a list"),
        (f"movies:\n- url: {URL}\n", "v.yaml", 'v.yaml:1:1: Only "defaults"'),
        (
            f"- url: {URL}/a.mp4\n  to: ja\n  to: fr\n",
            "v.yaml",
            "v.yaml:3:3: to: It is in this row twice",
        ),
        (
            f"- url: {URL}/a.mp4\n  to: [ja, [[[[[fr]]]]]]\n",
            "v.yaml",
            "v.yaml:2:7: to: This value can't be read",
        ),
    ],
)
def test_what_can_not_be_read_is_told_with_its_place(
    write: Write, text: str | bytes, name: str, told: str
) -> None:
    found = mistakes_of(write(text, name))

    assert [one for one in found if one.startswith(told)], found


def test_a_missing_file_is_told(write: Write) -> None:
    assert mistakes_of(Path("nowhere.csv")) == [
        "nowhere.csv: The file can't be read: No such file or directory."
    ]


def test_one_mistake_in_many_rows_is_one_line(write: Write) -> None:
    rows = "".join(f"{URL}/{number}.mp4,ja,perhaps\n" for number in range(50))

    with pytest.raises(CatalogError) as caught:
        read_catalog(write(f"url,to,lipsync\n{rows}{URL}/x.mp4,ja,no\n{URL}/y.mp4,ja,perhaps\n"))
    assert str(caught.value) == "videos.csv:2-51,53: lipsync: has to be yes or no, not 'perhaps'."


def test_names_of_files_come_from_the_name_the_option_the_key_or_the_video(write: Write) -> None:
    rows = f"{URL}/a.mp4,ja,k,Erstes Licht\n{URL}/b.mp4,ja,k2,\n{URL}/c.mp4,ja,,\n"
    rows += f"{URL}/d.mp4,ja,,{{stem}} {{language}}"
    path = write(f"url,to,key,name\n{rows}\n")

    assert [item.names for item in read_catalog(path).items] == [
        "Erstes Licht.{language}",
        "{key}.{language}",
        "{stem}.{language}",
        "{stem} {language}",
    ]
    told = read_catalog(path, defaults={"name": "{fingerprint}"})
    assert [item.names for item in told.items][:2] == ["Erstes Licht.{language}", "{fingerprint}"]
    bad = mistakes_of(write(f"url,to,name\n{URL}/a.mp4,ja,../x\n{URL}/b.mp4,ja,{{what}}\n"))
    assert [one.partition(" must")[0].partition(" may")[0] for one in bad] == [
        "videos.csv:2: name (C2):",
        "videos.csv:3: name (C3): A template of file names",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.csv", f'url,to,voices\n{URL}/a.mp4,"ja,fr",ja=; fr=v2\n'),
        ("v.csv", f'url,to,voices\n{URL}/a.mp4,"ja,fr",Japanese= \n'),
        ("v.jsonl", f'{{"url": "{URL}/a.mp4", "to": "ja", "voices": {{"ja": ""}}}}\n'),
        ("v.jsonl", f'{{"url": "{URL}/a.mp4", "to": "ja", "voices": {{"ja": null}}}}\n'),
        ("v.yaml", f"videos:\n- {{url: '{URL}/a.mp4', to: ja, voices: {{ja: }}}}\n"),
    ],
)
def test_a_language_without_the_id_of_its_voice_is_a_mistake(write: Write, name: str, content: str) -> None:
    (found,) = mistakes_of(write(content, name))

    assert "names no voice for 'ja" in found.lower()
    assert "leave the language out for the default voice" in found


@pytest.mark.parametrize("on_duplicate", ["refuse", "skip"])
def test_one_key_is_for_one_video_also_where_the_languages_differ(write: Write, on_duplicate: Any) -> None:
    rows = f'{URL}/1.mp4,"ja,ko",k1,\n{URL}/1.mp4?sig=b,de,k1,\n{URL}/2.mp4,"fr,es",k1,\n'
    rows += f"{URL}/v?id=1,ja,k2,yes\n{URL}/v?id=2,fr,k2,yes\n"
    path = write(f"url,languages,key,url_is_public\n{rows}")

    with pytest.raises(CatalogError) as caught:
        read_catalog(path, on_duplicate=on_duplicate)

    assert str(caught.value).splitlines() == [
        f"videos.csv:{line}: key (C{line}): This key names another video in videos.csv:{first}; "
        "each video needs a key of its own."
        for line, first in ((4, 2), (6, 5))
    ]


def test_the_languages_of_one_video_may_be_in_several_rows_of_one_key(write: Write) -> None:
    rows = f"{URL}/1.mp4,ja,k1\n{URL}/1.mp4?sig=b,fr,k1\n"

    catalog = read_catalog(write(f"url,languages,key\n{rows}"))

    assert [(item.key_for(""), item.request.targets) for item in catalog.items] == [
        ("k1", ("ja",)),
        ("k1", ("fr",)),
    ]


def test_duplicates_are_left_out_when_asked(write: Write) -> None:
    path = write(f"url,to,key\n{URL}/a.mp4,ja fr,a\n{URL}/a.mp4,fr hi,b\n{URL}/a.mp4,ja,a\n")

    catalog = read_catalog(path, on_duplicate="skip")

    assert targets_of(catalog) == [("ja", "fr"), ("hi",)]
    assert [(one.place.line, one.first.line, one.target) for one in catalog.duplicates] == [
        (3, 2, "fr"),
        (4, 2, "ja"),
    ]


def test_signatures_tell_videos_apart_where_keys_do(write: Write) -> None:
    signed = [f"{URL}/a.mp4?token=1,ja", f"{URL}/a.mp4?token=2,ja"]

    keyed = read_catalog(write(f"url,to,key\n{signed[0]},one\n{signed[1]},two\n"))
    assert len(keyed.items) == 2
    (doubled,) = mistakes_of(write("url,to\n" + "\n".join(signed)))
    assert doubled.startswith("videos.csv:3: url (A3): Its URL differs from videos.csv:2 in the query only")
    public = "\n".join(f"{row},yes" for row in signed)
    assert len(read_catalog(write(f"url,to,url_is_public\n{public}\n")).items) == 2


def test_a_glossary_cuts_a_row_where_its_languages_are_told_different_things(write: Write) -> None:
    words = write(
        "word,translation,pronunciation,language\nAkool,,,\nParis,パリ,,ja\nNASA,,nassa,\nBob,ボブ,,ja\n",
        "g.csv",
    )
    only_french = write("word\nBob\n", "fr.csv")
    path = write(f"url,to,fixed_words\n{URL}/a.mp4,ja fr hi de,Bob=Bobby\n")

    catalog = read_catalog(path, glossaries=[str(words), f"fr={only_french}"])

    ja, fr, rest = (item.request for item in catalog.items)
    assert (ja.targets, fr.targets, rest.targets) == (("ja",), ("fr",), ("hi", "de"))
    assert ja.fixed_words == {"Paris": "パリ", "Bob": "Bobby"}
    assert fr.no_translate_words == ("Akool", "Bob")
    assert rest.no_translate_words == ("Akool",)
    assert rest.pronounced_words == {"NASA": "nassa"}


def test_mistakes_of_a_glossary_are_told_together_with_the_catalogs(write: Write) -> None:
    words = write("word,translation,pronounciation\nParis,パリ,red\nParis,巴里,\n,x,\n", "g.csv")
    path = write(f"url,to\n{URL}/a.mp4,\n")

    found = mistakes_of(path, glossaries=[str(words), "missing.csv"])

    assert found == [
        "g.csv:1: pronounciation (C1): There is no such column in a glossary. Did you mean 'pronunciation'?",
        "g.csv:3: translation (B3): 'Paris' is 'パリ' in g.csv:2; which one?",
        "g.csv:4: word: The word is missing.",
        "missing.csv: The file can't be read: No such file or directory.",
        "videos.csv:2: to (B2): The languages are missing: fill them in, or use --to for all rows.",
    ]


@settings(max_examples=150, deadline=None)
@given(
    text=st.one_of(st.text(max_size=300), st.binary(max_size=300)),
    ending=st.sampled_from("csv tsv jsonl yaml".split()),
)
def test_any_file_is_read_or_told_to_be_wrong(tmp_path_factory: Any, text: str | bytes, ending: str) -> None:
    path = tmp_path_factory.mktemp("any") / f"x.{ending}"
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)

    with pytest.raises(CatalogError) as caught:
        read_catalog(path)
    assert str(caught.value)


def test_a_default_that_is_wrong_is_told_once(write: Write) -> None:
    rows = "".join(f"- {{url: {URL}/{number}.mp4, to: ja}}\n" for number in range(9))

    found = mistakes_of(write(f"defaults: {{style: shouting, lipsync: maybe}}\nvideos:\n{rows}", "v.yaml"))
    assert [one.partition(" must")[0].partition(" has")[0] for one in found] == [
        "v.yaml:1:19: style:",
        "v.yaml:1:38: lipsync:",
    ]
