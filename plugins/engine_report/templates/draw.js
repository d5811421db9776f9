// A series that was searched for, drawn as the pictures that are on the page from the start.
const SIZE = { width: 460, height: 215, left: 58, right: 8, top: 24, bottom: 24 };
const FEW_STEPS = 3;
const KINDS = [["actual", "--ink"], ["forecast of a fold", "--c1"], ["forecast ahead", "--c2"]];

function element(name, attributes, parent, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// Two letters a value; the first code stands for nothing.
function unpacked(text, letters, low, high) {
  const base = letters.length, steps = base * base - 2, values = [];
  for (let i = 0; i < text.length; i += 2) {
    const code = letters.indexOf(text[i]) * base + letters.indexOf(text[i + 1]);
    values.push(code ? low + ((code - 1) / steps) * (high - low) : NaN);
  }
  return values;
}

function ticks(low, high) {
  const rough = (high - low) / 4 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const made = [];
  for (let k = Math.ceil(low / step); k * step <= high + step / 1e6; k += 1) made.push(k * step);
  return made;
}

// Stretches without a gap as one path each; a value alone is closed, so that its round cap shows.
function path(start, values, x, y) {
  let drawn = "", length = 0;
  values.concat(NaN).forEach((value, i) => {
    if (Number.isNaN(value)) {
      if (length === 1) drawn += "Z";
      length = 0;
      return;
    }
    drawn += `${length ? "L" : "M"}${x(start + i).toFixed(1)},${y(value).toFixed(1)}`;
    length += 1;
  });
  return drawn;
}

function band(start, low, high, x, y) {
  let drawn = "";
  for (let i = 0; i < low.length; i += 1) {
    if (Number.isNaN(low[i])) continue;
    const edge = [];
    let end = i;
    for (; end < low.length && !Number.isNaN(low[end]); end += 1) {
      edge.push([end, high[end]]);
      edge.unshift([end, low[end]]);
    }
    const places = edge.map(([at, value]) => `${x(start + at).toFixed(1)},${y(value).toFixed(1)}`);
    drawn += `M${places.join("L")}Z`;
    i = end;
  }
  return drawn;
}

function drawSeries(found, entry) {
  const [name, low, high, [begin, text], marks, lines] = entry;
  const actual = unpacked(text, found.letters, low, high);
  const forecasts = lines.map(([kind, start, ...columns]) =>
    ({ kind, start, columns: columns.map((c) => unpacked(c, found.letters, low, high)) }));
  const last = Math.max(begin + actual.length, ...forecasts.map((f) => f.start + f.columns[0].length)) - 1;
  const [bottom, top] = [Math.min(low, 0), high > low || high > 0 ? high : low + 1];
  const inner = [SIZE.width - SIZE.left - SIZE.right, SIZE.height - SIZE.top - SIZE.bottom];
  const x = (i) => SIZE.left + (inner[0] * (i - begin)) / Math.max(last - begin, 1);
  const y = (v) => SIZE.top + inner[1] * (1 - (v - bottom) / (top - bottom));
  const svg = element("svg", { viewBox: `0 0 ${SIZE.width} ${SIZE.height}` }, document.createElement("div"));
  for (let i = 0; i < marks.length; i += 2) {
    const [from, to] = [Math.max(marks[i], begin), Math.min(marks[i + 1], last)];
    if (to > from) element("rect", { x: x(from), width: x(to) - x(from), y: SIZE.top, height: inner[1], fill: "var(--shade)" }, svg);
  }
  const label = { fill: "var(--ink)", "font-size": 12 };
  for (const tick of ticks(bottom, top)) {
    element("line", { x1: SIZE.left, x2: SIZE.width - SIZE.right, y1: y(tick), y2: y(tick), stroke: "var(--rule)" }, svg);
    element("text", { ...label, x: SIZE.left - 5, y: y(tick) + 3.5, "text-anchor": "end" }, svg, Number(tick.toPrecision(6)).toLocaleString("en"));
  }
  const count = Math.min(5, last - begin + 1);
  for (let k = 0; k < count; k += 1) {
    const at = Math.round(begin + ((last - begin) * k) / Math.max(count - 1, 1));
    const anchor = k === 0 ? "start" : k === count - 1 ? "end" : "middle";
    element("text", { ...label, x: x(at), y: SIZE.height - 8, "text-anchor": anchor }, svg, found.dates[at].slice(0, 10));
  }
  for (const { kind, start, columns } of forecasts) {
    if (columns.length === 3) element("path", { d: band(start, columns[1], columns[2], x, y), fill: `var(${KINDS[kind + 1][1]})`, opacity: 0.22 }, svg);
  }
  element("path", { d: path(begin, actual, x, y), fill: "none", stroke: "var(--ink)", "stroke-linecap": "round" }, svg);
  for (const { kind, start, columns } of forecasts) {
    element("path", { d: path(start, columns[0], x, y), fill: "none", stroke: `var(${KINDS[kind + 1][1]})`, "stroke-width": 1.8, "stroke-linecap": "round" }, svg);
    if (columns[0].length <= FEW_STEPS) {
      columns[0].forEach((value, i) => {
        if (!Number.isNaN(value)) element("circle", { cx: x(start + i), cy: y(value), r: 2.4, fill: `var(${KINDS[kind + 1][1]})` }, svg);
      });
    }
  }
  let place = SIZE.left;
  for (const [word, color] of KINDS) {
    element("circle", { cx: place + 4, cy: 10, r: 4, fill: `var(${color})` }, svg);
    element("text", { ...label, x: place + 12, y: 13.5 }, svg, word);
    place += 24 + 7 * word.length;
  }
  const figure = document.createElement("figure");
  figure.dataset.name = name;
  const title = document.createElement("figcaption");
  title.textContent = name;
  const picture = document.createElement("div");
  picture.className = "picture";
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `Series ${name}: actual values, forecasts of folds and the forecast ahead`);
  picture.append(svg);
  figure.append(title, picture);
  return figure;
}
