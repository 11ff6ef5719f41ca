// What tests of the interactive pictures do in a page: see what is drawn, move what can be moved.
const hands = {
  charts: () => [...document.querySelectorAll("div.vl-chart")],
  // The page's chart that has sliders or buttons of its own.
  moved: () => hands.charts().find((chart) => chart.querySelector(".vega-bind")),
  // The marks of a chart, each with its datum, those of legends left out.
  marks: (chart, kind) => [...chart.querySelectorAll(".vl-box svg path")].filter(
    (e) => e.__data__ && e.__data__.datum && e.__data__.mark.marktype === kind && !e.closest(".role-legend")),
  data: (kind) => hands.marks(hands.moved(), kind).map((e) => JSON.parse(JSON.stringify(e.__data__.datum))),
  spec: () => JSON.parse(hands.moved().querySelector("script").textContent),
  inputs: (name) => [...[...hands.moved().querySelectorAll(".vega-bind")]
    .find((e) => e.querySelector(".vega-bind-name").textContent.startsWith(name)).querySelectorAll("input")],
  options: (name) => hands.inputs(name).map((e) => e.value),
  async move(name, value) {
    const one = hands.inputs(name).find((e) => e.type === "range" || e.value === value);
    if (one.type === "range") {
      one.value = value;
      one.dispatchEvent(new Event("input", { bubbles: true }));
    } else one.click();
    await new Promise((done) => setTimeout(done, 30));
    await hands.moved().querySelector(".vl-box").view.runAsync();
  },
  // Of every chart that shares its widths: the width of each of its points and whether it is faded.
  linked: () => hands.charts().filter((chart) => chart.view),
  widthOf: (e) => e.__data__.datum.width ?? e.__data__.datum.x,
  faded: () => hands.linked().map((chart) => hands.marks(chart, "symbol").filter((e) => hands.widthOf(e) !== undefined)
    .map((e) => [hands.widthOf(e), e.classList.contains("faded")])),
  point() {
    const mark = hands.linked().flatMap((chart) => hands.marks(chart, "symbol")).find((e) => hands.widthOf(e) !== undefined);
    mark.scrollIntoView({ block: "center" });
    const box = mark.getBoundingClientRect();
    return { x: box.x + box.width / 2, y: box.y + box.height / 2, width: hands.widthOf(mark) };
  },
  still: () => [...document.querySelectorAll("div.vl-chart svg")].map((e) => [e.getBoundingClientRect().height,
    e.querySelectorAll(".mark-rect path, .mark-symbol path, .mark-line path, .mark-text text, .mark-rule line").length]),
  benches: () => [...document.querySelectorAll(".bench")],
  told: (box) => ({ about: JSON.parse(box.dataset.bench), label: box.querySelector("svg").getAttribute("aria-label"),
    said: box.querySelector(".bench-said").innerText, tall: box.querySelector("svg").getBoundingClientRect().height,
    at: Number(box.querySelector(".threshold").getAttribute("x1")) / box.querySelector("svg").viewBox.baseVal.width }),
  slide(n, place) {
    const box = hands.benches()[n];
    box.querySelector("input").value = place;
    box.querySelector("input").dispatchEvent(new Event("input"));
    return hands.told(box);
  },
  unfold: () => document.querySelectorAll("details").forEach((e) => { e.open = true; }),
};
