// The token browser: two SAEs to choose, contexts sorted by how far their errors are apart, and under the text the
// numbers of the token under the pointer or in focus: both SAEs' errors and what these are made of.
const PARTS = ["error", "linear", "nonlinear"];

function choose(label, names, chosen, then) {
  const box = document.createElement("label");
  const select = document.createElement("select");
  names.forEach((name, at) => select.add(new Option(name, at, false, at === chosen)));
  select.addEventListener("change", () => then(Number(select.value)));
  box.append(`${label} `, select);
  return [box, select];
}

function made(tag, name, text = "") {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}

// 16-bit numbers, little-endian, in base64.
function unpacked(text) {
  const bytes = atob(text);
  return Array.from({ length: bytes.length / 2 }, (_, at) => bytes.charCodeAt(2 * at) + 256 * bytes.charCodeAt(2 * at + 1));
}

// SaeError = LinearError + NonlinearError as vectors, so that the squares leave twice their product.
function squares([error, linear, nonlinear]) {
  const two = (value) => value.toFixed(2).replace("-", "−");
  const [whole, one, other] = [error, linear, nonlinear].map((value) => Number((value * value).toFixed(2)));
  return `squares: ${two(whole)} = ${two(one)} + ${two(other)} + ${two(whole - one - other)}`.replace("+ −", "− ");
}

function row(sae, values, full, unsplit) {
  const line = made("div", "tokens-row");
  line.append(made("strong", "", sae));
  PARTS.slice(0, values.length).forEach((part, at) => {
    const cell = made("span", `tokens-part tokens-${part}`, `${part} ${values[at].toFixed(2)}`);
    const bar = made("i", "");
    bar.style.width = `${(100 * Math.min(1, values[at] / full)).toFixed(1)}%`;
    cell.append(bar);
    line.append(cell);
  });
  line.append(made("span", "tokens-squares", values.length > 1 ? squares(values) : unsplit));
  return line;
}

function tokens(element) {
  const data = JSON.parse(element.querySelector("script").textContent);
  for (const context of data.contexts) {
    context.values = context.values.map((parts) => parts.map((part) => unpacked(part).map((value) => value / data.steps)));
  }
  const text = element.querySelector(".tokens-text");
  const about = element.querySelector(".tokens-about");
  const controls = element.querySelector(".tokens-controls");
  const split = made("div", "tokens-split");
  split.setAttribute("aria-live", "polite");
  text.after(split);
  // At first the narrowest and the widest whose errors are split; without any, of all.
  const splits = data.contexts[0].values.flatMap((parts, sae) => (parts.length > 1 ? [sae] : []));
  const state = { a: splits[0] ?? 0, b: splits.at(-1) ?? data.saes.length - 1, context: 0, shown: "a", focus: null };
  const apart = (context) => {
    const [[a], [b]] = [context.values[state.a], context.values[state.b]];
    return a.reduce((sum, value, at) => sum + Math.abs(value - b[at]), 0) / a.length;
  };
  const mean = (part) => Math.sqrt(part.reduce((sum, value) => sum + value * value, 0) / part.length);
  function tell(at) {
    const { words, values } = data.contexts[state.context];
    const of = (sae) => values[sae].map((part) => (at === null ? mean(part) : part[at]));
    const what = at === null ? `all ${words.length} tokens, root mean square` : `token “${words[at].trim() || "␣"}”`;
    const saes = state.a === state.b ? [state.a] : [state.a, state.b];
    split.replaceChildren(
      made("div", "tokens-what", `${what} (1: the SAE's mean error; error² = linear² + nonlinear² + twice their product)`),
      ...saes.map((sae) => row(data.saes[sae], of(sae), data.full, data.unsplit)),
    );
  }
  function focus(at) {
    const spans = text.children;
    const to = Math.max(0, Math.min(spans.length - 1, at));
    for (const span of spans) span.tabIndex = -1;
    spans[to].tabIndex = 0;
    spans[to].focus();
  }
  // The token of the next line, or of the one before, that is nearest to this one.
  function beside(at, step) {
    const here = text.children[at].getBoundingClientRect();
    const boxes = [...text.children].map((span) => span.getBoundingClientRect());
    const others = boxes.map((box, to) => [step * (box.top - here.top), Math.abs(box.left - here.left), to]);
    const there = others.filter(([down]) => down > here.height / 2).sort((one, two) => one[0] - two[0] || one[1] - two[1]);
    return there.length ? there[0][2] : at;
  }
  text.addEventListener("keydown", (event) => {
    const at = [...text.children].indexOf(document.activeElement);
    const last = text.children.length - 1;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last };
    if (event.key === "ArrowDown") to[event.key] = beside(at, 1);
    if (event.key === "ArrowUp") to[event.key] = beside(at, -1);
    if (at < 0 || to[event.key] === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    focus(to[event.key]);
  });
  function draw() {
    const context = data.contexts[state.context];
    const shown = state.shown === "a" ? state.a : state.b;
    state.focus = null;
    text.replaceChildren(
      ...context.words.map((word, at) => {
        const span = document.createElement("span");
        span.textContent = word;
        span.tabIndex = at === 0 ? 0 : -1;
        span.style.setProperty("--e", Math.min(1, context.values[shown][0][at] / data.full).toFixed(2));
        span.addEventListener("mouseenter", () => tell(at));
        span.addEventListener("mouseleave", () => tell(state.focus));
        span.addEventListener("focus", () => tell((state.focus = at)));
        span.addEventListener("blur", () => tell((state.focus = null)));
        return span;
      }),
    );
    about.textContent = `${data.saes[shown]}: the darker a token, the larger its error`;
    turn.hidden = state.a === state.b;
    tell(null);
  }
  function sort() {
    const order = data.contexts.map((context, at) => [apart(context), at]).sort((one, two) => two[0] - one[0]);
    contexts.replaceChildren(
      ...order.map(([far, at]) => new Option(`${far.toFixed(2)} apart: ${data.contexts[at].name}`, at)),
    );
    const whole = ([, at]) => 2 * data.contexts[at].words.filter((word) => word.includes("\uFFFD")).length < data.contexts[at].words.length;
    state.context = (order.find(whole) ?? order[0])[1]; // not one of bytes that are no characters
    contexts.value = state.context;
    draw();
  }
  const [first] = choose("SAE", data.saes, state.a, (at) => ((state.a = at), sort()));
  const [second] = choose("beside", data.saes, state.b, (at) => ((state.b = at), sort()));
  const [where, contexts] = choose("text", [], 0, (at) => ((state.context = at), draw()));
  const turn = document.createElement("button");
  turn.type = "button";
  turn.textContent = "show the other";
  turn.addEventListener("click", () => ((state.shown = state.shown === "a" ? "b" : "a"), draw()));
  controls.append(first, second, where, turn);
  sort();
}

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".tokens").forEach(tokens));
