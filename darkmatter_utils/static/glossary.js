// Marks the first place on a page where a word of the glossary stands; what it means is told on hover and focus.
const NOT_IN = "a, abbr, code, pre, h1, h2, h3, table, figure, summary, .claim, .kicker, .strip, .tokens, mjx-container, .math";

function firstPlace(root, word) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const pattern = new RegExp(`(^|[^\\w-])(${word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}s?)(?![\\w-])`);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!parent.closest("p, li") || parent.closest(NOT_IN)) continue;
    const found = pattern.exec(node.data);
    if (found) return [node, found.index + found[1].length, found[2].length];
  }
  return null;
}

document.addEventListener("DOMContentLoaded", () => {
  const article = document.querySelector("article.bd-article");
  if (!article || document.querySelector("[data-glossary]")) return;
  for (const [word, meaning] of Object.entries(glossary)) {
    const found = firstPlace(article, word);
    if (!found) continue;
    const [node, start, length] = found;
    const rest = node.splitText(start);
    rest.splitText(length);
    const mark = document.createElement("abbr");
    mark.title = meaning;
    mark.tabIndex = 0;
    mark.className = "term";
    rest.replaceWith(mark);
    mark.append(rest);
  }
});
