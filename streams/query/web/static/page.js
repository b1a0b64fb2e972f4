// The page: reads what the worker tells, and shows it.

import { Chart } from "./charts.js";
import { cut, element, entitle, find, mark, write, writeCut } from "./dom.js";
import { Refused, listen, read } from "./feed.js";
import { figures } from "./figures.js";
import { clock, duration, exact, instant, moment, rate, short } from "./format.js";
import { AWAY, Model, isBehind, shortId } from "./model.js";
import { Log, Observed, Partitions, Restoring, Stores, Workers } from "./tables.js";
import { TopologyView } from "./topology.js";

const TICK_MS = 1000;
const APPLICATION_MS = 5000;
const PROBLEMS_MS = 10_000;
const MOST_PROBLEMS = 50;
const IDLE_MS = 10_000;
const MOST_NAME = 80;

const model = new Model();
const topology = new TopologyView(find("topology"));
const workers = new Workers(find("workers"), find("workers-note"));
const partitions = new Partitions(find("partitions"), find("partitions-note"));
const stores = new Stores(find("stores"), find("stores-note"));
const observed = new Observed(find("observed-section"), find("observed"));
const restoring = new Restoring(find("restoring"), find("restoring-list"));
const problems = new Log(find("problems"), "No record has failed.");
const events = new Log(find("events"), "Nothing so far.");
const charts = {
  rates: new Chart(find("charts"), "Records", "per second"),
  lag: new Chart(find("charts"), "Lag", "records behind the ends of all inputs"),
  latency: new Chart(find("charts"), "Latency", "from a record's timestamp to its commit"),
  phases: new Chart(find("charts"), "Batch duration by phase", "mean of a batch"),
  time: new Chart(find("charts"), "Event time", "behind the clock"),
  state: new Chart(find("charts"), "State", "size of the stores"),
};
const tiles = new Map();
for (const [name, label] of [
  ["input", "Input"],
  ["processed", "Processed"],
  ["lag", "Lag"],
  ["latency", "Latency p99"],
  ["batch", "Batch"],
  ["trouble", "Failed"],
]) {
  const value = element("span", { class: "value" });
  const more = element("span", { class: "more" });
  const tile = element("div", { id: `tile-${name}` }, element("dt", {}, label), element("dd", {}, value, more));
  find("tiles").append(tile);
  tiles.set(name, { tile, value, more });
}

/** Read all that is told once: at the beginning, and when a connection is made again. */
async function load() {
  const status = await read("status");
  if (!status) throw new Error("The worker does not say how it is.");
  model.compare(status.date);
  const names = ["topology", "progress", "problems", "application"];
  const [graph, progress, failed, application] = await Promise.all(names.map(quietly));
  model.setStatus(status.found);
  for (const record of progress?.recent ?? []) model.add(record);
  if (graph) model.topology = graph;
  if (failed) model.problems = failed.problems;
  model.setApplication(application);
  show();
}

/** Read what was told between the first reading and the first event. */
async function catchUp() {
  const found = await quietly("progress").catch(() => null);
  for (const record of found?.recent ?? []) model.add(record);
  soon();
}

/** Read what may not be there. */
async function quietly(path) {
  try {
    return (await read(path))?.found ?? null;
  } catch (error) {
    if (error instanceof Refused) throw error;
    return null;
  }
}

function told(name, found) {
  if (name === "status") model.setStatus(found);
  else if (name === "progress") {
    model.add(found);
    if (found.numFailedRows) again.problems();
  } else {
    model.happened(name, found);
    if (name === "rebalance" || name === "terminated") again.application();
  }
  soon();
}

const again = {
  application: async () => {
    if (model.application === null) return; // this worker knows of no others
    const found = await quietly("application");
    if (found) model.setApplication(found);
  },
  problems: async () => {
    model.problems = (await quietly("problems"))?.problems ?? model.problems;
  },
};

/** Ask again for what no event tells, while somebody looks at a worker that answers. */
function repeat(what, ms) {
  setInterval(() => {
    if (model.link === "live" && !document.hidden) what().catch(() => {});
  }, ms);
}

let waiting = false;

/** Show what is new with the next frame: several events are shown at once. */
function soon() {
  if (waiting || document.hidden) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    show();
  });
}

function show() {
  showHead();
  showBanner();
  showTiles();
  if (model.topology && model.status) topology.show(model.topology, model.status.name);
  topology.update(model.fresh ? model.last : null, model.link === "live");
  write(find("topology-text"), model.topology?.text ?? "");
  const found = figures(model);
  for (const [name, chart] of Object.entries(charts)) chart.draw(found[name], found);
  const [from, until] = found.window;
  write(find("charts-note"), `${clock(from * 1000)} to ${clock(until * 1000)}, this worker`);
  restoring.update(model);
  workers.update(model);
  partitions.update(model);
  stores.update(model);
  observed.update(model);
  showSiblings();
  showLogs();
}

function showHead() {
  const { status } = model;
  const message = model.link === "live" && !model.ended ? status?.status.message : null;
  if (status) {
    writeCut(find("name"), status.name, MOST_NAME);
    const worker = status.instanceId ? `worker ${shortId(status.instanceId)}` : "worker";
    writeCut(find("who"), `${worker} on ${status.host} · penstock ${status.version}`, 120);
    entitle(find("who"), `instance ${status.instanceId}, process ${status.pid}`);
    const since = moment(instant(status.startedAt));
    write(find("footer-run"), `Run ${status.runId}, since ${since}, process ${status.pid}`);
  }
  const ended = model.ended ? "Ended" : "Not known";
  write(find("status"), message ?? (model.link === "connecting" ? "Connecting" : ended));
  mark(find("status"), "data-kind", message ? kind(message) : "none");
  const link = { live: "live", connecting: "connecting", lost: "lost", refused: "no access" };
  write(find("link-text"), link[model.link]);
  mark(find("link"), "data-link", model.link);
  mark(document.body, "data-link", model.link);
  const name = cut(status?.name ?? "Penstock", MOST_NAME);
  const sign = model.link === "lost" ? "✕ " : "";
  document.title = `${sign}${name} · ${message ?? link[model.link]}`;
}

const kind = (message) =>
  message === AWAY ? "away" : message.startsWith("Processing") ? "busy" : message.startsWith("Restoring") ? "restoring" : "calm";

function showBanner() {
  const [type, text] = banner();
  const node = find("banner");
  node.hidden = !text;
  mark(node, "data-kind", type);
  writeCut(node, text ?? "", 400);
}

/** Return what a person has to know first, in words, or nothing. */
function banner() {
  const { status, ended } = model;
  if (model.link === "refused") {
    return ["lost", "The worker wants a token. Open this page once as /?token=TOKEN."];
  }
  if (ended?.exception) return ["lost", `It has ended. ${ended.errorClass}: ${ended.exception}`];
  if (model.link === "lost") {
    const last = model.points.length ? " What stands here is what it told last." : "";
    const why = ended ? "The worker was stopped" : "The connection to the worker is lost";
    return ["lost", `${why}, since ${clock(model.since)}. Trying again.${last}`];
  }
  if (!status || model.link !== "live") return [];
  if (status.status.message === AWAY) {
    return ["lost", `${AWAY}. Nothing is lost, and the worker tries on. Check the brokers.`];
  }
  if (!status.tasks.length) return ["calm", `${status.status.message}. Nothing is read until then.`];
  if (model.fresh && isBehind(model.last)) {
    const since = duration(model.last.fallingBehindMs);
    return ["warn", `Falling behind: the lag has been growing for ${since}.`];
  }
  return idle();
}

function idle() {
  const at = model.lastRecordAt;
  if (at === null) {
    return model.last || model.status.status.isTriggerActive
      ? []
      : ["calm", "No record has come yet. The worker waits for data."];
  }
  const quiet = model.now() - at;
  if (quiet < Math.max(IDLE_MS, model.gapMs()) || model.status.status.isDataAvailable) return [];
  return ["calm", `No record has come for ${duration(Math.round(quiet / 1000) * 1000)}. The worker waits for data.`];
}

function showTiles() {
  const { last, fresh } = model;
  const now = fresh ? last : null;
  const nothing = model.link === "live" && last ? 0 : null;
  const seconds = Math.round(model.covered / 1000);
  const over = seconds ? `in ${duration(seconds * 1000)}` : "";
  const rows = model.sum("numInputRows");
  const longest = now ? `longest ${duration(now.maxBatchDuration)}` : "";
  const mean = now ? now.batchDuration / Math.max(1, now.batches) : null;
  const failed = model.sum("numFailedRows");
  const [dead, late, dropped] = ["numDeadLetters", "numLateRows", "numDroppedRows"].map((of) =>
    model.sum(of),
  );
  tile("input", rate(now?.inputRowsPerSecond ?? nothing), `${short(rows)} records ${over}`, exact(rows));
  const written = model.points.reduce((sum, { progress }) => sum + progress.sink.numOutputRows, 0);
  tile("processed", rate(now?.processedRowsPerSecond ?? nothing), `${short(written)} written`, exact(written));
  const furthest = now?.sources.map((of) => Number(of.metrics.maxOffsetsBehindLatest ?? 0)) ?? [];
  const most = furthest.length ? `at most ${short(Math.max(...furthest))} in a partition` : "";
  tile("lag", short(model.lag), most, exact(model.lag));
  const latency = now?.latencyMs;
  tile("latency", duration(latency?.p99), latency ? `half within ${duration(latency.p50)}` : "");
  tile("batch", duration(mean === null ? null : Math.round(mean)), longest);
  const others = [
    [dead, "dead letters"],
    [late, "late"],
    [dropped, "without key or value"],
  ].filter(([count]) => count);
  const more = others.map(([count, what]) => `${short(count)} ${what}`).join(", ");
  tile("trouble", short(last ? failed : null), more || over, exact(failed));
  mark(tiles.get("trouble").tile, "data-kind", failed ? "bad" : null);
  mark(tiles.get("lag").tile, "data-kind", now && isBehind(now) ? "warn" : null);
}

function tile(name, text, more, title) {
  const found = tiles.get(name);
  write(found.value, text);
  write(found.more, more);
  entitle(found.tile, title);
}

/** Lead to the pages of the workers beside this one. */
function showSiblings() {
  const node = find("siblings");
  node.hidden = model.siblings.length < 2;
  if (node.hidden || node.childElementCount === model.siblings.length) return;
  const links = model.siblings.map((number) =>
    element("a", { href: `workers/${Number(number)}/` }, `worker ${number}`),
  );
  node.replaceChildren(...links);
}

function showLogs() {
  const newest = model.problems.slice(-MOST_PROBLEMS).toReversed();
  const times = new Map(); // the same may have happened twice at the same moment
  const items = newest.map(({ timestamp, text }) => {
    const same = `${timestamp} ${text}`;
    times.set(same, (times.get(same) ?? 0) + 1);
    return { at: instant(timestamp), text, kind: "bad", key: `${same} ${times.get(same)}` };
  });
  problems.update(items);
  const more = model.problems.length - newest.length;
  write(find("problems-note"), more > 0 ? `the last ${newest.length}` : "");
  events.update(model.events);
}

function setLink(link) {
  if (model.setLink(link)) {
    if (link === "lost" && !model.ended) model.note(model.now(), "bad", "The connection is lost.");
    if (link === "live") model.note(model.now(), "run", "The page is connected to the worker.");
  }
  show();
}

listen({
  load,
  told,
  live: () => {
    setLink("live");
    catchUp();
  },
  lost: (refused) => setLink(refused ? "refused" : "lost"),
});
setInterval(soon, TICK_MS);
document.addEventListener("visibilitychange", soon);
document.addEventListener("theme", soon);
repeat(again.application, APPLICATION_MS);
repeat(again.problems, PROBLEMS_MS);
