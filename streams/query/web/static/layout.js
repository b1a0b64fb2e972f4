// The layout of a topology: layers from left to right, sub-topologies as boxes, topics that the
// application writes for itself as pipes from box to box.
//
// Boxes that feed others stand left of them where there is room, and above them where there is
// not. Nothing here knows of the document.

const GAP_X = 30;
const GAP_Y = 14;
const PAD = 14;
const TITLE = 20;
const BOX_GAP = 44;
const MARGIN = BOX_GAP / 2; // left of the rows
export const STORE = 34; // what a store below its step takes
const SMALLEST = 0.84; // a picture that had to shrink by more is set in rows
const CORNER = 8;

/**
 * Place steps.
 *
 * @param {object[]} steps of the topology; each with `width` and `height`
 * @param {number} room how wide the picture may be
 * @returns {{width, height, boxes, nodes: Map, edges, pipes}}
 */
export function layout(steps, room) {
  const parts = new Map();
  for (const step of steps) {
    if (!parts.has(step.subTopology)) parts.set(step.subTopology, []);
    parts.get(step.subTopology).push(step);
  }
  const boxes = [...parts].map(([number, nodes]) => placePart(number, nodes));
  const links = pipesOf(boxes);
  const ranks = ranked(boxes, links);
  inColumns(ranks);
  if (extent(boxes).width * SMALLEST > room) inRows(ranks, room);
  const nodes = new Map();
  for (const box of boxes) {
    for (const node of box.nodes) {
      node.x += box.x;
      node.y += box.y;
      nodes.set(node.step.id, node);
    }
  }
  const edges = boxes.flatMap((box) =>
    box.nodes.flatMap(({ step }) =>
      step.parents
        .filter((id) => nodes.has(id))
        .map((id) => ({ from: id, to: step.id, path: curve(nodes.get(id), nodes.get(step.id)) })),
    ),
  );
  const { width, height } = extent(boxes);
  const pipes = links.map((link, number) => ({ ...link, path: pipe(link, number, nodes, height) }));
  const below = links.some(isAround) ? MARGIN : 0;
  return { width, height: height + below, boxes, nodes, edges, pipes };
}

/** Place the steps of one sub-topology, at its own origin. */
function placePart(number, steps) {
  const layerOf = new Map();
  for (const step of steps) {
    // Parents come before their children.
    const above = step.parents.filter((id) => layerOf.has(id)).map((id) => layerOf.get(id) + 1);
    layerOf.set(step.id, Math.max(0, ...above));
  }
  const layers = [];
  const nodes = new Map();
  for (const step of steps) {
    const node = { step, width: step.width, height: step.height, x: 0, y: 0 };
    node.slot = step.height + step.stores.length * STORE;
    nodes.set(step.id, node);
    (layers[layerOf.get(step.id)] ??= []).push(node);
  }
  let x = PAD;
  for (const layer of layers) {
    const width = Math.max(...layer.map((node) => node.width));
    for (const node of layer) {
      node.x = x;
      node.width = width;
    }
    x += width + GAP_X;
  }
  order(layers, nodes);
  const bottom = Math.max(...[...nodes.values()].map((node) => node.y + node.slot));
  const placed = [...nodes.values()];
  return { number, nodes: placed, x: 0, y: 0, width: x - GAP_X + PAD, height: bottom + PAD };
}

/** Order each layer by where its parents are, and place it; then pull parents to their children. */
function order(layers, nodes) {
  const middle = (node) => node.y + node.height / 2;
  const mean = (found) => found.reduce((sum, node) => sum + middle(node), 0) / found.length;
  const childrenOf = new Map();
  for (const node of nodes.values()) {
    for (const id of node.step.parents) {
      if (nodes.has(id)) childrenOf.set(id, [...(childrenOf.get(id) ?? []), node]);
    }
  }
  const place = (layer, wanted) => {
    let next = TITLE + PAD;
    for (const node of layer) {
      node.y = Math.max(next, wanted(node) - node.height / 2);
      next = node.y + node.slot + GAP_Y;
    }
  };
  layers.forEach((layer) => {
    const wanted = new Map();
    for (const node of layer) {
      const parents = node.step.parents.map((id) => nodes.get(id)).filter(Boolean);
      wanted.set(node, parents.length ? mean(parents) : 0);
    }
    layer.sort((one, other) => wanted.get(one) - wanted.get(other));
    place(layer, (node) => wanted.get(node));
  });
  for (const layer of layers.toReversed()) {
    place(layer, (node) => {
      const children = childrenOf.get(node.step.id);
      return children ? mean(children) : middle(node);
    });
  }
}

/** What goes from sub-topology to sub-topology through topics of the application. */
function pipesOf(boxes) {
  const readers = new Map();
  for (const box of boxes) {
    for (const { step } of box.nodes) {
      for (const topic of step.topics) readers.set(topic, [...(readers.get(topic) ?? []), [box, step]]);
    }
  }
  return boxes.flatMap((box) =>
    box.nodes.flatMap(({ step }) =>
      (readers.get(step.sink) ?? []).map(([reader, source]) => ({
        from: box,
        to: reader,
        sink: step.id,
        source: source.id,
      })),
    ),
  );
}

/** Boxes by how many others their records have come through; a ring ends somewhere. */
function ranked(boxes, links) {
  const rank = new Map(boxes.map((box) => [box, 0]));
  for (let round = 0; round < boxes.length; round += 1) {
    for (const { from, to } of links) {
      if (from !== to) rank.set(to, Math.min(boxes.length, Math.max(rank.get(to), rank.get(from) + 1)));
    }
  }
  const ranks = [];
  for (const box of boxes) (ranks[rank.get(box)] ??= []).push(box);
  return ranks.filter(Boolean);
}

function inColumns(ranks) {
  const heights = ranks.map((column) => column.reduce((sum, box) => sum + box.height + BOX_GAP, -BOX_GAP));
  const tallest = Math.max(...heights);
  let x = 0;
  ranks.forEach((boxes, column) => {
    const side = x + Math.max(...boxes.map((box) => box.width));
    let y = (tallest - heights[column]) / 2;
    for (const box of boxes) {
      Object.assign(box, { x, y, column, side });
      y += box.height + BOX_GAP;
    }
    x = side + BOX_GAP;
  });
}

function inRows(ranks, room) {
  const rows = ranks.flatMap((rank) => wrapped(rank, room));
  let y = 0;
  for (const row of rows) {
    const floor = y + Math.max(...row.map((box) => box.height));
    let x = MARGIN;
    for (const box of row) {
      Object.assign(box, { x, y, column: null, side: x + box.width, roof: y, floor });
      x += box.width + BOX_GAP;
    }
    y = floor + BOX_GAP;
  }
}

/** Boxes side by side as far as there is room. */
function wrapped(boxes, room) {
  const rows = [];
  let x = room + 1;
  for (const box of boxes) {
    if (x + box.width > room) {
      rows.push([]);
      x = MARGIN;
    }
    rows.at(-1).push(box);
    x += box.width + BOX_GAP;
  }
  return rows;
}

function extent(boxes) {
  return {
    width: Math.max(0, ...boxes.map((box) => box.x + box.width)) + MARGIN,
    height: Math.max(0, ...boxes.map((box) => box.y + box.height)),
  };
}

function curve(from, to) {
  const [x1, y1] = [from.x + from.width, from.y + from.height / 2];
  const [x2, y2] = [to.x, to.y + to.height / 2];
  if (Math.abs(y1 - y2) < 1) return `M${x1} ${y1}H${x2}`;
  const half = (x2 - x1) / 2;
  return `M${x1} ${y1}C${x1 + half} ${y1} ${x2 - half} ${y2} ${x2} ${y2}`;
}

/** Whether a pipe goes below all columns: what it leads to is not the next one. */
const isAround = ({ from, to }) => from.column !== null && to.column !== from.column + 1;

/** A pipe goes to the next column, or around boxes: between rows, left of them, or below all. */
function pipe(link, number, nodes, lowest) {
  const { from, to } = link;
  const [out, into] = [nodes.get(link.sink), nodes.get(link.source)];
  const [x1, y1] = [out.x + out.width, out.y + out.height / 2];
  const [x2, y2] = [into.x, into.y + into.height / 2];
  const aside = 5 + (number % 3) * 7;
  const [right, before] = [from.side + aside, to.x - aside];
  const [begin, end] = [[[x1, y1], [right, y1]], [[before, y2], [x2, y2]]];
  if (isAround(link)) {
    const below = lowest + aside;
    return bent([...begin, [right, below], [before, below], ...end]);
  }
  if (from.column !== null) return bent([...begin, [right, y2], [x2, y2]]);
  const below = from.floor + aside;
  const isNext = to.roof - from.floor === BOX_GAP || before < MARGIN;
  if (isNext) return bent([...begin, [right, below], [before, below], ...end]);
  const [left, above] = [MARGIN - aside, to.roof - aside];
  const around = [[right, below], [left, below], [left, above], [before, above]];
  return bent([...begin, ...around, ...end]);
}

/** A line with round corners. */
function bent(points) {
  let path = `M${points[0].join(" ")}`;
  for (let at = 1; at < points.length - 1; at += 1) {
    const [before, corner, after] = [points[at - 1], points[at], points[at + 1]];
    const [from, to] = [towards(corner, before), towards(corner, after)];
    path += `L${from.join(" ")}Q${corner.join(" ")} ${to.join(" ")}`;
  }
  return `${path}L${points.at(-1).join(" ")}`;
}

function towards([x, y], [otherX, otherY]) {
  const length = Math.hypot(otherX - x, otherY - y);
  const share = length ? Math.min(CORNER, length / 2) / length : 0;
  return [x + (otherX - x) * share, y + (otherY - y) * share];
}
