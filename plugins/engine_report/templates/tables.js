"use strict";
// Sorting of tables by their headings, and long tables of which the page holds all rows as data.
const MORE_ROWS = 50;

// The numbers of a column, as the page writes them.
function written(value, form) {
  if (value === null || value === undefined) return "–";
  const digits = (least, most = least) =>
    value.toLocaleString("en", { minimumFractionDigits: least, maximumFractionDigits: most });
  const size = Math.abs(value);
  if (Number.isInteger(value)) return digits(0);
  if (form === "units") return size >= 10 ? digits(0) : String(Number(value.toPrecision(2)));
  if (form === "percent") return digits(size >= 100 ? 0 : 1);
  if (size < 1e-5 || size >= 1e12) return value.toExponential(3);
  return digits(Math.min(5, Math.max(0, 3 - Math.floor(Math.log10(size)))));
}

function compared(a, b, up, numeric) {
  if (!numeric) {
    if (!a !== !b) return a ? -1 : 1;
    return (up ? 1 : -1) * String(a ?? "").localeCompare(String(b ?? ""), undefined, { numeric: true });
  }
  const [x, y] = [a ?? NaN, b ?? NaN];
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
  return up ? x - y : y - x;
}

// The first click puts the worst on top, as the column says; texts start at A.
function turned(heads, index) {
  const head = heads[index];
  const first = head.classList.contains("number") && head.dataset.worst !== "low" ? "descending" : "ascending";
  const was = head.getAttribute("aria-sort");
  const now = was === null ? first : was === "ascending" ? "descending" : "ascending";
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", now);
  return now === "ascending";
}

function sortable(table, sorted) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(head.firstChild);
    head.prepend(button);
    button.addEventListener("click", () => sorted(index, turned(heads, index), head.classList.contains("number")));
  });
}

function sortRows(table) {
  sortable(table, (index, up, numeric) => {
    const key = ({ cells: { [index]: cell } }) =>
      !numeric ? cell.textContent : cell.dataset.value ? Number(cell.dataset.value) : NaN;
    const rows = [...table.tBodies[0].rows].sort((a, b) => compared(key(a), key(b), up, numeric));
    table.tBodies[0].append(...rows);
  });
}

// A name that is what was typed stands first, then those that begin with it.
function byFit(names, wanted) {
  const rank = (name) => (name === wanted ? 0 : name.startsWith(wanted) ? 1 : 2);
  return names
    .map((name, place) => ({ place, text: name.toLowerCase() }))
    .filter(({ text }) => text.includes(wanted))
    .sort((a, b) => (wanted ? rank(a.text) - rank(b.text) : 0) || a.place - b.place)
    .map(({ place }) => place);
}

function searchRows(box, table) {
  let rows = JSON.parse(box.querySelector("script").textContent);
  const heads = [...table.tHead.rows[0].cells];
  const finder = box.querySelector(".finder");
  const [input, button, count] = ["input", "button", ".count"].map((name) => finder.querySelector(name));
  const least = table.tBodies[0].rows.length;
  const [sums, note] = [table.tFoot?.rows[0], table.caption.querySelector(".detail")];
  const [all, told] = [sums && [...sums.cells].map((cell) => cell.textContent), note?.textContent];
  let most = least;
  // While something is sought, the last line is the sum of what was found.
  const summed = (found, wanted) => {
    if (note) note.textContent = wanted ? "" : told;
    if (!sums) return;
    [...sums.cells].forEach((cell, index) => {
      if (!wanted || (index && !all[index])) cell.textContent = all[index];
      else if (!index) cell.textContent = `${found.length.toLocaleString("en")} found`;
      else cell.textContent = written(found.reduce((sum, place) => sum + (rows[place][index] ?? 0), 0), heads[index].dataset.form);
    });
  };
  const show = () => {
    const wanted = input.value.trim().toLowerCase();
    const found = byFit(rows.map((row) => row[0]), wanted);
    table.tBodies[0].replaceChildren(...found.slice(0, most).map((place) => made(rows[place])));
    const shown = Math.min(found.length, most);
    button.hidden = shown >= found.length;
    summed(found, wanted);
    count.textContent = found.length
      ? `${shown} of ${found.length.toLocaleString("en")} shown`
      : `None has this in its name. ${hinted(table)}`;
  };
  const made = (values) => {
    const row = document.createElement("tr");
    values.forEach((value, index) => {
      const cell = document.createElement(index ? "td" : "th");
      const numeric = heads[index].classList.contains("number");
      if (!index) cell.scope = "row";
      if (numeric) cell.className = "number";
      if (numeric && value !== null) cell.dataset.value = value;
      cell.textContent = numeric ? written(value, heads[index].dataset.form) : value ?? "";
      row.append(cell);
    });
    return row;
  };
  input.addEventListener("input", () => { most = least; show(); });
  button.addEventListener("click", () => { most += MORE_ROWS; show(); });
  sortable(table, (index, up, numeric) => {
    rows = [...rows].sort((a, b) => compared(a[index], b[index], up, numeric));
    show();
  });
  finder.hidden = false;
  show();
  return new Map(rows.map((row) => [row[0], row]));
}

// What the name of a series looks like, for who finds none.
function hinted(table) {
  const hint = document.querySelector(".gallery")?.dataset.hint;
  return hint && (!table || table.closest("#order")) ? `Names are ${hint}.` : "";
}

let orders = { heads: [], rows: new Map() };
for (const table of document.querySelectorAll("table")) {
  const box = table.closest(".every");
  if (box) {
    const heads = [...table.tHead.rows[0].cells].map((head) => ({ name: head.firstChild.textContent, form: head.dataset.form }));
    const rows = searchRows(box, table);
    if (table.closest("#order")) orders = { heads, rows };
  } else if (table.tBodies[0].rows.length > 1) sortRows(table);
}
for (const hint of document.querySelectorAll(".hint")) hint.hidden = false;

for (const box of document.querySelectorAll(".scroll")) {
  const mark = () => box.classList.toggle("more", box.scrollWidth - box.clientWidth - box.scrollLeft > 1);
  new ResizeObserver(mark).observe(box);
  box.addEventListener("scroll", mark, { passive: true });
}
