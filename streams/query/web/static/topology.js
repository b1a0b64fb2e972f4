// The picture of a topology, with what flows through it now.

import { cut, cutMiddle, element, mark, shape, write } from "./dom.js";
import { rate, short } from "./format.js";
import { STORE, layout } from "./layout.js";

const LINE = 15;
const MOST = 26; // characters of a name
const NARROWEST = 62;
const SIDE = 11; // left and right of the text
const MOST_STEPS = 400;

const canvas = document.createElement("canvas").getContext("2d");

/** How wide text is, about. */
function measure(text, font) {
  canvas.font = `${font} system-ui, sans-serif`;
  return canvas.measureText(text).width;
}

export class TopologyView {
  constructor(parent) {
    this.parent = parent;
    this.rates = new Map(); // the text of a rate, by step
    this.stores = new Map(); // the text of a size, by store
    this.flows = []; // lines, with the sub-topology that they are in
    this.topology = null;
    this.room = 0;
    new ResizeObserver(() => this.fit()).observe(parent);
  }

  /** Show a topology; drawn anew only where it is another one. */
  show(topology, application) {
    const text = JSON.stringify(topology.nodes);
    if (text === this.drawn) return;
    this.drawn = text;
    this.topology = topology;
    this.application = application;
    this.paint();
  }

  fit() {
    if (this.topology && Math.abs(this.parent.clientWidth - this.room) > 24) this.paint();
  }

  paint() {
    this.room = this.parent.clientWidth;
    this.rates.clear();
    this.stores.clear();
    this.flows = [];
    if (this.topology.nodes.length > MOST_STEPS) {
      const note = `${this.topology.nodes.length} steps are too many for a picture: see the text.`;
      this.parent.replaceChildren(element("p", { class: "empty" }, note));
      return;
    }
    const steps = this.topology.nodes.map((node) => this.worded(node));
    const placed = layout(steps, this.room);
    const { width, height } = placed;
    const scale = Math.max(0.84, Math.min(1, this.room / width));
    const svg = shape("svg", {
      viewBox: `0 0 ${width} ${height}`,
      width: Math.round(width * scale),
      height: Math.round(height * scale),
      role: "img",
      "aria-label": summary(this.topology.nodes, placed.boxes.length),
    });
    for (const box of placed.boxes) svg.append(this.box(box));
    for (const edge of placed.edges) svg.append(this.edge(edge, placed.nodes.get(edge.to).step));
    for (const pipe of placed.pipes) {
      svg.append(shape("path", { class: "pipe", d: pipe.path }));
      const flow = shape("path", { class: "pipe-flow", d: pipe.path });
      this.flows.push([flow, pipe.from.number]);
      svg.append(flow);
    }
    for (const node of placed.nodes.values()) svg.append(this.node(node));
    this.parent.replaceChildren(svg);
  }

  /** Say what stands in the box of a step, and how large that makes it. */
  worded(node) {
    const isEnd = node.topics.length > 0 || node.sink !== null || node.kind === "to";
    const own = new RegExp(`^${escaped(this.application)}-(.+)-repartition$`);
    const topic = node.sink ?? node.topics[0] ?? "";
    const internal = topic.match(own);
    const kind = internal ? (node.sink === null ? "from repartition" : "to repartition") : node.kind;
    const several = node.topics.length > 1 ? ` +${node.topics.length - 1}` : "";
    const name = internal ? internal[1] : isEnd ? topic || node.detail : bare(node.detail);
    const detail = cutMiddle(name, MOST) + several;
    const storeNames = node.stores.map((store) => cutMiddle(store, 18));
    const text = Math.max(
      measure(kind, "10.5px"),
      measure(detail, "600 12.5px"),
      ...storeNames.map((store) => measure(store, "11px") + 34),
    );
    // What goes into a repartition topic is not told; it comes out of it in the next box.
    const hasRate = isEnd && !(internal && node.sink);
    const lines = 1 + (detail ? 1 : 0) + (hasRate ? 1 : 0);
    return {
      ...node,
      isEnd,
      hasRate,
      shownKind: cut(kind, 30),
      shownDetail: detail,
      width: Math.max(NARROWEST, Math.ceil(text) + 2 * SIDE),
      height: lines * LINE + 12,
    };
  }

  box({ number, x, y, width, height }) {
    const title = shape("text", { class: "box-title", x: x + 12, y: y + 19 });
    write(title, `Sub-topology ${number}`);
    return shape("g", {}, shape("rect", { class: "box", x, y, width, height, rx: 10 }), title);
  }

  edge({ path }, step) {
    const flow = shape("path", { class: "flow", d: path });
    this.flows.push([flow, step.subTopology]);
    return shape("g", {}, shape("path", { class: "edge", d: path }), flow);
  }

  node({ step, x, y, width, height }) {
    const kind = step.isEnd ? "node end" : step.stores.length ? "node stateful" : "node";
    const rx = step.isEnd ? Math.min(height / 2, 18) : 6;
    const group = shape("g", { class: kind }, shape("rect", { x, y, width, height, rx }));
    const middle = x + width / 2;
    let line = y + 6 + LINE - 4;
    const put = (name, text) => {
      const node = shape("text", { class: name, x: middle, y: line });
      write(node, text);
      group.append(node);
      line += LINE;
      return node;
    };
    put("kind", step.shownKind);
    if (step.shownDetail) put("detail", step.shownDetail);
    if (step.hasRate) this.rates.set(step.id, put("rate", ""));
    step.stores.forEach((store, number) => group.append(this.store(store, number, x, y + height, width)));
    const title = shape("title");
    write(title, cut(`${step.label} ${step.detail}`, 1000));
    group.prepend(title);
    return group;
  }

  /** A cylinder below its step. */
  store(name, number, x, below, width) {
    const [left, top, right] = [x + 6, below + number * STORE + 6, x + width - 6];
    const bottom = top + 24;
    const radius = (right - left) / 2;
    const side = `M${left} ${top + 4}V${bottom - 4}A${radius} 4 0 0 0 ${right} ${bottom - 4}V${top + 4}`;
    const lid = `A${radius} 4 0 0 0 ${left} ${top + 4}A${radius} 4 0 0 0 ${right} ${top + 4}`;
    const middle = (left + right) / 2;
    const label = shape("text", { class: "store-name", x: middle, y: bottom - 6 });
    write(label, cutMiddle(name, 18));
    const title = shape("title");
    write(title, cut(name, 1000));
    this.stores.set(name, title);
    return shape("g", { class: "store" }, title, shape("path", { d: side + lid }), label);
  }

  /**
   * Write what a record of progress says of each step.
   *
   * @param {object | null} progress none where nothing is done at this moment
   * @param {boolean} isKnown whether it is known that nothing is done
   */
  update(progress, isKnown) {
    if (!this.topology) return;
    const share = progress && progress.numInputRows ? inputShare(progress) : 0;
    const read = new Map();
    const running = new Set();
    for (const source of progress?.sources ?? []) {
      for (const [topic, partitions] of Object.entries(source.partitions ?? {})) {
        for (const partition of Object.values(partitions)) {
          read.set(topic, (read.get(topic) ?? 0) + partition.numInputRows);
        }
      }
    }
    const written = new Map();
    for (const sink of sinksOf(progress)) written.set(sink.description, sink.numOutputRows);
    for (const step of this.topology.nodes) {
      const rows = step.topics.reduce((sum, topic) => sum + (read.get(topic) ?? 0), 0);
      if (rows) running.add(step.subTopology);
      const node = this.rates.get(step.id);
      if (!node) continue;
      const count = step.topics.length ? rows : written.get(step.sink ?? step.detail);
      write(node, progress || isKnown ? rate((count ?? 0) * share) : rate(null));
    }
    for (const [flow, part] of this.flows) mark(flow, "data-flows", running.has(part) ? "" : null);
    for (const store of progress?.stateOperators ?? []) {
      const title = this.stores.get(store.operatorName);
      const keys = store.numRowsTotal ? `: ${short(store.numRowsTotal)} keys` : "";
      if (title) write(title, cut(`${store.operatorName}${keys}`, 1000));
    }
  }
}

/** From counts of a record of progress to rates per second. */
function inputShare({ numInputRows, inputRowsPerSecond, processedRowsPerSecond }) {
  return (inputRowsPerSecond || processedRowsPerSecond) / numInputRows;
}

function sinksOf(progress) {
  if (!progress) return [];
  return progress.sinks?.length ? progress.sinks : [progress.sink];
}

/** The name of a function without its file: "total (shop.py:3)" is total. */
const bare = (detail) => detail.replace(/ \([^()]*:\d+\)/g, "");

const escaped = (text) => String(text).replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

function summary(nodes, parts) {
  const inputs = nodes.flatMap((node) => node.topics);
  const outputs = nodes.map((node) => node.sink).filter(Boolean);
  const stores = nodes.flatMap((node) => node.stores);
  const all = `${parts} sub-topologies with ${nodes.length} steps`;
  const ends = `read ${inputs.join(", ")}; write ${outputs.join(", ") || "nothing"}`;
  return cut(`${all}: ${ends}; stores: ${stores.join(", ") || "none"}.`, 600);
}
