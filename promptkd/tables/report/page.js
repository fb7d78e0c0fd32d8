"use strict";
// Tables: a heading sorts, a second click turns the order round; numbers by value, what is missing last.
for (const table of document.querySelectorAll("table.sort")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  headings.forEach((heading, column) => {
    heading.firstChild.addEventListener("click", () => {
      const rows = [...body.rows];
      const numeric = rows.some((row) => row.cells[column].dataset.v);
      const before = heading.getAttribute("aria-sort");
      const down = before === "none" ? numeric : before === "ascending";
      headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[column];
        return numeric ? (cell.dataset.v ? Number(cell.dataset.v) : null) : cell.textContent;
      };
      const collator = new Intl.Collator(undefined, { numeric: true });
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        return (down ? -1 : 1) * (numeric ? x - y : collator.compare(x, y));
      });
      body.append(...rows);
    });
  });
}

// Filter: every word must occur; rows, charts and runs that do not match are hidden, and blocks with nothing left.
// What is folded opens where something matches, and is as it was when the field is empty again.
const input = document.getElementById("filter");
const found = document.getElementById("found");
input.addEventListener("input", () => {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const element of document.querySelectorAll("[data-f]")) {
    element.hidden = !words.every((word) => element.dataset.f.includes(word));
  }
  for (const block of document.querySelectorAll(".block")) {
    block.hidden = !block.querySelector("[data-f]:not([hidden])");
  }
  for (const fold of document.querySelectorAll(".fold")) {
    fold.hidden = !fold.querySelector("[data-f]:not([hidden])");
    if (words.length) {
      fold.dataset.open ??= fold.open;
      fold.open = !fold.hidden;
    } else if (fold.dataset.open) {
      fold.open = fold.dataset.open === "true";
      delete fold.dataset.open;
    }
  }
  const runs = document.querySelectorAll(".run:not([hidden])").length;
  found.textContent = words.length ? `${runs} runs match` : "";
});
