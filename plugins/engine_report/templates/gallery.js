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

for (const box of document.querySelectorAll(".scroll")) {
  const mark = () => box.classList.toggle("more", box.scrollWidth - box.clientWidth - box.scrollLeft > 1);
  new ResizeObserver(mark).observe(box);
  box.addEventListener("scroll", mark, { passive: true });
}

const MOST_FOUND = 12;

for (const gallery of document.querySelectorAll(".gallery")) {
  const input = gallery.querySelector("input");
  const button = gallery.querySelector("button");
  const data = gallery.querySelector("script");
  const found = data ? JSON.parse(data.textContent) : { series: [] };
  const figures = [...gallery.querySelectorAll("figure")];
  const names = new Set([...figures.map((f) => f.dataset.name), ...found.series.map((s) => s[0])]);
  const drawn = new Set(figures.map((f) => f.dataset.name));
  const more = found.series.filter((entry) => !drawn.has(entry[0]));
  const room = gallery.querySelector(".charts");
  gallery.querySelector("datalist").append(
    ...[...names].slice(0, 1000).map((name) => Object.assign(document.createElement("option"), { value: name })));
  const choose = () => {
    const wanted = input.value.trim().toLowerCase();
    const all = button.getAttribute("aria-pressed") === "true";
    const fits = (name) => name.toLowerCase().includes(wanted);
    const most = wanted ? MOST_FOUND : all ? figures.length : Number(gallery.dataset.shown);
    room.querySelectorAll("figure.found").forEach((figure) => figure.remove());
    let shown = 0;
    for (const figure of figures) {
      figure.hidden = !fits(figure.dataset.name) || shown >= most;
      if (!figure.hidden) shown += 1;
    }
    if (wanted) {
      for (const entry of more.filter((e) => fits(e[0])).slice(0, most - shown)) {
        const figure = drawSeries(found, entry);
        figure.className = "found";
        room.append(figure);
        shown += 1;
      }
    }
    const matching = [...names].filter(fits).length;
    gallery.querySelector(".count").textContent = !wanted
      ? `${shown} of ${figures.length} drawn series shown`
      : matching > shown
        ? `${shown} of ${matching} series with this name shown: type more of it`
        : `${matching} of ${names.size} series with this name`;
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
