"""Charts: the same bytes from run to run, one colour per part of x, complete without a script or a
network."""

import json
import re
import subprocess
import sys

import altair as alt
import numpy as np
import pandas as pd
import pytest

from darkmatter_utils import charts
from darkmatter_utils.base.config import STATIC
from darkmatter_utils.base.values import Absent, Estimate
from darkmatter_utils.base.words import percent
from darkmatter_utils.charts import vegalite
from darkmatter_utils.charts.theirs import paper_names
from darkmatter_utils.charts.theme import FONT, MONO
from darkmatter_utils.claims.paper import points

WIDTHS = [128, 256, 512, 1024, 2048, 4096]


@pytest.fixture(autouse=True)
def theme():
    charts.use()


def frame():
    rows = [
        {"width": w, "part": part, "fvu": b * w**-0.2, "low": b * w**-0.2 * 0.9, "high": b * w**-0.2 * 1.1}
        for w in WIDTHS
        for part, b in (("SaeError", 1.0), ("NonlinearError", 0.6), ("LinearError", 0.4))
    ]
    return pd.DataFrame(rows)


def test_a_chart_over_an_absent_one_is_the_reason():
    chart = charts.lines(frame(), "width", "fvu", color="part")
    assert charts.layered(Absent("no suite"), chart) == Absent("no suite")
    assert charts.layered(chart, Absent("no fit")).to_dict()["layer"]


def test_a_series_of_the_paper_is_named_by_model_layer_and_figure():
    name = lambda *args, by=None, **where: paper_names(points(*args, **where), by)[0]
    assert name("1", by="quantity") == "the paper: Gemma 2 9B, layer 20, Fig. 1, FVU"
    assert name("2", panel="a") == "the paper: Gemma 2 2B, layer 12, Fig. 2a"
    assert name("13", series="activation") == "the paper: Gemma 2 9B, Fig. 13"


def every_chart() -> dict[str, alt.TopLevelMixin]:
    """One of each builder, small."""
    positions = pd.DataFrame({"position": range(1, 200)})
    positions["16k:error"] = 0.3 / np.log(positions["position"] + 2)
    grid = pd.DataFrame(
        [{"width": w, "l0": l, "r2": 0.1 * np.log2(w / l)} for w in WIDTHS[:4] for l in (4, 8, 16)]
    )
    curve = pd.DataFrame({"width": 2.0 ** np.linspace(7, 15, 40)})
    curve = curve.assign(
        fvu=curve["width"] ** -0.2, low=curve["width"] ** -0.2 * 0.9, high=curve["width"] ** -0.2 * 1.1
    )
    tokens = pd.DataFrame({"text": ["def", " f", "(x", "):", "\n", "    ", "return", " x", "\n"]})
    tokens = tokens.assign(linear=np.arange(9.0), nonlinear=1.0, loss=2.5)
    shares = frame().rename(columns={"fvu": "share"})
    claims = pd.DataFrame(
        {"label": ["norm", "half"], "value": [0.8, 0.5], "low": [0.7, np.nan], "high": [0.9, np.nan]}
    )
    lines = charts.lines(frame(), "width", "fvu", color="part", title="FVU")
    paper = charts.paper_points(points("1", series="SAE"), "width")
    another = pd.DataFrame({"width": [512], "value": [0.2], "quantity": "FVU", "study": "another"})
    beside = pd.concat([points("1", series="SAE"), another])
    strips = pd.DataFrame(
        {"row": "x", "part": "x", "by": ["left", "right"], "value": [0.1, 0.2], "of": "one"}
    )
    theirs = strips.head(1).assign(low=0.0, high=0.3)
    return {
        "lines": lines,
        "by_position": charts.by_position(positions, "16k:error", window=(64, 256), title="by position"),
        "breakdown": charts.stacked_breakdown(shares, title="breakdown"),
        "the paper's points": charts.layered(lines, paper),
        "others' points": charts.layered(lines, charts.paper_points(beside, "width", by="quantity")),
        "heat": charts.heat(grid, "width", "l0", "r2", title="heat"),
        "strips": charts.strips(strips, "row", "value", by="by", color="part", label="of", theirs=theirs),
        "panels": charts.panels(frame(), "part", charts.lines, "width", "fvu", over=lambda part: paper),
        "power_law": charts.power_law(
            frame().query("part == 'SaeError'"), curve, y="fvu", floor=Estimate(0.1, 0.0, 0.2)
        ),
        "forest": charts.forest(
            claims.assign(reference=[0.9, np.nan]),
            x_title="R²",
            theirs=claims.assign(study=["the paper: Fig. 6", "another"]),
        ),
        "strip": charts.context_strip(
            tokens, {"LinearError": "linear", "NonlinearError": "nonlinear"}, about=["loss"]
        ),
        "beside": charts.beside(lines, charts.heat(grid, "width", "l0", "r2")),
    }


def strings(spec, key):
    """Every value of a key, anywhere in a specification."""
    if isinstance(spec, dict):
        for name, value in spec.items():
            if name == key:
                yield value
            yield from strings(value, key)
    elif isinstance(spec, list):
        for item in spec:
            yield from strings(item, key)


@pytest.mark.parametrize("name", list(every_chart()))
def test_every_chart_renders_to_specification_png_and_text(name):
    bundle = charts.render(every_chart()[name].to_dict())
    assert set(bundle) == {charts.MIME, "image/png", "text/plain"}
    assert len(json.dumps(bundle[charts.MIME])) < 60_000
    page = charts.html(bundle[charts.MIME])
    assert page.count("<svg") == 1 and '<script type="application/json">' in page
    # Nothing a browser would fetch: the only addresses are names of XML and of the specification's schema.
    assert set(re.findall(r'https?://[^\s"\\<]+', page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
        "https://vega.github.io/schema/vega-lite/v6.4.1.json",
    }


def test_same_chart_same_bytes_whatever_was_drawn_before():
    first = {name: charts.render(chart.to_dict()) for name, chart in every_chart().items()}
    again = {name: charts.render(chart.to_dict()) for name, chart in reversed(every_chart().items())}
    assert json.dumps(first, sort_keys=True) == json.dumps(again, sort_keys=True)


def test_same_bytes_in_another_process_also_where_there_are_no_fonts(tmp_path):
    (tmp_path / "none").mkdir()
    config = tmp_path / "fonts.conf"
    config.write_text(f"<fontconfig><dir>{tmp_path / 'none'}</dir></fontconfig>")
    program = (
        "import sys, hashlib, json; sys.path.insert(0, sys.argv[1]); import test_charts as t; t.charts.use();"
        "bundle = {n: t.charts.render(c.to_dict()) for n, c in t.every_chart().items() if n in "
        "('lines', 'strip')};"
        "print(hashlib.sha256(json.dumps(bundle, sort_keys=True).encode()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program, __file__.rsplit("/", 1)[0]],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": "1", "PATH": ""} | other,
        ).stdout
        for other in ({}, {"PYTHONHASHSEED": "2"}, {"FONTCONFIG_FILE": str(config), "HOME": str(tmp_path)})
    }
    assert len(runs) == 1


def test_text_is_drawn_in_the_fonts_that_are_shipped():
    for builder, families in {"lines": {FONT}, "strip": {FONT, MONO}}.items():
        page = charts.html(charts.render(every_chart()[builder].to_dict())[charts.MIME])
        assert set(re.findall(r'font-family="([^"]+)"', page)) == families
    named = {family.split(",")[0].replace(" ", "") for family in (FONT, MONO)}
    assert {path.stem.split("-")[0] for path in (STATIC / "fonts").glob("*.ttf")} == named


def test_generated_names_do_not_depend_on_how_many_charts_came_before():
    def zoomable():
        return alt.Chart(frame()).mark_point().encode(x="width:Q", y="fvu:Q").interactive()

    specs = [vegalite.settle(zoomable().to_dict()) for _ in range(3)]
    assert specs[0] == specs[1] == specs[2]
    assert "param_1" in json.dumps(specs[0]) and list(specs[0]["datasets"]) == ["data-1"]


def test_numbers_are_rounded_and_what_is_not_finite_is_null():
    spec = vegalite.settle({"datasets": {"data-x": [{"a": 0.12345678901, "b": float("nan"), "n": 1234567}]}})
    assert spec["datasets"]["data-1"] == [{"a": 0.123457, "b": None, "n": 1234567}]


def test_a_part_of_x_has_one_colour_in_every_chart():
    for name, chart in every_chart().items():
        for scale in strings(chart.to_dict(), "scale"):
            for part, colour in zip(scale.get("domain", []), scale.get("range", []) or []):
                if part in charts.PARTS:
                    assert colour == charts.PARTS[part], f"{part} in {name}"


def test_colours_of_parts_stay_and_others_follow_in_order():
    domain, colours = charts.palette(["zebra", "NonlinearError", "ant", "Sae(x)"])
    assert domain == ["Sae(x)", "NonlinearError", "zebra", "ant"]
    assert colours == [charts.PARTS["Sae(x)"], charts.PARTS["NonlinearError"], *charts.SEQUENCE[:2]]


def test_widths_are_on_a_scale_of_powers_of_two():
    spec = every_chart()["lines"].to_dict()
    scales = [x["scale"] for x in strings(spec, "x") if isinstance(x, dict) and "scale" in x]
    assert scales and all(scale["type"] == "log" and scale["base"] == 2 for scale in scales)


def test_strip_shows_every_token_and_breaks_lines_where_the_text_does():
    spec = every_chart()["strip"].to_dict()
    tokens = next(rows for rows in spec["datasets"].values() if "word" in rows[0])
    assert [row["word"] for row in tokens] == ["def", "f", "(x", "):", "⏎", "", "return", "x", "⏎"]
    assert [row["line"] for row in tokens] == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    bars = next(rows for rows in spec["datasets"].values() if "color" in rows[0])
    heights = {(row["color"], n % 9): row["foot"] - row["top"] for n, row in enumerate(bars)}
    assert heights["LinearError", 4] == pytest.approx(4 * heights["LinearError", 1])
    assert heights["NonlinearError", 4] == pytest.approx(heights["LinearError", 1])


def test_errors_name_what_there_is():
    with pytest.raises(KeyError, match="no column 'fv'; the frame has: width, part, fvu"):
        charts.lines(frame(), "width", "fv")
    with pytest.raises(ValueError, match="linear, log2, log10 or names"):
        charts.lines(frame(), "width", "fvu", x_scale="log")
    with pytest.raises(ValueError, match="'Absent' is not a part of x; the parts are x, Sae"):
        charts.context_strip(pd.DataFrame({"text": ["a"], "v": [1.0]}), {"Absent": "v"})


@pytest.mark.parametrize("build", [charts.lines, charts.heat, charts.by_position])
def test_of_what_is_absent_a_chart_and_a_table_show_the_reason(build):
    absent = Absent("This study has *no* width.")
    shown = build(absent["frame"].assign(a=1)[["a"]], "x", "y")
    assert shown._repr_markdown_() == "*This study has *no* width.*"
    assert charts.beside(charts.lines(frame(), "width", "fvu"), shown) is absent
    assert "This study has" in charts.Table(absent)._repr_html_() and f"{absent:.2f}" == "–"


def test_intervals_are_found_by_name_and_shown_in_tables():
    numbers = pd.DataFrame({"width": [1, 2], "r2": [0.5, 0.6], "r2_low": [0.4, np.nan], "r2_high": [0.6, 1]})
    assert "high" in json.dumps(charts.lines(numbers, "width", "r2").to_dict())
    table = charts.Table(pd.DataFrame({"R²": charts.estimates(numbers, "r2")}), {"R²": percent})
    assert (
        '<td class="text-right">50% [40%,\N{NO-BREAK SPACE}60%]</td>' in table._repr_html_()
        and "60%<" in table._repr_html_()
    )
    assert charts.estimates(frame(), "fvu")[0].low == frame()["low"][0]


def test_a_sentence_about_what_is_absent_is_the_reason():
    say = lambda one, other: f"{one} of {other:.1f}"
    assert charts.Words.of("a", 2.0, say=say) == "a of 2.0"
    assert charts.Words.of("a", Absent("There is no b."), say=say) == "*There is no b.*"


def test_panels_of_one_figure_share_one_legend():
    both = pd.concat([frame().assign(kind=kind) for kind in "ab"])
    spec = charts.panels(both, "kind", charts.lines, "width", "fvu", color="part").to_dict()
    assert [view["title"] for view in spec["concat"]] == ["a", "b"]
    page = charts.html(charts.render(spec)[charts.MIME])
    assert page.count('aria-roledescription="legend"') == 1
    assert charts.panels(Absent("None."), "kind", charts.lines, "width", "fvu").reason == "None."


def test_a_tidy_frame_side_by_side_keeps_its_order_and_has_a_dash_where_it_lacks_a_number():
    rows = frame().rename(columns={"fvu": "value"}).iloc[[4, 3, 0]]
    shown = charts.Table(charts.wide(rows, "width", "part"), lambda value: f"{value:.1f}")
    assert shown.names == ["width", "NonlinearError", "SaeError"] and shown.right == [True] * 3
    assert [row[0] for row in shown.rows] == ["256", "128"] and shown.rows[1][1] == "–"
    assert shown.rows[1][2] == "0.4 [0.3, 0.4]" and charts.wide(Absent("None."), "a", "b").reason == "None."


def test_bold_is_a_matter_of_the_table_and_never_markup_that_a_page_shows_as_text():
    shown = pd.DataFrame({"name": ["a & b", "c"], "R²": charts.estimates(frame(), "fvu")[:2]})
    html = charts.Table(shown, bold=pd.DataFrame({"R²": [True, False]}))._repr_html_()
    assert html.count("<strong>") == 1 and "&lt;" not in html and "a &amp; b" in html
    assert '<td class="text-right"><strong>' in html


def test_a_chart_too_large_for_a_page_says_so():
    rows = pd.DataFrame({"x": range(4900), "y": np.random.default_rng(0).normal(size=4900)})
    with pytest.raises(ValueError, match="aggregate its data"):
        charts.render(charts.lines(rows, "x", "y", x_scale="linear").to_dict())


def test_two_charts_of_one_page_share_no_clip_path():
    pages = [
        charts.html(charts.render(every_chart()[name].to_dict())[charts.MIME])
        for name in ("lines", "power_law")
    ]
    found = [set(re.findall(r'id="([^"]*clip\d+)"', page)) for page in pages]
    assert not found[0] & found[1]


def test_the_book_script_is_one_file_without_addresses_to_load(tmp_path):
    charts.write_script(tmp_path / "vega-book.js")
    text = (tmp_path / "vega-book.js").read_text()
    assert 500_000 < len(text.encode()) < 1_500_000
    assert not re.search(r"\bimport\s*\(|\bfrom\s*[\"']https?:|cdn\.jsdelivr|unpkg\.com", text)


def test_an_sae_far_worse_than_the_mean_is_drawn_and_not_too_large_to_draw():
    parts = {"Sae(x)": -16_999.0, "LinearError": 14_000.0, "NonlinearError": 3_000.0}
    frame = pd.DataFrame(
        [
            {"width": width, "part": part, "share": share}
            for width in (32, 64)
            for part, share in parts.items()
        ]
    )
    chart = charts.stacked_breakdown(frame, y_domain=(0, 1))
    assert chart._repr_mimebundle_()


def test_the_papers_points_are_hollow_and_other_studies_filled_in_one_legend():
    spec = charts.render(every_chart()["others' points"].to_dict())[charts.MIME]
    scales = [found["scale"] for found in strings(spec, "fill") if isinstance(found, dict)]
    names, fills = scales[0]["domain"], scales[0]["range"]
    assert names[-1] == "another: FVU" and all(name.startswith("the paper: ") for name in names[:-1])
    assert set(fills[:-1]) == {"transparent"} and fills[-1] != "transparent"
    page = charts.html(spec)
    assert page.count('aria-roledescription="legend"') == 2, (
        "ours above, theirs below: shape and fill are one"
    )


def test_widths_are_labelled_at_powers_of_two_or_where_few_lie_among_them_at_the_measured():
    def labelled(*widths):
        data = pd.DataFrame({"width": widths, "fvu": 0.1})
        return [axis.get("values") for axis in strings(charts.lines(data, "width", "fvu").to_dict(), "axis")]

    assert not any(labelled(2304, 3264, 4608, 9216))  # 4k and 8k, as other studies' points have
    assert [2304.0, 3264.0] in labelled(2304, 3264)
    assert not any(labelled(4096))
    assert [2304.0] in labelled(2304)


def test_a_line_passes_points_at_nearly_one_place_by_their_mean():
    data = pd.DataFrame({"x": [1, 1.41, 1.42, 2, 2.01, 4], "y": [1, 0.6, 0.8, 0.5, 0.3, 0.1]})
    spec = charts.lines(data, "x", "y", x_scale="log2", near=0.05).to_dict()
    sets = spec["datasets"].values()
    assert sorted(len(rows) for rows in sets) == [4, 6]
    line = next(rows for rows in sets if len(rows) == 4)
    assert [round(row["y"], 9) for row in line] == [1, 0.7, 0.4, 0.1]


def _ticks(spec) -> list[dict]:
    """What every axis across asks for."""
    if isinstance(spec, list):
        return [found for one in spec for found in _ticks(one)]
    if not isinstance(spec, dict):
        return []
    axis = spec["x"].get("axis") if isinstance(spec.get("x"), dict) else None
    mine = [{name: axis.get(name) for name in ("tickCount", "values")}] if axis else []
    return mine + [found for one in spec.values() for found in _ticks(one)]


def test_charts_in_the_same_axes_ask_for_the_same_ticks():
    at = lambda *widths: pd.DataFrame({"width": widths, "v": 0.5, "low": 0.4, "high": 0.6})
    drawn = lambda *widths: charts.lines(at(*widths), "width", "v")
    ours, two, few = drawn(2304, 4608, 9216, 18432), drawn(128, 256, 1024, 4096), drawn(3000, 3500)
    wide = drawn(*(2**k for k in range(6, 21)))
    assert _ticks(few.to_dict())[0]["values"] == [3000, 3500]
    assert _ticks(ours.to_dict())[0]["tickCount"] == 6
    for others, asked in (([two], 12), ([few], None), ([two, wide], None)):
        found = _ticks(charts.layered(ours, *others).to_dict())
        assert len(found) > 3 and {(one["tickCount"], one["values"]) for one in found} == {(asked, None)}
    assert _ticks(few.to_dict())[0]["values"] == [3000, 3500]  # itself unchanged


@pytest.mark.parametrize("first, kind", [(400_000.0, "log"), (2.0, None)])
def test_a_loud_first_token_does_not_flatten_the_rest(first, kind):
    value = np.r_[first, np.full(99, 0.15)]
    low = value - np.r_[2 * first, np.full(99, 0.01)]  # an interval that reaches below 0
    frame = pd.DataFrame({"position": range(100), "error": value, "low": low, "high": value * 3})
    spec = charts.by_position(frame, "error", window=(32, 100)).to_dict()
    scales = [one["y"].get("scale", {}).get("type") for one in _encodings(spec) if "y" in one]
    assert scales and set(scales) == {kind}
    drawn = [row["low"] for rows in spec["datasets"].values() for row in rows if "low" in row]
    assert min(drawn) == (0.075 if kind else low[0])


def _encodings(spec):
    if isinstance(spec, dict):
        yield from [spec["encoding"]] if "encoding" in spec else []
        spec = list(spec.values())
    for one in spec if isinstance(spec, list) else ():
        yield from _encodings(one)
