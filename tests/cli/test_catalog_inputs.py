"""Catalogs as programs and people leave them: empty words, invisible signs, columns of their own, names."""

from __future__ import annotations

import json
from unicodedata import normalize

import pytest

from akool_async import LipSyncRequest, TranslationRequest
from akool_async._model.locations import Location
from akool_async.cli.app import run
from akool_async.cli.catalog import Catalog, CatalogError, read_catalog
from akool_async.cli.catalog.columns import ColumnChoice
from akool_async.cli.catalog.languages import LanguageNames
from tests.cli.conftest import Write, mistakes_of

URL = "https://media.example.org"


def translations(catalog: Catalog) -> list[TranslationRequest]:
    requests = [item.request for item in catalog.items]
    assert all(isinstance(one, TranslationRequest) for one in requests)
    return [one for one in requests if isinstance(one, TranslationRequest)]


@pytest.mark.parametrize("marks", ["\ufeff", "\ufeff\ufeff", "\ufeff\ufeff\ufeff"])
def test_byte_order_marks_are_no_part_of_the_first_column(write: Write, marks: str) -> None:
    path = write(f"{marks}url,languages\n{URL}/a.mp4,ja\n")

    assert [one.url for one in translations(read_catalog(path))] == [f"{URL}/a.mp4"]


def test_invisible_signs_in_column_names_and_around_values_do_not_matter(write: Write) -> None:
    path = write(
        f"\u00a0URL\u00a0,\u200bLanguages\u200e,K\u00adey\n{URL}/a.mp4\u200b,\u2060ja\u00a0,\ufeffone\u200f\n"
    )

    (request,) = translations(read_catalog(path))
    assert (request.url, request.targets, request.key) == (f"{URL}/a.mp4", ("ja",), "one")


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("a\u200bb", "U+200B (ZERO WIDTH SPACE) after 'a'"),
        ("a\u202eb", "U+202E (RIGHT-TO-LEFT OVERRIDE) after 'a'"),
        ("a\u200d-", "U+200D (ZERO WIDTH JOINER) where it joins nothing after 'a'"),
        ("a\x07b", "U+0007 (a control character) after 'a'"),
    ],
)
def test_an_invisible_sign_within_a_value_is_named(write: Write, key: str, named: str) -> None:
    (found,) = mistakes_of(write(f"url,languages,key\n{URL}/a.mp4,ja,{key}\n"))

    assert found == f"videos.csv:2: key (C2): holds {named}; remove it."


@pytest.mark.parametrize(
    "key", ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f469\u200d\U0001f393 lesson"]
)
def test_joiners_are_kept_where_they_join_also_in_the_plan(
    write: Write, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(f"url,languages,key\n{URL}/a.mp4,ja,{key}\n")

    assert [one.key for one in translations(read_catalog(path))] == [key]
    assert run(["plan", str(path), "--offline"]) == 0
    assert capsys.readouterr().out.startswith(f"{key}\tja\tnew\t")


@pytest.mark.parametrize(
    "word", ["nan", "NaN", "None", "NULL", "null", "#N/A", "n/a", "<NA>", "NaT", " nan "]
)
def test_what_programs_write_for_nothing_is_empty_and_noted_once(write: Write, word: str) -> None:
    rows = "".join(f"{URL}/{number}.mp4,ja,k{number},{word}\n" for number in range(3))
    catalog = read_catalog(write(f"url,languages,key,from\n{rows}"))

    assert {one.source_language for one in translations(catalog)} == {"DEFAULT"}
    assert catalog.notes == (f"videos.csv: from: '{word.strip()}' in 3 cells is taken for empty.",)


def test_values_of_json_and_yaml_that_are_not_numbers_are_empty(write: Write) -> None:
    lines = write(f'{{"url": "{URL}/a.mp4", "languages": "ja", "key": NaN, "from": null}}\n', "videos.jsonl")
    yaml = write(f"- {{url: '{URL}/a.mp4', languages: ja, key: .nan, from: ~}}\n", "videos.yaml")

    for path in (lines, yaml):
        (request,) = translations(read_catalog(path))
        assert (request.key, request.source_language) == (None, "DEFAULT")


def test_no_captions_are_a_choice_not_an_empty_cell(write: Write) -> None:
    path = write(f"url,languages,caption\n{URL}/a.mp4,ja,none\n{URL}/b.mp4,ja,None\n{URL}/c.mp4,ja,nan\n")

    found = translations(read_catalog(path, defaults={"caption_type": "target"}))
    assert [one.caption_type.name for one in found] == ["NONE", "NONE", "TARGET"]


def test_the_errors_of_a_spreadsheet_are_shown_as_they_are(write: Write) -> None:
    found = mistakes_of(write(f"url,languages,key\n#N/A,ja,a\n{URL}/b.mp4,#REF!,b\n{URL}/c.mp4,ja,#VALUE!\n"))

    assert found == [
        "videos.csv:2: url (A2): The video's URL is missing; the cell holds '#N/A'.",
        "videos.csv:3: languages (B3): holds '#REF!', an error of the spreadsheet; correct its formula.",
        "videos.csv:4: key (C4): holds '#VALUE!', an error of the spreadsheet; correct its formula.",
    ]


OWN_COLUMNS = f"Film link,Languages,Client,Remarks\n{URL}/a.mp4,ja,Acme,soon\n{URL}/b.mp4,Japanese,,\n"


def test_a_column_that_nobody_knows_is_one_mistake_however_many_rows_there_are(write: Write) -> None:
    assert mistakes_of(write(OWN_COLUMNS)) == [
        "videos.csv:1: url: The video's URL is missing. No column is called so; name the one that has it: "
        "--column url='Film link'."
    ]


def test_of_columns_that_nobody_knows_one_is_named_whose_cell_may_be_meant(write: Write) -> None:
    found = mistakes_of(write(f"Title,Duration,Into,Film\nTalk,0:30,Japanese; French,{URL}/a.mp4\n"))

    assert [text.rpartition(" ")[2] for text in found] == ["languages='Into'.", "url='Film'."]


def test_a_column_is_mapped_and_the_others_are_left_out_and_noted_once(write: Write) -> None:
    catalog = read_catalog(write(OWN_COLUMNS), choice=ColumnChoice({"film_link": "url"}))

    assert [one.targets for one in translations(catalog)] == [("ja",), ("ja",)]
    assert catalog.notes == (
        "videos.csv: Columns that are not read: 'Client', 'Remarks'.",
        "Languages by their names: Japanese is ja.",
    )


def test_columns_are_mapped_and_ignored_as_people_type_it(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(OWN_COLUMNS)

    arguments = ("--offline", "--column", "url=FILM LINK", "--ignore-columns", "Client", "Remarks")
    assert run(["plan", str(path), *arguments]) == 0
    shown = capsys.readouterr().err
    assert "Japanese is ja" in shown
    assert "not read" not in shown


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("url=Link to it", "There is no column 'link_to_it' in videos.csv; there are 'Film link',"),
        ("film=Film link", "has to be such as url="),
        ("url", "has to be such as url="),
    ],
)
def test_a_mapping_that_does_not_fit_is_one_mistake(
    write: Write, given: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(OWN_COLUMNS)

    assert run(["plan", str(path), "--offline", "--column", given]) == 2
    shown = capsys.readouterr().err
    assert f"--column: {named}" in shown


def test_a_slip_in_a_columns_name_is_one_mistake_because_it_would_cost_money(write: Write) -> None:
    path = write(f"url,langauges\n{URL}/a.mp4,ja\n{URL}/b.mp4,ja\n")

    (found,) = mistakes_of(path, defaults={"targets": ("fr",)})
    assert "langauges (B1): There is no such column. Did you mean 'languages'?" in found
    assert mistakes_of(path) == [found]
    lines = write(f'{{"url": "{URL}/a.mp4", "langauges": "ja"}}\n', "videos.jsonl")
    assert len(mistakes_of(lines)) == 1


@pytest.mark.parametrize(
    ("cell", "targets"),
    [
        ("Japanese, French", ("ja", "fr")),
        ("japanese; FRENCH", ("ja", "fr")),
        ("Japanese French", ("ja", "fr")),
        ("Brazilian Portuguese, ja", ("pt-BR", "ja")),
        ("Portuguese (Brazil)\nAfrikaans (South Africa)", ("pt-BR", "af-ZA")),
        ("Chinese (Simplified)", ("zh",)),
        ("日本語 | Français", ("ja", "fr")),
        ("zh-CN-shandong ja", ("zh-CN-shandong", "ja")),
    ],
)
def test_languages_are_given_by_name_too(write: Write, cell: str, targets: tuple[str, ...]) -> None:
    catalog = read_catalog(write(f'url,languages\n{URL}/a.mp4,"{cell}"\n'))

    assert [one.targets for one in translations(catalog)] == [targets]


def test_names_of_languages_are_codes_wherever_a_language_is_meant(write: Write) -> None:
    path = write(f"url,languages,from,voices\n{URL}/a.mp4,Japanese,English,Japanese=V1\n")

    (request,) = translations(read_catalog(path))
    assert (request.targets, request.source_language, request.voices_map) == (("ja",), "en", {"ja": "V1"})


@pytest.mark.parametrize(
    ("name", "code"), [("Spanish", "es"), ("spanish (Mexico)", "es-MX"), ("日本語", "ja")]
)
def test_a_name_keeps_its_code_whatever_the_vendor_calls_so(name: str, code: str) -> None:
    """The list is asked for where some other row needs it: what is paid would be paid in another language."""
    listed = {
        "Spanish": "es-ES",
        "Spanish (Mexico)": "es-419",
        "日本語": "ja-JP",
        "Krio (Sierra Leone)": "kri",
    }

    assert LanguageNames().codes(name) == LanguageNames(listed).codes(name) == (code,)
    assert LanguageNames(listed).codes("Krio (Sierra Leone)") == ("kri",)


def test_a_name_that_is_not_known_here_may_be_the_vendors(write: Write) -> None:
    path = write(f'url,languages\n{URL}/a.mp4,"Chinese (Jilu Mandarin, Simplified), Klingon"\n')

    with pytest.raises(CatalogError) as caught:
        read_catalog(path)
    assert caught.value.unknown_languages
    names = LanguageNames({"Chinese (Jilu Mandarin, Simplified)": "zh-CN-shandong", "Klingon": "tlh"})
    assert [one.targets for one in translations(read_catalog(path, names=names))] == [
        ("zh-CN-shandong", "tlh")
    ]


def test_an_unknown_language_is_not_sent(write: Write) -> None:
    (found,) = mistakes_of(write(f"url,languages\n{URL}/a.mp4,Japaneese\n"))

    assert "or a language's name, not 'Japaneese'. Did you mean 'Japanese'?" in found


def test_rows_with_audio_are_lip_syncs(write: Write) -> None:
    rows = f"{URL}/a.mp4,{URL}/a.wav,,one\n{URL}/b.mp4,,ja,two\n"
    catalog = read_catalog(write(f"url,audio_url,languages,key\n{rows}"))

    first, second = (item.request for item in catalog.items)
    assert first == LipSyncRequest(video_url=f"{URL}/a.mp4", audio_url=f"{URL}/a.wav", key="one")
    assert isinstance(second, TranslationRequest)


def test_lip_syncs_need_no_languages_and_ignore_the_defaults_of_translations(write: Write) -> None:
    path = write(f"url,audio\n{URL}/a.mp4,{URL}/a.wav\n")

    (item,) = read_catalog(path, defaults={"targets": ("ja",), "style": "calm"}).items
    assert item.request == LipSyncRequest(video_url=f"{URL}/a.mp4", audio_url=f"{URL}/a.wav")


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (f"{URL}/a.mp4,{URL}/a.wav,ja,a", "languages (C2): A row with audio_url is a lip-sync"),
        (f",{URL}/a.wav,,a", "url (A2): The video's URL is missing"),
        (f"{URL}/a.mp4,talk.wav,,a", "audio_url (B2): 'talk.wav' is the name of a file that is not there."),
        (f"{URL}/a.mp4,ftp://example.org/a.wav,,a", "audio_url (B2): must be an absolute http"),
    ],
)
def test_mistakes_in_a_lip_sync_are_one_each(write: Write, row: str, named: str) -> None:
    (found,) = mistakes_of(write(f"url,audio_url,languages,key\n{row}\n"))

    assert found.startswith(f"videos.csv:2: {named}")


def test_two_equal_lip_syncs_are_refused(write: Write) -> None:
    path = write(f"url,audio_url,key\n{URL}/a.mp4,{URL}/a.wav,one\n{URL}/a.mp4,{URL}/a.wav,two\n")

    (found,) = mistakes_of(path)
    assert "The same video and options for a lip-sync are in videos.csv:2 already" in found


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("talk.mp4", "'talk.mp4' is the name of a file that is not there. Fill in the path"),
        ("C:\\Videos\\talk.mp4", "'C:/Videos/talk.mp4' is no path that this system has. Fill in the path"),
        (
            "gcs://bucket/talk.mp4",
            "'gcs://bucket/talk.mp4' is an object in a bucket. Name it by s3://, gs://",
        ),
        ("media.example.org/talk.mp4", "'media.example.org/talk.mp4' has to begin with https:// or http://"),
    ],
)
def test_what_is_no_public_url_is_named_for_what_it_is(write: Write, url: str, named: str) -> None:
    (found,) = mistakes_of(write(f"url,languages\n{url},ja\n"))

    assert found.startswith(f"videos.csv:2: url (A2): {named}")


def test_merge_keys_of_yaml_add_what_a_row_does_not_set(write: Write) -> None:
    path = write(
        f"videos:\n- &base {{url: '{URL}/a.mp4', languages: ja, style: calm}}\n"
        f"- <<: *base\n  url: {URL}/b.mp4\n"
        f"- {{<<: [{{style: sad}}, *base], url: '{URL}/c.mp4'}}\n",
        "videos.yaml",
    )

    found = translations(read_catalog(path))
    assert [(one.url[-5:], one.targets, one.style) for one in found] == [
        ("a.mp4", ("ja",), "calm"),
        ("b.mp4", ("ja",), "calm"),
        ("c.mp4", ("ja",), "sad"),
    ]


@pytest.mark.parametrize("merged", ["&a {<<: *a, url: x}", "{<<: text, url: x}", "{<<: [[1]], url: x}"])
def test_a_merge_key_that_merges_nothing_is_a_mistake(write: Write, merged: str) -> None:
    found = mistakes_of(write(f"- {merged}\n", "videos.yaml"))

    assert any('A merge key ("<<") takes another mapping' in one for one in found)


def test_a_few_lines_of_yaml_do_not_unfold_without_end(write: Write) -> None:
    levels = ["- &m0 {url: x}", *(f"- &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}" for n in range(1, 40))]
    lists = ["- &l0 [x]", *(f"- &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 40))]

    assert mistakes_of(write("\n".join(levels), "videos.yaml"))
    assert mistakes_of(write("\n".join([*lists, "- {url: *l39}"]), "videos.yaml"))


def test_column_names_are_found_below_a_title(write: Write) -> None:
    path = write(f"Films of the spring,,\n,,\nurl,languages,key\n{URL}/a.mp4,ja,one\n")

    catalog = read_catalog(path)
    assert [one.key for one in translations(catalog)] == ["one"]
    assert catalog.notes == ("videos.csv: The column names are in line 3; nothing above it is read.",)


def test_no_video_above_the_column_names_is_lost(write: Write) -> None:
    (found,) = mistakes_of(write(f"{URL}/a.mp4,ja\nurl,languages\n{URL}/b.mp4,ja\n"))

    assert found.startswith("videos.csv:1: The first row has to name the columns")


def test_a_wide_glossary_has_a_column_for_each_language(write: Write) -> None:
    words = write(
        "Term;Japanese;fr;Remarks\nroom;部屋;salle;x\nAkool;Akool;Akool;\nfloor;;étage;\n", "words.csv"
    )
    path = write(f'url,languages\n{URL}/a.mp4,"ja,fr,de"\n')

    catalog = read_catalog(path, glossaries=[str(words)])
    ja, fr, de = translations(catalog)
    assert (ja.fixed_words, ja.no_translate_words) == ({"room": "部屋"}, ("Akool",))
    assert (fr.fixed_words, fr.no_translate_words) == ({"room": "salle", "floor": "étage"}, ("Akool",))
    assert (de.fixed_words, de.no_translate_words) == ({}, ())
    assert catalog.notes == (
        "words.csv: Columns that are not read: 'Remarks'.",
        "words.csv: Languages by their names: Japanese is ja.",
    )


def test_two_translations_of_a_word_in_a_wide_glossary_are_a_mistake(write: Write) -> None:
    words = write("English,Japanese\nroom,部屋\nroom,間\n", "words.csv")
    path = write(f"url,languages\n{URL}/a.mp4,ja\n")

    assert mistakes_of(path, glossaries=[str(words)]) == [
        "words.csv:3: Japanese (B3): 'room' is '部屋' in words.csv:2; which one?"
    ]


def test_a_spreadsheet_under_the_ending_of_a_text_is_named(write: Write) -> None:
    (found,) = mistakes_of(write(b"PK\x03\x04rest", "videos.csv"))

    assert found.startswith("videos.csv: This is an archive or a document, not text. Save the table as .xlsx")


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".mp4", "~/" + "x" * 5000, "a\0.mp4", "x/" * 3000])
@pytest.mark.parametrize("column", ["url", "caption_url"])
def test_a_cell_that_can_be_no_file_s_name_is_a_mistake_in_the_catalog(
    write: Write, name: str, column: str
) -> None:
    row = {"url": f"{URL}/a.mp4", "languages": "ja", "audio_url": None} | {column: name}
    path = write(json.dumps(row), "videos.jsonl")

    if name.startswith("~"):  # it is a path, and whether the file is there is looked at before it is shared
        assert read_catalog(path).items
    else:
        assert any(column in mistake for mistake in mistakes_of(path))


def test_a_glossary_whose_name_no_file_can_have_is_a_mistake(write: Write) -> None:
    path = write(f"url,languages\n{URL}/a.mp4,ja\n")
    found = mistakes_of(path, glossaries=[f"ja={'x' * 300}.csv"])

    assert len(found) == 1
    assert "can't be read" in found[0]


@pytest.mark.parametrize(
    ("header", "row", "signs"),
    [
        ("url;languages;key", "/a.mp4,ja,one", ("';'", "','")),
        ("url;key", "/a.mp4,one", ("';'", "','")),
        ("url,languages,key", "/a.mp4;ja;one", ("','", "';'")),
        ("url,languages,key", "/a.mp4\tja\tone", ("','", r"'\t'")),
    ],
)
def test_rows_with_another_separator_than_the_header_are_no_long_urls(
    write: Write, header: str, row: str, signs: tuple[str, str]
) -> None:
    path = write(f"{header}\n{URL}{row}\n{URL}{row}\n")

    found = mistakes_of(path, defaults={"targets": ("ja",)})
    assert [one.partition(": ")[0] for one in found] == ["videos.csv:2", "videos.csv:3"]
    assert f"separated by {signs[0]}, and this row has none, but {signs[1]}." in found[0]


SEVERAL = [f"{URL}/a.mp4;{URL}/b.mp4", f"{URL}/a?x=1 | s3://bucket/b.mp4", f"{URL}/a.mp4,{URL}/b.mp4"]
MORE = ["/a.mp4;ja", "/a.mp4|ja", "/a.MP4;talk;ja,fr", "/a.mp4;", "/a.mp4,{ja}", "/a,b.mov ; ja"]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        *((cell, "url (A2): holds two URLs with ") for cell in SEVERAL),
        *((f"{URL}{path}", "url (A2): holds a URL, then ") for path in MORE),
    ],
)
def test_a_cell_with_more_than_a_url_is_no_long_url(write: Write, cell: str, words: str) -> None:
    (found,) = mistakes_of(write(f'url\n"{cell}"\n'), defaults={"targets": ("ja",)})

    assert words in found
    assert "within a URL is written as %" in found


@pytest.mark.parametrize(
    "path",
    [
        "/a;b.mp4",
        "/a,b|c.mp4",
        "/a;v=1/b.mp4",
        "/a.mp4;jsessionid=1F",
        "/a.mp4;v=2;w=3",
        "/a.mp4?X-Amz-SignedHeaders=host;range",
        "/hls/,a.mp4,b.mp4,.urlset/master.m3u8",
        "/a.mp4;b.mp4",
        "/fetch/f_auto,q_auto/https://example.org/a.mp4",
        "/talks;2024",
    ],
)
def test_a_url_may_have_separators_in_it(write: Write, path: str) -> None:
    catalog = read_catalog(write(f'url\n"{URL}{path}"\n'), defaults={"targets": ("ja",)})

    assert [one.url for one in translations(catalog)] == [f"{URL}{path}"]


def test_a_row_of_one_cell_may_leave_the_others_out(write: Write) -> None:
    catalog = read_catalog(write(f'url;key\n{URL}/a.mp4\n"{URL}/b,c.mp4";\n'), defaults={"targets": ("ja",)})

    assert [one.url for one in translations(catalog)] == [f"{URL}/a.mp4", f"{URL}/b,c.mp4"]


@pytest.mark.parametrize("before", ["", "./"])
def test_a_file_is_found_by_the_name_that_its_disk_has_in_another_form(write: Write, before: str) -> None:
    name = "\u00dcbung.mp4"
    write(b"film", normalize("NFD", name))
    catalog = read_catalog(write(f"url,languages\n{before}{name},ja\n"))

    (request,) = translations(catalog)
    assert Location.parse(request.url).key.endswith(f"/{normalize('NFD', name)}")
