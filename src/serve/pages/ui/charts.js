
// Charts, drawn in the pixels of their box, so that text and lines keep their size.
const SVG = "http://www.w3.org/2000/svg";
function drawn(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// A text in a chart, in the size of the page's text.
const letterOf = () => parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.85;
function mark(x, y, anchor, text) {
  const made = drawn("text", { x, y, "text-anchor": anchor }, text);
  made.style.fontSize = `${letterOf()}px`;
  return made;
}

// The smallest round number that is at least this value.
function roundUp(value) {
  const ten = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return ten * ([1, 2, 3, 4, 5, 6, 8, 10].find((step) => step * ten >= value) ?? 10);
}

const short = (value) => (value >= 1e6 ? `${+(value / 1e6).toPrecision(2)} M`
  : value >= 1e4 ? `${Math.round(value / 1e3)} k` : grouped.format(+value.toPrecision(3)));

// An empty chart with its scale (none where nothing is known, `most` 0), and functions from values and steps to coordinates.
function canvas(box, most, steps, label) {
  const letter = letterOf();
  const [width, height] = [Math.max(120, box.clientWidth), Math.max(60, box.clientHeight)];
  const [left, bottom] = [3.4 * letter, 1.5 * letter];
  const top = roundUp(most || 1);
  const x = (step) => left + ((width - left) * step) / Math.max(1, steps);
  const y = (value) => height - bottom - ((height - bottom - letter) * value) / top;
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const part of most > 0 ? [0, 0.5, 1] : [0]) {
    svg.append(drawn("line", { x1: left, x2: width, y1: y(top * part), y2: y(top * part) }));
    const [beside, middle] = [left - 0.4 * letter, y(top * part) + 0.35 * letter];
    if (most > 0) svg.append(mark(beside, middle, "end", short(top * part)));
  }
  const tick = (step, text, anchor) =>
    svg.append(mark(x(step), height - 0.3 * letter, anchor ?? "middle", text));
  // A text in the middle of a stretch of steps.
  const say = (text, from = 0, to = steps) => {
    if (x(to) - x(from) <= 0.6 * letter * text.length) return;
    const middle = (y(top) + y(0)) / 2 + 0.35 * letter;
    svg.append(mark((x(from) + x(to)) / 2, middle, "middle", text));
  };
  return { svg, x, y, top, tick, say, letter, dot: letter / 3 };
}

// As many labels of the time as have room beside each other: all, every second, and so on.
function drawTicks(at, ticks) {
  const ends = ([step, text, anchor]) => {
    const width = 0.65 * at.letter * text.length;
    const from = at.x(step) - width * ({ start: 0, end: 1 }[anchor] ?? 0.5);
    return [from, from + width];
  };
  const shown = (every) => ticks.filter((_, place) => place % every === 0);
  const fit = (labels) => labels.slice(1).every(([from], before) => from > labels[before][1]);
  let every = 1;
  while (every < ticks.length && !fit(shown(every).map(ends))) every += 1;
  for (const [step, text, anchor] of shown(every)) at.tick(step, text, anchor);
}

const point = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;

// Stacked areas: each layer has a class and one value per step. A step without data is grey from
// top to bottom.
function stacked(box, layers, ticks, label, unknown, marked) {
  const steps = layers[0].values.length;
  const sums = Array.from({ length: steps }, (_, at) =>
    layers.reduce((sum, layer) => sum + layer.values[at], 0));
  const at = canvas(box, unknown.every(Boolean) ? 0 : Math.max(1, ...sums), steps, label);
  const grey = unknown.map((is, step) => (is ? `M${point(at.x(step), at.y(0))}` +
    `V${at.y(at.top).toFixed(1)}H${at.x(step + 1).toFixed(1)}V${at.y(0).toFixed(1)}Z` : ""));
  if (unknown.some(Boolean)) at.svg.append(drawn("path", { class: "unknown", d: grey.join("") }));
  const known = unknown.indexOf(false);
  at.say("not counted", 0, known < 0 ? steps : known);
  const below = new Array(steps).fill(0);
  for (const layer of layers) {
    let [over, under] = ["", ""];
    for (let step = 0; step < steps; step += 1) {
      const [from, to, low] = [at.x(step), at.x(step + 1), at.y(below[step])];
      below[step] += layer.values[step];
      const high = at.y(below[step]);
      over += `L${point(from, high)}L${point(to, high)}`;
      under = `L${point(to, low)}L${point(from, low)}${under}`;
    }
    const outline = `M${(over + under).slice(1)}Z`;
    at.svg.append(drawn("path", { class: `area ${layer.kind}`, d: outline }));
  }
  for (const [from, to] of marked ?? []) {
    at.svg.append(drawn("rect", { class: "imported", x: at.x(from), y: at.y(0),
      width: at.x(to) - at.x(from), height: 4 }));
  }
  drawTicks(at, ticks);
  box.replaceChildren(at.svg);
}

// A strip of cells over time: each value is a fraction, 0 to 1, or null where unknown.
const GRADES = [[0.98, "good"], [0.9, "fair"], [0, "poor"]];
const gradeOf = (part) => (part === null ? "unknown" : GRADES.find(([least]) => part >= least)[1]);
function heat(box, parts, ticks, label) {
  const letter = letterOf();
  const [width, height] = [Math.max(120, box.clientWidth), 2.6 * letter];
  const left = 3.4 * letter;
  const cells = Math.max(1, Math.min(parts.length, Math.floor((width - left) / 3)));
  const x = (cell) => left + ((width - left) * cell) / cells;
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  const paths = {};
  for (let cell = 0; cell < cells; cell += 1) {
    const [from, to] = [cell, cell + 1].map((at) => Math.floor((at * parts.length) / cells));
    const known = parts.slice(from, Math.max(to, from + 1)).filter((part) => part !== null);
    // A cell shows its worst minute, so that a gap does not vanish on a small screen.
    const grade = gradeOf(known.length ? Math.min(...known) : null);
    paths[grade] = `${paths[grade] ?? ""}M${x(cell).toFixed(1)} 0H${x(cell + 1).toFixed(1)}` +
      `V${(height - 1.4 * letter).toFixed(1)}H${x(cell).toFixed(1)}Z`;
  }
  for (const [grade, d] of Object.entries(paths)) svg.append(drawn("path", { class: grade, d }));
  for (const [part, text, anchor] of ticks) {
    svg.append(mark(left + (width - left) * part, height - 0.2 * letter, anchor, text));
  }
  box.replaceChildren(svg);
}

// Grouped lines; `null` is a step without data. Marked steps are underlined.
function lines(box, layers, ticks, label, marked) {
  const steps = layers[0].values.length;
  const all = layers.flatMap((layer) => [...layer.values, layer.last]);
  const isKnown = all.some((value) => value !== null);
  const most = isKnown ? Math.max(1, ...all.map((value) => value ?? 0)) : 0;
  const at = canvas(box, most, steps - 1, label);
  if (!isKnown) at.say("nothing counted yet");
  if (marked.length) {
    // A day is as wide as its step, and never too narrow to be seen.
    const wide = Math.max(2, at.x(1) - at.x(0));
    const d = marked.map((step) =>
      `M${point(at.x(step) - wide / 2, at.y(0))}h${wide.toFixed(1)}v4h${(-wide).toFixed(1)}Z`);
    at.svg.append(drawn("path", { class: "imported", d: d.join("") }));
  }
  for (const layer of layers) {
    let [path, pen] = ["", "M"];
    layer.values.forEach((value, step) => {
      if (value === null) {
        pen = "M";
        return;
      }
      path += pen + point(at.x(step), at.y(value));
      // A day between two unknown days is a dot.
      if (pen === "M") path += "h0.1";
      pen = "L";
    });
    at.svg.append(drawn("path", { class: `line ${layer.kind}`, d: path }));
    if (layer.last === null) continue;
    // The last step is incomplete: a dot without a line to it.
    at.svg.append(drawn("circle", { class: `area ${layer.kind}`, cx: at.x(steps - 1) - at.dot,
      cy: at.y(layer.last), r: at.dot }));
  }
  drawTicks(at, ticks);
  box.replaceChildren(at.svg);
}

// The same data for screen readers: a caption, headings, rows.
function fillTable(table, caption, heads, rows) {
  const row = (cells, name) => {
    const made = element("tr");
    cells.forEach((cell, place) => {
      const box = element(place === 0 ? "th" : name, cell);
      if (box.localName === "th") box.scope = name === "th" ? "col" : "row";
      made.append(box);
    });
    return made;
  };
  const [head, body] = [element("thead"), element("tbody")];
  head.append(row(heads, "th"));
  body.append(...rows.map((cells) => row(cells, "td")));
  table.replaceChildren(element("caption", caption), head, body);
}

function legend(list, entries) {
  list.replaceChildren(...entries.map(([kind, text]) => element("li", text, kind)));
}
