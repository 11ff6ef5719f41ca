// Gives each threshold of the report a slider. The words at every value were made by the rules beforehand.
const GLYPHS = { holds: "●", partly: "◐", "does not hold": "○", "cannot be told here": "?" };

function bench(element) {
  const { low, high, at, steps } = JSON.parse(element.dataset.bench);
  const said = element.querySelector(".bench-said");
  const line = element.querySelector(".threshold");
  const width = element.querySelector("svg").viewBox.baseVal.width;
  const first = said.innerHTML;
  const slider = document.createElement("input");
  slider.type = "range";
  slider.min = 0;
  slider.max = 1000;
  slider.value = Math.round((1000 * (at - low)) / (high - low));
  slider.setAttribute("aria-label", element.querySelector("svg").getAttribute("aria-label"));
  const start = slider.value;
  slider.addEventListener("input", () => {
    const value = low + (slider.value / 1000) * (high - low);
    const [, statement, claim] = steps.find(([end]) => end === null || value <= end);
    const x = (width * slider.value) / 1000;
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    const moved = slider.value !== start;
    const number = Number(value.toPrecision(3)).toString().replace("-", "−");
    said.innerHTML = moved
      ? `at ${number} the statement: ${GLYPHS[statement]} ${statement}; the claim: ${GLYPHS[claim]} ${claim}`
      : first;
  });
  element.insertBefore(slider, said);
}

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".bench").forEach(bench));
