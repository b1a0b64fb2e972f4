// Charts: uPlot, with colours of the page, a legend that shows values, and one cursor for all.

import { cut, element, mark, write, writeCut } from "./dom.js";
import { clock } from "./format.js";

const HEIGHT = 168;
const AXIS = 46; // the least room for numbers
const LEAST = 4; // an axis to less than that would have the same number twice
const SYNC = "time";
const COLOURS = ["a", "b", "c", "d", "e", "f", "g"];

const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);
let colours = new Map();

/** Return a colour of the page by its name, as a canvas takes it; kept until the theme changes. */
function colour(name) {
  if (!colours.has(name)) {
    probe.style.color = `var(--${name})`;
    colours.set(name, getComputedStyle(probe).color);
  }
  return colours.get(name);
}

document.addEventListener("theme", () => {
  colours = new Map();
});

/** A chart in a figure with a title and a legend. */
export class Chart {
  constructor(parent, title, unit) {
    this.title = title;
    this.note = element("span", { class: "chart-note" });
    this.legend = element("ul", { class: "legend" });
    this.plot = element("div", { class: "plot", tabindex: "0", role: "img" });
    this.empty = element("p", { class: "empty" });
    const heading = element("h3", {}, title, element("span", { class: "unit" }, unit));
    const caption = element("div", { class: "chart-head" }, heading, this.note);
    this.figure = element("div", { class: "chart" }, caption, this.legend, this.plot, this.empty);
    parent.append(this.figure);
    this.uplot = null;
    this.labels = null;
    this.shown = null; // the figure that is drawn
    this.marks = [];
    this.window = [0, 1];
    new ResizeObserver(() => this.resize()).observe(this.plot);
    this.plot.addEventListener("keydown", (event) => this.step(event));
    document.addEventListener("theme", () => this.repaint());
  }

  /** Draw a figure. */
  draw(figure, { x, marks, window }) {
    const isEmpty = !figure.series.some((series) => series.values.some((value) => value !== null));
    this.plot.hidden = isEmpty;
    this.legend.hidden = isEmpty;
    this.empty.hidden = !isEmpty;
    write(this.note, figure.note ?? "");
    write(this.empty, figure.empty);
    if (isEmpty) return;
    this.shown = figure;
    this.marks = marks;
    this.window = window;
    const columns = figure.stacked ? stacked(figure.series) : figure.series.map((of) => of.values);
    const labels = JSON.stringify(figure.series.map((series) => series.label));
    if (labels !== this.labels) this.remake(figure, labels);
    this.uplot.setData([x, ...(figure.stacked ? columns.toReversed() : columns)], false);
    this.uplot.setScale("x", { min: window[0], max: window[1] });
    this.tell();
  }

  remake(figure, labels) {
    this.labels = labels;
    this.uplot?.destroy();
    this.items = figure.series.map(() => element("b"));
    const entries = figure.series.map((series, number) => {
      const label = element("span", { class: "label" });
      writeCut(label, series.label, 24);
      const swatch = element("i", { "data-colour": COLOURS[number % COLOURS.length] });
      return element("li", {}, swatch, label, this.items[number]);
    });
    this.legend.replaceChildren(...entries);
    this.uplot = new globalThis.uPlot(this.options(figure), [[0]], this.plot);
  }

  options(figure) {
    const lines = figure.series.map((series, number) => line(series, number, figure));
    const axis = {
      stroke: () => colour("muted"),
      font: "11px system-ui, sans-serif",
      grid: { stroke: () => colour("grid"), width: 1 },
      ticks: { show: false },
    };
    return {
      width: this.plot.clientWidth || 300,
      height: HEIGHT,
      padding: [8, 22, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: SYNC }, drag: { x: false, y: false }, y: false, points: { size: 6 } },
      scales: {
        x: { time: true, range: () => this.window },
        y: { range: (_, low, high) => [0, Math.max(LEAST, high * 1.12)] },
      },
      axes: [
        { ...axis, space: 80, size: 26, values: (_, at) => at.map((s) => clock(s * 1000)) },
        {
          ...axis,
          size: (uplot, values) => room(uplot, values),
          space: 34,
          ...(figure.steps ? { incrs: figure.steps } : {}),
          values: (_, values) => values.map((value) => cut(this.shown.format(value), 14)),
        },
      ],
      series: [{}, ...(figure.stacked ? lines.toReversed() : lines)],
      hooks: { draw: [(uplot) => this.drawMarks(uplot)], setCursor: [() => this.tell()] },
    };
  }

  /** Draw where a new run has begun. */
  drawMarks(uplot) {
    const { ctx, bbox } = uplot;
    ctx.save();
    ctx.strokeStyle = colour("ink");
    ctx.fillStyle = colour("ink");
    ctx.lineWidth = devicePixelRatio;
    ctx.textAlign = "left";
    ctx.font = `${10 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const at of this.marks) {
      const left = uplot.valToPos(at, "x", true);
      if (left < bbox.left || left > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left, bbox.top + bbox.height);
      ctx.stroke();
      ctx.fillText("new run", left + 4 * devicePixelRatio, bbox.top + 10 * devicePixelRatio);
    }
    ctx.restore();
  }

  /** Show the values at the cursor, or the last ones. */
  tell() {
    if (!this.uplot || !this.shown) return;
    const [x] = this.uplot.data;
    const at = this.uplot.cursor.idx;
    const chosen = at !== null && at !== undefined && this.uplot.cursor.left >= 0;
    const words = this.shown.series.map((series, number) => {
      const value = chosen ? (series.values[at] ?? null) : latest(series.values);
      const text = value === null ? "–" : this.shown.format(value);
      write(this.items[number], text);
      return `${series.label} ${text}`;
    });
    mark(this.figure, "data-chosen", chosen ? "" : null);
    if (chosen) write(this.note, `at ${clock(x[at] * 1000)}`);
    else write(this.note, this.shown.note ?? "");
    mark(this.plot, "aria-label", cut(`${this.title}: ${words.join(", ")}`, 400));
  }

  /** Move the cursor by the arrow keys. */
  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.uplot?.setCursor({ left: -10, top: -10 });
    if (!by || !this.uplot) return;
    event.preventDefault();
    const [x] = this.uplot.data;
    const at = this.uplot.cursor.idx ?? (by > 0 ? -1 : x.length);
    const next = Math.min(x.length - 1, Math.max(0, at + by));
    this.uplot.setCursor({ left: this.uplot.valToPos(x[next], "x"), top: 10 });
  }

  resize() {
    const width = this.plot.clientWidth;
    if (this.uplot && width && width !== this.uplot.width) {
      this.uplot.setSize({ width, height: HEIGHT });
    }
  }

  repaint() {
    this.uplot?.redraw(false);
  }
}

/** How much room numbers at an axis take. */
function room({ ctx }, values) {
  ctx.save();
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  const widths = (values ?? []).map((value) => ctx.measureText(value ?? "").width);
  ctx.restore();
  return Math.max(AXIS, Math.ceil(Math.max(0, ...widths) / devicePixelRatio) + 14);
}

function line(series, number, figure) {
  const name = COLOURS[number % COLOURS.length];
  const own = () => colour(name);
  return {
    stroke: figure.stacked ? () => colour("surface") : own,
    fill: figure.stacked ? own : series.fill ? () => colour(`${name}-wash`) : undefined,
    width: figure.stacked ? 1 : 1.75,
    points: { show: false, size: 6, stroke: own, fill: own },
    spanGaps: false,
  };
}

/** Each column with all before it, so that each is drawn over the next. */
function stacked(series) {
  const sums = [];
  for (const { values } of series) {
    const below = sums.at(-1);
    sums.push(values.map((value, at) => (value === null ? null : value + (below?.[at] ?? 0))));
  }
  return sums;
}

const latest = (values) => values.findLast((value) => value !== null) ?? null;
