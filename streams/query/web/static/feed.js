// The feed: what the worker tells, and whether it still tells it.
//
// A browser's EventSource tries again by itself, but not after every kind of failure, and it does
// not see a connection on which nothing comes any more. So each connection is one of its own:
// it is given up when it fails or has been silent for too long, and made again until it works.

const EVENTS = ["progress", "idle", "started", "rebalance", "restored", "terminated", "status"];
const SILENT_MS = 6000; // a status comes each second
const AGAIN_MS = [500, 1000, 2000];
const ANSWER_MS = 8000;

/** Read JSON of an endpoint beside the page; null where it is not there. */
export async function read(path) {
  const stopped = AbortSignal.timeout(ANSWER_MS);
  const answer = await fetch(path, { signal: stopped, cache: "no-store" });
  if (answer.status === 401) throw new Refused();
  if (!answer.ok) return null;
  const date = Date.parse(answer.headers.get("date") ?? "");
  return { found: await answer.json(), date };
}

/** The worker wants a token, and has not seen it. */
export class Refused extends Error {}

/**
 * Listen for ever.
 *
 * @param {object} to what is told:
 *   `load()` is awaited at the beginning of each connection, `told(name, found)` for each event,
 *   `live()` when a connection works, `lost(refused)` when it does not.
 */
export async function listen(to) {
  for (let failures = 0; ; failures += 1) {
    try {
      await to.load();
      await connection(to, () => {
        failures = 0;
        to.live();
      });
      to.lost(false);
    } catch (error) {
      to.lost(error instanceof Refused);
    }
    await sleep(AGAIN_MS[Math.min(failures, AGAIN_MS.length - 1)]);
  }
}

/** Pass on the events of one connection until it ends. */
function connection(to, works) {
  return new Promise((ended) => {
    const source = new EventSource("events");
    let timer = 0;
    const end = () => {
      clearTimeout(timer);
      source.close();
      ended();
    };
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(end, SILENT_MS);
    };
    source.onopen = () => {
      heard();
      works();
    };
    source.onerror = end;
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => {
        heard();
        to.told(name, JSON.parse(event.data));
      });
    }
    heard();
  });
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
