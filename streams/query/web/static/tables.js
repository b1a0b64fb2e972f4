// Tables and lists: what a model knows of workers, partitions, stores, and what went wrong.

import { element, entitle, keyed, mark, write, writeCut, writeName } from "./dom.js";
import { bytes, duration, exact, instant, moment, rate, short } from "./format.js";
import { storeBytes } from "./figures.js";
import { assignment, shortId, unrestored } from "./model.js";

const MOST_ROWS = 200;
const MOST_TEXT = 320;
const MOST_NAME = 60;
const HEARD_MS = 12_000; // a worker that has nothing to do says so each ten seconds
const SHORTEST_BAR = 100; // records; a bar that is full by fewer would frighten

/** A table whose rows stay where they are while their cells change. */
class Table {
  constructor(parent, columns, empty) {
    const head = columns.map(({ title, number }) =>
      element("th", { scope: "col", class: number ? "number" : null }, title),
    );
    this.body = element("tbody");
    this.empty = element("p", { class: "empty" }, empty);
    this.table = element("table", {}, element("thead", {}, element("tr", {}, ...head)), this.body);
    this.columns = columns;
    this.show = keyed(this.body, () => this.row(), (row, item) => this.update(row, item));
    parent.append(this.table, this.empty);
  }

  row() {
    const cells = this.columns.map(({ number, name, long }) =>
      element(name ? "th" : "td", {
        class: number ? "number" : long ? "long" : null,
        scope: name ? "row" : null,
      }),
    );
    return element("tr", {}, ...cells);
  }

  update(row, item) {
    mark(row, "class", item.mark ?? null);
    this.columns.forEach((column, at) => {
      const cell = row.cells[at];
      const value = column.of(item);
      if (column.bar) bar(cell, value, column.bar(item));
      else if (column.name) writeName(cell, value, MOST_NAME);
      else writeCut(cell, value, column.most ?? MOST_NAME);
      if (column.whole) entitle(cell, column.whole(item));
    });
  }

  rows(items, keyOf) {
    this.table.hidden = !items.length;
    this.empty.hidden = items.length > 0;
    this.show(items.slice(0, MOST_ROWS), keyOf);
    return items.length > MOST_ROWS ? `the ${MOST_ROWS} furthest behind of ${items.length}` : "";
  }
}

/** A number with a bar behind it, as long as its share. */
function bar(cell, text, share) {
  if (!cell.firstChild) cell.append(element("span", { class: "bar" }), element("span"));
  const [drawn, value] = cell.children;
  drawn.style.setProperty("--share", String(Math.max(0, Math.min(1, share || 0))));
  write(value, text);
}

export class Partitions {
  constructor(parent, note) {
    this.note = note;
    this.table = new Table(
      parent,
      [
        { title: "Topic", name: true, of: (row) => row.topic },
        { title: "Partition", number: true, of: (row) => row.partition },
        { title: "Lag", number: true, of: (row) => exact(row.lag), bar: (row) => row.share },
        { title: "Read", number: true, of: (row) => rate(row.rate) },
        { title: "Next offset", number: true, of: (row) => exact(row.position) },
        { title: "Task", of: (row) => row.phase },
        { title: "Safe from retention for", number: true, of: headroom },
      ],
      "The worker has no partitions yet.",
    );
  }

  update(model) {
    const told = new Map();
    for (const source of model.last?.sources ?? []) {
      for (const [topic, partitions] of Object.entries(source.partitions ?? {})) {
        for (const [number, found] of Object.entries(partitions)) told.set(`${number} ${topic}`, found);
      }
    }
    const rows = (model.status?.tasks ?? []).flatMap((task) =>
      Object.entries(task.inputs).map(([topic, position]) => {
        const found = told.get(`${task.partition} ${topic}`);
        return {
          topic,
          partition: task.partition,
          phase: task.phase,
          mark: task.phase === "running" ? null : "waiting",
          position: position < 0 ? null : position,
          lag: model.isIdle && model.lag === 0 ? 0 : found?.lag,
          rate: found && (model.fresh ? found.inputRowsPerSecond : 0),
          headroomMs: found?.retentionHeadroomMs,
          headroom: found?.retentionHeadroomOffsets,
        };
      }),
    );
    const most = Math.max(SHORTEST_BAR, ...rows.map((row) => row.lag ?? 0));
    for (const row of rows) row.share = (row.lag ?? 0) / most;
    if (rows.length > MOST_ROWS) rows.sort((one, other) => (other.lag ?? 0) - (one.lag ?? 0));
    const cut = this.table.rows(rows, (row) => `${row.partition} ${row.topic}`);
    write(this.note, cut || (rows.length ? `${rows.length} of this worker` : ""));
  }
}

function headroom({ headroomMs, headroom }) {
  if (typeof headroomMs === "number") return duration(headroomMs);
  return typeof headroom === "number" ? `${short(headroom)} records` : "–";
}

export class Stores {
  constructor(parent, note) {
    this.note = note;
    this.table = new Table(
      parent,
      [
        { title: "Store", name: true, of: (row) => row.operatorName },
        { title: "Keys", number: true, of: (row) => exact(row.numRowsTotal) },
        { title: "Changed", number: true, of: (row) => rate(row.changed) },
        { title: "In memory", number: true, of: (row) => bytes(row.memoryUsedBytes) },
        { title: "On disk", number: true, of: (row) => bytes(row.disk) },
        { title: "Both", number: true, of: (row) => bytes(row.both), bar: (row) => row.share },
        { title: "Too late", number: true, of: (row) => exact(row.late) },
        { title: "Partitions here", number: true, of: here },
      ],
      "Nothing here keeps state.",
    );
  }

  update(model) {
    const share = model.fresh && model.last.batches ? perSecond(model.last) : 0;
    const late = new Map();
    for (const { progress } of model.points) {
      for (const store of progress.stateOperators) {
        const name = store.operatorName;
        late.set(name, (late.get(name) ?? 0) + store.numRowsDroppedByWatermark);
      }
    }
    const rows = (model.last?.stateOperators ?? []).map((store) => ({
      ...store,
      changed: store.numRowsUpdated * share,
      disk: store.customMetrics?.stateOnDiskBytes,
      both: storeBytes(store),
      late: late.get(store.operatorName),
    }));
    const most = Math.max(1, ...rows.map((row) => row.both));
    for (const row of rows) row.share = row.both / most;
    this.table.rows(rows, (row) => row.operatorName);
    const sum = rows.reduce((total, row) => total + row.both, 0);
    write(this.note, sum ? `${bytes(sum)} in all` : "");
  }
}

const here = (row) => `${exact(row.numStateStoreInstances)} of ${exact(row.numShufflePartitions)}`;

const perSecond = ({ inputRowsPerSecond, numInputRows }) =>
  numInputRows ? inputRowsPerSecond / numInputRows : 0;

/** What the application itself has counted. */
export class Observed {
  constructor(section, parent) {
    this.section = section;
    const columns = [
      { title: "Observation", name: true, of: (row) => row.name },
      { title: "Metric", of: (row) => row.metric },
      { title: "Value", number: true, of: (row) => row.value },
    ];
    this.table = new Table(parent, columns, "");
  }

  update(model) {
    const rows = Object.entries(model.last?.observedMetrics ?? {}).flatMap(([name, metrics]) =>
      Object.entries(metrics ?? {}).map(([metric, found]) => {
        const value = typeof found === "object" ? JSON.stringify(found) : String(found);
        return { name, metric, value };
      }),
    );
    this.section.hidden = !rows.length;
    this.table.rows(rows, (row) => JSON.stringify([row.name, row.metric]));
  }
}

export class Workers {
  constructor(parent, note) {
    this.note = note;
    this.table = new Table(
      parent,
      [
        { title: "Worker", name: true, of: (row) => row.name, whole: (row) => row.instanceId },
        { title: "Run", of: (row) => shortId(row.runId) },
        { title: "Heard of", number: true, of: (row) => row.seen },
        { title: "Input", number: true, of: (row) => rate(row.progress?.inputRowsPerSecond) },
        { title: "Processed", number: true, of: (row) => rate(row.progress?.processedRowsPerSecond) },
        { title: "Lag", number: true, of: (row) => exact(row.progress?.lag) },
        { title: "Latency p99", number: true, of: (row) => duration(row.progress?.latencyMs?.p99) },
        { title: "Partitions", of: (row) => row.assigned, most: 240, long: true },
      ],
      "No worker has told anything yet.",
    );
  }

  update(model) {
    const rows = model.application?.workers?.length ? told(model) : alone(model);
    if (rows.length > 1) {
      const progress = model.application.progress;
      rows.push({ key: "sum", name: "all together", mark: "sum", progress, seen: "", assigned: "" });
    }
    this.table.rows(rows, (row) => row.key);
    write(this.note, model.application ? "of the whole application" : "this one");
  }
}

function told(model) {
  const mine = model.status?.instanceId;
  return model.application.workers.map((worker) => ({
    ...worker,
    key: worker.instanceId,
    name: shortId(worker.instanceId) + (worker.instanceId === mine ? " (this one)" : ""),
    seen: ago(model.applicationAt - seenAt(worker.lastSeen)),
    assigned: assignment(worker.assigned),
  }));
}

const seenAt = (seen) => (typeof seen === "number" ? seen : instant(seen));

const ago = (ms) => (Number.isFinite(ms) ? (ms < HEARD_MS ? "now" : `${duration(ms)} ago`) : "–");

/** The worker that shows the page, where nothing is known of others. */
function alone(model) {
  const { status, last } = model;
  if (!status) return [];
  const assigned = {};
  for (const task of status.tasks) {
    for (const topic of Object.keys(task.inputs)) (assigned[topic] ??= []).push(task.partition);
  }
  const { instanceId, runId } = status;
  const seen = model.link === "live" ? "now" : ago(Date.now() - model.since);
  const name = instanceId ? shortId(instanceId) : "this one";
  const progress = model.fresh ? last : null;
  return [{ key: "me", name, instanceId, runId, seen, progress, assigned: assignment(assigned) }];
}

/** The stores that are being restored, with how far they are. */
export class Restoring {
  constructor(section, list) {
    this.section = section;
    this.show = keyed(list, make, fill);
  }

  update(model) {
    const left = unrestored(model.status);
    this.section.hidden = !left.length;
    const stores = new Map();
    for (const { key, name, remaining } of left) {
      const found = stores.get(name) ?? { name, partitions: 0, remaining: 0, most: 0 };
      found.partitions += 1;
      found.remaining += remaining;
      found.most += model.restoring.get(key) ?? remaining;
      stores.set(name, found);
    }
    this.show([...stores.values()], (store) => store.name);
  }
}

function make() {
  const bar_ = element("progress", { max: "1" });
  return element("li", {}, element("span", { class: "store-label" }), bar_, element("span"));
}

function fill(node, { name, partitions, remaining, most }) {
  const [label, progress, words] = node.children;
  writeName(label, name, MOST_NAME);
  mark(progress, "value", most ? (1 - remaining / most).toFixed(3) : "0");
  mark(progress, "aria-label", `Restoring ${name.slice(0, MOST_NAME)}`);
  const of = partitions === 1 ? "one partition" : `${partitions} partitions`;
  write(words, `${exact(remaining)} records left in ${of}`);
}

/** A list of what happened, newest first. */
export class Log {
  constructor(list, empty) {
    this.empty = element("p", { class: "empty" }, empty);
    list.after(this.empty);
    this.show = keyed(
      list,
      () => element("li", {}, element("time"), element("span", { class: "text" })),
      (node, { at, text, kind }) => {
        const [time, words] = node.children;
        write(time, moment(at));
        writeCut(words, text, MOST_TEXT);
        mark(node, "data-kind", kind);
      },
    );
  }

  update(items) {
    this.empty.hidden = items.length > 0;
    this.show(items, (item) => item.key ?? `${item.at} ${item.text}`);
  }
}
