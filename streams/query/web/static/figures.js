// Figures: the columns of the charts, out of records of progress.

import { bytes, duration, instant, rate, short } from "./format.js";

const SHORTEST_MS = 30_000;
const LONGEST_MS = 600_000;
const MOST_STORES = 6;

// What an axis of durations is divided by: as people divide time.
const [SECOND, MINUTE, HOUR, DAY] = [1e3, 60e3, 3600e3, 86_400e3];
const STEPS_MS = [
  ...[0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1, 2, 5, 10, 20, 30].map((count) => count * SECOND),
  ...[1, 2, 5, 10, 20, 30].map((count) => count * MINUTE),
  ...[1, 2, 4, 6, 12].map((count) => count * HOUR),
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000].map((count) => count * DAY),
];

// Spark's names of the phases of a batch, in their order.
const PHASES = [
  ["getBatch", "fetch"],
  ["addBatch", "process"],
  ["walCommit", "flush"],
  ["commitOffsets", "commit"],
  ["stateCommit", "store"],
  ["latestOffset", "look up ends"],
  ["queryPlanning", "plan"],
];
const TOTAL = "triggerExecution";

/** What the charts show of a model, and from when to when. */
export function figures(model) {
  const rows = timeline(model);
  const column = (of) => rows.map((row) => (row.progress ? of(row.progress, row) : row.fill));
  const numbers = (of) => rows.map((row) => (row.progress ? of(row.progress, row) : null));
  return {
    x: rows.map((row) => row.at / 1000),
    marks: runs(rows),
    window: span(model),
    rates: {
      series: [
        { label: "input", values: column((progress, row) => row.input) },
        { label: "processed", values: column((progress) => progress.processedRowsPerSecond) },
      ],
      format: rate,
      empty: "No record has come yet.",
    },
    lag: {
      series: [{ label: "records behind", values: numbers((progress) => progress.lag), fill: true }],
      format: short,
      empty: "No record has come yet.",
    },
    latency: {
      series: ["p50", "p95", "p99"].map((name) => ({
        label: name,
        values: numbers((progress) => progress.latencyMs?.[name] ?? null),
      })),
      format: duration,
      steps: STEPS_MS,
      empty: "No record has come yet.",
    },
    phases: { ...phases(rows), format: duration, steps: STEPS_MS, empty: "No batch has ended yet." },
    time: {
      series: [
        { label: "newest event", values: numbers((of, row) => behind(row, of.eventTime?.max)) },
        { label: "watermark", values: numbers((of, row) => behind(row, of.eventTime?.watermark)) },
      ].filter((of) => of.values.some((value) => value !== null)),
      format: duration,
      steps: STEPS_MS,
      empty: "Nothing here goes by event time.",
    },
    state: { ...state(rows), empty: "Nothing here keeps state." },
  };
}

/** Records of progress with what stands between them: nothing was done there. */
function timeline(model) {
  const gap = model.gapMs();
  const rows = [];
  let before = null;
  for (const point of model.points) {
    const isNew = before !== null && before.runId !== point.runId;
    if (before && (isNew || point.from - before.until > gap)) {
      rows.push(...nothing(before.until, point.from, isNew ? null : 0));
    }
    rows.push({ ...point, at: point.until, isNew, input: inputRate(point, before) });
    before = point;
  }
  const now = model.now();
  if (before && model.link === "live" && now - before.until > gap) {
    rows.push(...nothing(before.until, now, 0));
  }
  return rows;
}

function nothing(from, until, fill) {
  const edge = Math.min(1000, (until - from) / 3);
  return [from + edge, until - edge].map((at) => ({ at, fill, runId: null }));
}

/** Two that began at almost the same time make a rate of nearly any size. */
function inputRate({ from, progress }, before) {
  const short_ = before && from - before.from < progress.batchDuration / 2;
  return short_ ? progress.processedRowsPerSecond : progress.inputRowsPerSecond;
}

/** When runs began that are not the first. */
const runs = (rows) => rows.filter((row) => row.isNew).map((row) => row.from / 1000);

/** From when to when: all that is kept, at least a minute, at most ten. */
function span(model) {
  const until = model.link === "live" ? model.now() : (model.points.at(-1)?.until ?? model.now());
  const from = model.points[0]?.from ?? until;
  const ms = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, until - from));
  return [(until - ms) / 1000, until / 1000];
}

function phases(rows) {
  const names = new Set();
  for (const { progress } of rows) {
    for (const [name, ms] of Object.entries(progress?.durationMs ?? {})) if (ms) names.add(name);
  }
  names.delete(TOTAL);
  const ours = PHASES.filter(([name]) => names.delete(name));
  const others = [...names].sort().map((name) => [name, name]);
  const series = [...ours, ...others].map(([name, label]) => ({
    label,
    values: rows.map(({ progress }) =>
      progress ? (progress.durationMs[name] ?? 0) / Math.max(1, progress.batches) : null,
    ),
  }));
  return { series, stacked: true };
}

/** How far a moment is behind the clock of its record. */
function behind(row, text) {
  const at = instant(text);
  return Number.isFinite(at) ? Math.max(0, row.until - at) : null;
}

/** The bytes of a store: in memory, and of its files where they are known. */
export const storeBytes = (store) =>
  store.memoryUsedBytes + (store.customMetrics?.stateOnDiskBytes ?? 0);

function state(rows) {
  const last = rows.findLast((row) => row.progress)?.progress;
  const names = (last?.stateOperators ?? []).map((store) => store.operatorName);
  const inBytes = rows.some((row) => row.progress?.stateOperators.some(storeBytes));
  const size = inBytes ? storeBytes : (store) => store.numRowsTotal;
  const of = (progress, name) =>
    progress.stateOperators.find((store) => store.operatorName === name) ?? null;
  const series = names.slice(0, MOST_STORES).map((name) => ({
    label: name,
    values: rows.map(({ progress }) => {
      const store = progress && of(progress, name);
      return store ? size(store) : null;
    }),
  }));
  const note = names.length > MOST_STORES ? `${names.length - MOST_STORES} more below` : "";
  return { series, format: inBytes ? bytes : (value) => `${short(value)} keys`, note };
}
