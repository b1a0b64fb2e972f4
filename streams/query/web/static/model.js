// The model: what the page knows. It only keeps and sums what the worker has told.

import { duration, exact, instant, ranges } from "./format.js";

export const AWAY = "Kafka does not answer"; // as the worker's status says it
const KEPT_MS = 600_000;
const KEPT = 1200;
const KEPT_EVENTS = 50;
const BEHIND_MS = 10_000;
const FRESH_MS = 4000; // after it, a rate is none any more

export class Model {
  constructor() {
    this.status = null; // as /status tells it
    this.siblings = []; // numbers of the workers of the same supervisor, which have pages too
    this.topology = null;
    this.problems = [];
    this.application = null; // of all workers; null where it is not told
    this.applicationAt = 0; // when that was told
    this.points = []; // records of progress, oldest first
    this.events = []; // what happened, newest first
    this.link = "connecting"; // or "live", "lost", "refused"
    this.since = Date.now(); // when the link became so
    this.skew = 0; // the worker's clock less ours
    this.restoring = new Map(); // the most that was left to restore, by task and store
    this.idle = null; // when it said last that nothing comes, and what waited then
    this.ended = null; // how the run has ended, where it has
  }

  /** The worker's clock, about. */
  now() {
    return Date.now() + this.skew;
  }

  /** Note by an answer's Date how far the worker's clock is from ours; it has whole seconds. */
  compare(date) {
    if (Number.isFinite(date) && Math.abs(date + 500 - this.now()) > 1500) {
      this.skew = date + 500 - Date.now();
    }
  }

  /** Note how the connection is; returns whether that is new. */
  setLink(link) {
    if (this.link === link) return false;
    this.link = link;
    this.since = Date.now();
    return true;
  }

  setStatus(told) {
    const before = this.status;
    // A supervisor tells of all its workers; the page is that of the first one.
    if (told.workers) this.siblings = told.workers.map((worker) => worker.number);
    const own = told.workers?.find((worker) => worker.instanceId === told.instanceId);
    const status = { ...told, tasks: own?.tasks ?? told.tasks };
    this.status = status;
    if (this.ended?.runId !== status.runId) this.ended = null; // a run ends once
    const away = status.status.message === AWAY;
    if (away && before?.status.message !== AWAY) this.note(this.now(), "bad", `${AWAY}.`);
    if (!away && before?.status.message === AWAY) this.note(this.now(), "run", "Kafka answers again.");
    if (before && before.runId !== status.runId) {
      this.note(this.now(), "run", `A new run has begun: ${shortId(status.runId)}.`);
      this.restoring.clear();
    }
    for (const { key, remaining } of unrestored(status)) {
      this.restoring.set(key, Math.max(remaining, this.restoring.get(key) ?? 0));
    }
  }

  /** Keep a record of progress, unless it is there already. */
  add(progress) {
    const from = instant(progress.timestamp);
    const until = from + Math.max(0, progress.batchDuration);
    const { runId, batchId } = progress;
    const ofRun = this.points.filter((point) => point.runId === runId);
    if (ofRun.some((point) => point.progress.batchId === batchId)) return;
    const last = ofRun.at(-1);
    this.points.push({ from, until, runId, progress });
    this.points.sort((one, other) => one.until - other.until);
    const oldest = this.points.at(-1).until - KEPT_MS;
    while (this.points.length > KEPT || this.points[0].until < oldest) this.points.shift();
    if (isBehind(progress) && !(last && isBehind(last.progress))) {
      this.note(until, "bad", `It is falling behind: the lag is ${exact(progress.lag)} and grows.`);
    }
  }

  /** Keep an event, in words. */
  happened(name, event) {
    const at = instant(event.timestamp);
    if (name === "started") {
      this.note(at, "run", `The worker has started, run ${shortId(event.runId)}.`);
    } else if (name === "rebalance") {
      this.note(at, "group", rebalanced(event));
    } else if (name === "restored") {
      const took = duration(event.durationMs);
      const what = `${exact(event.rows)} records for ${exact(event.stores)} stores in ${took}`;
      this.note(at, "state", `State is restored: ${what}.`);
    } else if (name === "idle") {
      this.idle = { at, lag: event.lag };
    } else if (name === "terminated") {
      this.ended = event;
      const error = event.exception ? `${event.errorClass}: ${event.exception}` : "It was stopped.";
      this.note(at, event.exception ? "bad" : "run", `The worker has ended. ${error}`);
    }
  }

  note(at, kind, text) {
    const same = this.events.some((event) => event.at === at && event.text === text);
    if (!same) this.events = [{ at, kind, text }, ...this.events].slice(0, KEPT_EVENTS);
  }

  /** Keep what is told of all workers, if anything is. */
  setApplication(application) {
    this.application = application;
    this.applicationAt = this.now();
  }

  get last() {
    return this.points.at(-1)?.progress ?? null;
  }

  /** Whether nothing has come since the last record of progress, by the worker's own word. */
  get isIdle() {
    return this.idle !== null && this.idle.at > (this.points.at(-1)?.until ?? 0);
  }

  /** Records that wait in all inputs, as was told last. */
  get lag() {
    return this.isIdle ? this.idle.lag : (this.last?.lag ?? null);
  }

  /** Whether the last record of progress tells of this moment. */
  get fresh() {
    const point = this.points.at(-1);
    return Boolean(point) && this.link === "live" && this.now() - point.until < this.gapMs();
  }

  /** Records of progress that are further apart had nothing between them. */
  gapMs() {
    const of = this.points.slice(-20);
    const apart = of.slice(1).map((point, number) => point.from - of[number].from);
    apart.sort((one, other) => one - other);
    return Math.max(FRESH_MS, 3 * (apart[apart.length >> 1] ?? 0));
  }

  /** When a record came last, as far as is known. */
  get lastRecordAt() {
    return this.points.findLast((point) => point.progress.numInputRows > 0)?.until ?? null;
  }

  /** The sum of a number over all records of progress that are kept. */
  sum(name) {
    return this.points.reduce((total, { progress }) => total + (progress[name] ?? 0), 0);
  }

  /** What is kept tells of so many milliseconds. */
  get covered() {
    return this.points.length ? Math.max(0, this.points.at(-1).until - this.points[0].from) : 0;
  }
}

/** Whether the lag has been growing for so long that somebody should know. */
export const isBehind = (progress) => progress.fallingBehindMs >= BEHIND_MS;

/** The stores of a status that are not restored yet, with what is left of each. */
export function unrestored(status) {
  const found = [];
  for (const task of status?.tasks ?? []) {
    for (const store of task.stores) {
      const key = JSON.stringify([task.subTopology, task.partition, store.name]);
      if (!store.restored) found.push({ key, name: store.name, remaining: store.remaining });
    }
  }
  return found;
}

/** The beginning of an id tells runs and workers apart. */
export const shortId = (id) => String(id ?? "").slice(0, 8);

/** Partitions by topic, in a few words. */
export function assignment(topics) {
  const found = Object.entries(topics ?? {}).filter(([, numbers]) => numbers.length);
  return found.map(([topic, numbers]) => `${topic} ${ranges(numbers)}`).join("; ") || "none";
}

function rebalanced(event) {
  const count = (topics) => Object.values(topics ?? {}).reduce((sum, of) => sum + of.length, 0);
  const [taken, given] = [count(event.taken), count(event.givenBack)];
  const words = [];
  if (taken) words.push(`took ${assignment(event.taken)}`);
  if (given) words.push(`gave back ${assignment(event.givenBack)}`);
  return `The group has changed: the worker ${words.join(", and ") || "keeps what it had"}.`;
}
