// What a reader would trip over on the page as it is laid out now: by rule, the places where it is broken.
(() => {
  const article = document.querySelector(".bd-article") || document.body;
  const seen = (e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const short = (text) => text.replace(/\s+/g, " ").trim().slice(0, 60);
  const all = (selector, of = document) => [...of.querySelectorAll(selector)].filter(seen);
  const name = (e) => `${e.tagName.toLowerCase()}.${e.getAttribute("class") || ""}: ${short(e.textContent)}`;
  const broken = (selector, test, of = document) => all(selector, of).filter(test).map(name);
  const meta = (e) => JSON.parse(e.closest(".vl-chart").querySelector("script").textContent).usermeta || {};
  const strip = (e) => Boolean(e.closest(".vl-chart") && meta(e).scaleText);

  function texts(root) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    const found = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const holder = node.parentElement;
      if (node.data.trim() && !holder.closest("script, style, noscript, mjx-container") && seen(holder)) found.push(node);
    }
    return found;
  }
  const words = texts(document.body);

  // Markup that was meant for a renderer; what is quoted, code or a text of the model, may look like it.
  const MARKUP = [/<\/?[a-z]+[^<>]*>/i, /\$[^\s$][^$]*\$/, /(^|[^\w*])\*{1,2}[^\s*]([^*]*[^\s*])?\*{1,2}(?![\w*])/, /''|``/,
    /&(lt|gt|amp|quot|#\d+);/, /\{(glue|numref|doc|cite|term|math)\b/, /\\[([]|\\(frac|text|mathrm|lVert|cdot)\b/];
  const markup = words.filter((node) => !node.parentElement.closest("pre, code, .tokens, .math") && !strip(node.parentElement))
    .filter((node) => MARKUP.some((mark) => mark.test(node.data))).map((node) => short(node.data));

  // Of a chart's width, panels have most; none of its words is cut by its box.
  const plots = [], cut = [];
  for (const chart of all("div.vl-chart").filter((e) => !strip(e))) {
    const svg = chart.querySelector("svg").getBoundingClientRect();
    const rows = [];
    for (const panel of chart.querySelectorAll("svg .mark-group > g > .background")) {
      const box = panel.getBoundingClientRect();
      if (box.width < 30 || box.height < 20 || panel.closest(".role-legend")) continue;
      let row = rows.find((one) => Math.abs(one.top - box.top) < 12);
      if (!row) rows.push((row = { top: box.top, widths: new Map() }));
      row.widths.set(Math.round(box.left), box.width); // the layers of a panel lie on each other
    }
    const sum = (row) => [...row.widths.values()].reduce((whole, one) => whole + one, 0);
    const share = Math.max(0, ...rows.map(sum)) / svg.width;
    if (share < 0.6) plots.push(`${share.toFixed(2)} of ${svg.width}: ${short(chart.getAttribute("aria-label"))}`);
    const box = chart.getBoundingClientRect();
    for (const text of chart.querySelectorAll("svg text")) {
      const own = text.getBoundingClientRect();
      if (own.width && (own.left < box.left - 1 || own.right > box.right + 1)) cut.push(name(text));
    }
  }

  const wide = [];
  if (document.documentElement.scrollWidth > innerWidth) wide.push(`the page: ${document.documentElement.scrollWidth}`);
  const column = article.getBoundingClientRect();
  const within = "div.vl-chart, figure, p, pre, blockquote, .math, details, .strip, .doors, .tokens";
  wide.push(...broken(within, (e) => e.getBoundingClientRect().right > Math.min(innerWidth, column.right) + 1, article));
  const over = (e) => e.scrollWidth > e.clientWidth + 1;
  // Only a strip of tokens scrolls in its own box, and only where the page is narrow.
  wide.push(...broken("div.vl-chart", (e) => over(e) && !(innerWidth < 480 && strip(e)), article));
  const equations = broken("div.math, .math mjx-container[display]", over, article);
  const code = broken("pre", over, article);

  // A box that is seen, by its border or its ground, keeps its words off its edge.
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return text.startsWith("color(") ? { r: 255 * r, g: 255 * g, b: 255 * b, a } : { r, g, b, a };
  };
  const blend = (top, under) => {
    const mix = (key) => top[key] * top.a + under[key] * (1 - top.a);
    return { r: mix("r"), g: mix("g"), b: mix("b"), a: 1 };
  };
  function ground(e) {
    const layers = [];
    for (let at = e; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.backgroundImage !== "none") return null;
      const colour = parse(style.backgroundColor);
      layers.push({ ...colour, a: colour.a * style.opacity });
      if (colour.a === 1) break;
    }
    return layers.reduceRight((under, top) => blend(top, under), { r: 255, g: 255, b: 255, a: 1 });
  }
  const differ = (one, other) => one && other && Math.abs(one.r - other.r) + Math.abs(one.g - other.g) + Math.abs(one.b - other.b) > 6;
  const padding = [];
  for (const e of all("div, blockquote, pre, details, aside, p", article)) {
    const style = getComputedStyle(e);
    const edge = parseFloat(style.borderLeftWidth) && parse(style.borderLeftColor).a && parseFloat(style.borderRightWidth);
    if (!edge && !(parse(style.backgroundColor).a && differ(ground(e), ground(e.parentElement)))) continue;
    const box = e.getBoundingClientRect();
    if (e.closest(".vl-chart, .sd-tab-set")) continue;
    for (const node of texts(e)) {
      const range = document.createRange();
      range.selectNodeContents(node);
      const text = range.getBoundingClientRect();
      if (!text.width) continue;
      if (text.left - box.left < 4 || box.right - text.right < 0 || text.top - box.top < 1 || box.bottom - text.bottom < 1) {
        padding.push(`${name(e)} / ${short(node.data)}`);
        break;
      }
    }
  }

  // Text that is hard to see: below 4.5 to 1 against what it stands on, marks of a chart included.
  const light = ({ r, g, b }) => {
    const [R, G, B] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const opacity = (e) => { let all = 1; for (let at = e; at; at = at.parentElement) all *= getComputedStyle(at).opacity; return all; };
  function behind(text) {
    const svg = text.closest("svg");
    const own = text.getBoundingClientRect();
    const [x, y] = [own.left + own.width / 2, own.top + own.height / 2];
    let under = ground(svg.parentElement);
    for (const mark of svg.querySelectorAll(".mark-rect > path, .mark-rect > g > path, rect, circle, .mark-symbol path")) {
      if (!(mark.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING)) continue;
      const box = mark.getBoundingClientRect();
      if (x < box.left || x > box.right || y < box.top || y > box.bottom || box.width > 0.9 * innerWidth) continue;
      const style = getComputedStyle(mark);
      if (!style.fill.startsWith("rgb")) continue;
      under = blend({ ...parse(style.fill), a: parse(style.fill).a * style.fillOpacity * style.opacity }, under);
    }
    return under;
  }
  const contrast = new Map();
  for (const node of words) {
    const e = node.parentElement;
    if (e.closest("[disabled]")) continue;
    const style = getComputedStyle(e);
    const inside = e.closest("svg");
    const own = parse(inside ? (style.fill === "none" ? "rgba(0,0,0,0)" : style.fill) : style.color);
    const under = inside ? behind(e) : ground(e);
    if (!under || !own.a) continue;
    const shown = blend({ ...own, a: own.a * opacity(e) * (inside ? style.fillOpacity : 1) }, under);
    const [low, high] = [light(shown), light(under)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) {
      const key = `${ratio.toFixed(2)} ${inside ? style.fill : style.color} in ${(e.closest("[class]") || e).getAttribute("class")}`;
      if (!contrast.has(key)) contrast.set(key, `${key}: ${short(node.data)}`);
    }
  }

  // Everything that can be worked or is a picture has a name of its own; an id is one.
  const labelled = (e) => (e.getAttribute("aria-label") || "").trim() || e.getAttribute("aria-labelledby") || e.title
    || (e.labels && e.labels.length && [...e.labels].map((one) => one.textContent).join("").trim())
    || e.textContent.trim() || (e.querySelector("img[alt], [aria-label], svg title") ? "inside" : "");
  const labels = all("button, a[href], input, select, textarea, summary, [role=img], img, nav").filter((e) => {
    if (e.matches("img")) return !e.alt;
    if (e.closest("mjx-container, [aria-hidden=true]")) return false;
    if (e.matches("[role=img]")) return !e.closest(".vl-box") && !e.getAttribute("aria-label");
    return !labelled(e);
  }).map((e) => e.outerHTML.slice(0, 110));
  labels.push(...all("div.vl-chart").filter((e) => e.getAttribute("aria-label").length < 12).map((e) => `chart: ${e.getAttribute("aria-label")}`));
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  const twice = [...new Set(ids.filter((id, n) => ids.indexOf(id) !== n))];

  return { markup, plots, cut, wide, equations, code, padding, contrast: [...contrast.values()], labels, twice };
})()
