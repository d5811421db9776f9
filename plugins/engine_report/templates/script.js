"use strict";
// Sorting of tables by their headings, and choosing a series by its name.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  if (table.tBodies[0].rows.length < 2) continue;
  heads.forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(head.firstChild);
    head.prepend(button);
    button.addEventListener("click", () => sortBy(table, heads, index));
  });
}

function sortBy(table, heads, index) {
  const up = heads[index].getAttribute("aria-sort") !== "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[index].setAttribute("aria-sort", up ? "ascending" : "descending");
  const numeric = heads[index].classList.contains("number");
  const key = (row) => {
    const cell = row.cells[index];
    if (!numeric) return cell.textContent;
    return cell.dataset.value ? Number(cell.dataset.value) : NaN;
  };
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (!numeric) return (up ? 1 : -1) * x.localeCompare(y, undefined, { numeric: true });
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return up ? x - y : y - x;
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

for (const gallery of document.querySelectorAll(".gallery")) {
  const input = gallery.querySelector("input");
  const button = gallery.querySelector("button");
  const figures = [...gallery.querySelectorAll("figure")];
  const choose = () => {
    const wanted = input.value.trim().toLowerCase();
    const all = button.getAttribute("aria-pressed") === "true";
    const most = wanted || all ? figures.length : Number(gallery.dataset.shown);
    let shown = 0;
    for (const figure of figures) {
      const fits = figure.dataset.name.toLowerCase().includes(wanted);
      figure.hidden = !fits || shown >= most;
      if (!figure.hidden) shown += 1;
    }
    gallery.querySelector(".count").textContent = `${shown} of ${figures.length} drawn series shown`;
  };
  input.addEventListener("input", choose);
  button.hidden = figures.length <= Number(gallery.dataset.shown);
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    button.textContent = button.getAttribute("aria-pressed") === "true" ? "Show fewer" : "Show all";
    choose();
  });
  choose();
}
