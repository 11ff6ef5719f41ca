// The token browser: two SAEs to choose, contexts sorted by how much their errors disagree, a token's numbers below.
const FULL = 250;

function choose(label, names, chosen, then) {
  const box = document.createElement("label");
  const select = document.createElement("select");
  names.forEach((name, at) => select.add(new Option(name, at, false, at === chosen)));
  select.addEventListener("change", () => then(Number(select.value)));
  box.append(`${label} `, select);
  return [box, select];
}

function tokens(element) {
  const data = JSON.parse(element.querySelector("script").textContent);
  const text = element.querySelector(".tokens-text");
  const about = element.querySelector(".tokens-about");
  const controls = element.querySelector(".tokens-controls");
  const state = { a: 0, b: data.saes.length - 1, context: 0, shown: "a" };
  const apart = (context) => {
    const [a, b] = [context.values[state.a], context.values[state.b]];
    return a.reduce((sum, value, at) => sum + Math.abs(value[0] - b[at][0]), 0) / a.length;
  };
  const resting = () =>
    `${data.saes[state.shown === "a" ? state.a : state.b]}: the darker a token, the larger its error (hover: the numbers)`;
  const said = (at) => {
    const of = (sae) => {
      const [error, linear, rest] = data.contexts[state.context].values[sae][at].map((value) => (value / 100).toFixed(2));
      const parts = linear === undefined ? "" : `, linear ${linear}, nonlinear ${rest}`;
      return `${data.saes[sae]}: error ${error}${parts}`;
    };
    return `${of(state.a)} · ${of(state.b)} (1 is that SAE's mean error)`;
  };
  function draw() {
    const context = data.contexts[state.context];
    const values = context.values[state.shown === "a" ? state.a : state.b];
    text.replaceChildren(
      ...context.words.map((word, at) => {
        const span = document.createElement("span");
        span.textContent = word;
        span.style.setProperty("--e", Math.min(1, values[at][0] / FULL).toFixed(2));
        span.addEventListener("mouseenter", () => (about.textContent = said(at)));
        span.addEventListener("mouseleave", () => (about.textContent = resting()));
        return span;
      }),
    );
    about.textContent = resting();
  }
  function sort() {
    const order = data.contexts.map((context, at) => [apart(context), at]).sort((one, two) => two[0] - one[0]);
    contexts.replaceChildren(
      ...order.map(([far, at]) => new Option(`${data.contexts[at].name}: apart by ${(far / 100).toFixed(2)}`, at)),
    );
    state.context = order[0][1];
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
