// Choosing pictures of series by name; those that are not on the page are drawn when asked for.
const MOST_FOUND = 12;
const BESIDE = ["forecast", "enough", "WAPE", "bias"];

// What there is to order of a series, and how far off its forecasts were.
function beside(name) {
  const row = orders.rows.get(name);
  if (!row) return "";
  return orders.heads
    .map((head, index) => (BESIDE.includes(head.name) ? `${head.name} ${written(row[index], head.form)}` : ""))
    .filter(Boolean)
    .join(", ");
}

function withOrders(figure) {
  const said = beside(figure.dataset.name);
  if (!said) return figure;
  const detail = document.createElement("span");
  detail.className = "detail";
  detail.textContent = said;
  figure.querySelector("figcaption").append(detail);
  return figure;
}

for (const gallery of document.querySelectorAll(".gallery")) {
  const input = gallery.querySelector("input");
  const button = gallery.querySelector("button");
  const data = gallery.querySelector("script");
  const found = data ? JSON.parse(data.textContent) : { series: [] };
  const figures = [...gallery.querySelectorAll("figure")];
  const drawn = new Map(figures.map((figure) => [figure.dataset.name, figure]));
  const entries = new Map(found.series.map((entry) => [entry[0], entry]));
  const names = [...new Set([...drawn.keys(), ...entries.keys()])];
  const room = gallery.querySelector(".charts");
  gallery.querySelector("datalist").append(
    ...names.slice(0, 1000).map((name) => Object.assign(document.createElement("option"), { value: name })));
  const few = Number(gallery.dataset.shown);
  const choose = () => {
    const wanted = input.value.trim().toLowerCase();
    const all = button.getAttribute("aria-pressed") === "true";
    const fitting = wanted ? byFit(names, wanted) : figures.map((_, place) => place);
    const shown = fitting.slice(0, wanted ? MOST_FOUND : all ? figures.length : few).map((place) => names[place]);
    const seen = shown.map((name) => {
      const figure = drawn.get(name) ?? withOrders(drawSeries(found, entries.get(name)));
      figure.hidden = false;
      return figure;
    });
    const rest = figures.filter((figure) => !seen.includes(figure));
    rest.forEach((figure) => { figure.hidden = true; });
    room.replaceChildren(...seen, ...rest);
    gallery.querySelector(".count").textContent = !wanted
      ? `${shown.length} of ${figures.length} drawn here`
      : !fitting.length
        ? `No series has this in its name. ${hinted()}`
        : `${shown.length} of ${fitting.length} with this in the name${fitting.length > shown.length ? ": type more of it" : ""}`;
  };
  figures.forEach(withOrders);
  input.addEventListener("input", choose);
  button.hidden = figures.length <= few;
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    button.textContent = button.getAttribute("aria-pressed") === "true" ? "Show fewer" : "Show all";
    choose();
  });
  choose();
}
