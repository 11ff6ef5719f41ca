// Draws every div.vl-chart of the page from the specification beside its static SVG, at the width the page has.
const NARROW = 480;
// Pixels of a row whose name stands above it.
const ROW = 30;
// Below this share of its size the text of a strip of tokens is too small to read: it scrolls instead, like code.
const SMALLEST_STRIP = 0.78;

function wrapText(text, width, perCharacter) {
  const words = (Array.isArray(text) ? text.join(" ") : String(text)).split(/\s+/);
  const most = Math.max(12, Math.floor(width / perCharacter));
  const lines = [""];
  for (const word of words) {
    const last = lines[lines.length - 1];
    if (last && (last + " " + word).length > most) lines.push(word);
    else lines[lines.length - 1] = last ? last + " " + word : word;
  }
  return lines;
}

// Only views have a numeric width next to a mark, a layer or a composition; a mark's own width is left alone.
function scaleViews(node, factor, available) {
  if (Array.isArray(node)) return node.forEach((item) => scaleViews(item, factor, available));
  if (!node || typeof node !== "object") return;
  const view = "mark" in node || "layer" in node || "encoding" in node;
  if (view && typeof node.width === "number") node.width = Math.max(40, node.width * factor);
  for (const key of ["layer", "concat", "hconcat", "vconcat", "spec"]) {
    if (key in node) scaleViews(node[key], factor, available);
  }
}

function scaleMarkText(node, factor) {
  if (Array.isArray(node)) return node.forEach((item) => scaleMarkText(item, factor));
  if (!node || typeof node !== "object") return;
  if (node.mark && node.mark.fontSize) node.mark.fontSize *= factor;
  for (const key of ["layer", "concat", "hconcat", "vconcat", "spec"]) {
    if (key in node) scaleMarkText(node[key], factor);
  }
}

// A legend that says how many columns it has says it for a wide page.
function narrowLegends(node, columns) {
  if (!node || typeof node !== "object") return;
  if (node.legend && node.legend.columns > columns) node.legend.columns = columns;
  if (node.legend && node.legend.orient === "bottom") node.legend.columns = 1;
  for (const item of Object.values(node)) narrowLegends(item, columns);
}

// The letters of the longest name in a legend.
function longestName(node) {
  if (!node || typeof node !== "object") return 0;
  const domain = (node.legend !== null && node.scale && node.scale.domain) || [];
  const own = Array.isArray(domain) ? domain.filter((one) => typeof one === "string").map((one) => one.length) : [];
  return Math.max(0, ...own, ...Object.values(node).map(longestName));
}

// A row of panels becomes a column of panels where a row would leave each too little.
function stackPanels(spec) {
  if (spec.hconcat) {
    spec.vconcat = spec.hconcat;
    delete spec.hconcat;
  }
  if (spec.facet && spec.facet.column && !spec.facet.row) spec.facet = spec.facet.column;
  if (spec.columns || spec.concat || (spec.facet && spec.facet.field)) spec.columns = 1;
}

const layersOf = (node) => [node, ...(node.layer || [])];
const ofRows = (one) => one.encoding && one.encoding.y && one.encoding.y.type === "nominal";
const ABOVE = { labelAlign: "left", labelBaseline: "bottom", labelPadding: 0 };
const LINE = 14;

// Names of rows stand above their rows, which need room for it, where beside them they would leave the plot too little.
function namesAbove(node, tables) {
  if (Array.isArray(node)) return node.forEach((one) => namesAbove(one, tables));
  if (!node || typeof node !== "object") return;
  const drawn = layersOf(node);
  const down = drawn.filter(ofRows).map((one) => one.encoding.y);
  const filled = drawn.some((one) => ["rect", "bar"].includes((one.mark && one.mark.type) || one.mark));
  if (down.length && node.height && !filled) {
    const names = tables.map((rows) => [...new Set(rows.map((row) => row[down[0].field]))]);
    const rows = Math.max(...names.map((found) => found.length));
    const lines = Math.max(...names.flat().map((name) => String(name).split("\n").length));
    const below = Math.max(...drawn.map((one) => (one.mark && one.mark.yOffset) || 0));
    const row = ROW + LINE * (lines - 1) + below;
    if (typeof node.height === "number") node.height = Math.max(node.height, row * rows);
    else if (node.height.step) node.height.step = Math.max(node.height.step, row);
    const told = down.filter((y) => y.axis);
    const above = { ...ABOVE, labelOffset: -6 - LINE * (lines - 1) };
    for (const y of told.length ? told : [down[0]]) y.axis = { ...y.axis, ...above };
  }
  for (const key of ["concat", "hconcat", "vconcat", "spec"]) if (key in node) namesAbove(node[key], tables);
}

function fitted(original, factor, available) {
  const spec = structuredClone(original);
  const meta = spec.usermeta || {};
  if (available < NARROW) {
    spec.config = spec.config || {};
    namesAbove(spec, Object.values(spec.datasets || {}));
    const views = ["encoding", "layer", "concat", "hconcat", "vconcat", "spec"];
    const columns = 6.2 * longestName(views.map((key) => spec[key])) > available / 2 - 40 ? 1 : 2;
    for (const key of views) narrowLegends(spec[key], columns);
    const legend = { columns, labelLimit: available / columns - 40, layout: { top: { direction: "vertical" } } };
    spec.config.legend = { ...(spec.config.legend || {}), ...legend };
    spec.config.axis = { ...(spec.config.axis || {}), labelLimit: available * 0.36 };
    if (spec.title) {
      const plain = typeof spec.title === "string" || Array.isArray(spec.title);
      const title = plain ? { text: spec.title } : spec.title;
      title.text = wrapText(title.text, available, 7.6);
      if (title.subtitle) title.subtitle = wrapText(title.subtitle, available, 6.3);
      spec.title = title;
    }
  }
  scaleViews(spec, factor, available);
  if (meta.scaleText) scaleMarkText(spec, factor);
  return spec;
}

// A width that is pointed at in one chart is shown in all of the page whose axis is the width: others fade.
const WIDTHS = "SAE width (latents)";

function eachPoint(node, then) {
  if (node.marktype === "symbol" || node.marktype === "rect") {
    for (const item of node.items) if (item._svg && item.datum) then(item);
  }
  for (const item of node.items || []) if (item.items) eachPoint(item, then);
}

function linkWidths(element, view) {
  if (!element.querySelector("script").textContent.includes(WIDTHS)) return;
  element.view = view;
  const widthOf = (datum) => (datum.width !== undefined ? datum.width : datum.x);
  const show = (width) => {
    for (const other of document.querySelectorAll("div.vl-chart")) {
      if (!other.view) continue;
      eachPoint(other.view.scenegraph().root, (item) => {
        const own = widthOf(item.datum);
        item._svg.classList.toggle("faded", width !== undefined && own !== undefined && own !== width);
      });
    }
  };
  view.addEventListener("mouseover", (event, item) => item && item.datum && show(widthOf(item.datum)));
  view.addEventListener("mouseout", () => show(undefined));
}

async function draw(element) {
  const script = element.querySelector("script");
  const original = JSON.parse(script.textContent);
  const available = element.clientWidth;
  if (!available || element.drawnAt === available) return;
  element.drawnAt = available;
  const box = document.createElement("div");
  box.className = "vl-box vl-drawing";
  element.insertBefore(box, script);
  try {
    if (available < NARROW) stackPanels(original);
    let factor = 1;
    // Axis labels and margins do not shrink with the views: measure, correct, at most four times.
    for (let attempt = 0; attempt < 4; attempt++) {
      if (box.finish) box.finish();
      const result = await vegaEmbed(box, fitted(original, factor, available), { actions: false, renderer: "svg" });
      box.finish = () => result.finalize();
      box.view = result.view;
      const svg = box.querySelector("svg");
      const drawn = Number(svg.getAttribute("width"));
      const strip = (original.usermeta || {}).scaleText;
      svg.style.maxWidth = strip ? "none" : "100%";
      svg.style.height = "auto";
      if (drawn <= available || (strip && factor <= SMALLEST_STRIP)) break;
      factor *= Math.max(0.3, (available / drawn) * (attempt ? 0.94 : 0.985));
      if (strip) factor = Math.max(factor, SMALLEST_STRIP);
    }
    for (const old of element.querySelectorAll(".vl-box")) if (old !== box) old.remove();
    box.classList.remove("vl-drawing");
    linkWidths(element, box.view);
    // The whole is one picture with one description; its marks have none that would say more.
    box.querySelector("svg").setAttribute("aria-hidden", "true");
    // A picture has no parts to work with: one that has sliders is a group. What scrolls can be reached by keyboard.
    if (box.querySelector("input, select")) element.setAttribute("role", "group");
    if (element.scrollWidth > element.clientWidth + 1) element.tabIndex = 0;
    else element.removeAttribute("tabindex");
    element.dataset.drawn = "yes";
  } catch (error) {
    // The static picture stays; the page says in its console why it is not interactive.
    box.remove();
    element.dataset.drawn = "no";
    console.error("chart not drawn:", error);
  }
}

async function drawAll() {
  // Text is measured as it is drawn: in the book's fonts, once they are there.
  const fonts = [...document.fonts].filter((font) => font.family.includes("Dark Matter"));
  await Promise.allSettled(fonts.map((font) => font.load()));
  const elements = [...document.querySelectorAll("div.vl-chart")];
  const seen = new ResizeObserver((entries) => {
    for (const entry of entries) {
      clearTimeout(entry.target.waiting);
      entry.target.waiting = setTimeout(() => draw(entry.target), entry.target.drawnAt ? 150 : 0);
    }
  });
  elements.forEach((element) => seen.observe(element));
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", drawAll);
else drawAll();
