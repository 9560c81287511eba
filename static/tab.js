// @ts-check
/** What this tab was doing, so that it goes on after it was loaded again. Kept until the tab is closed. */

import { isRoom } from "./rooms.js";
import { hasTypes, store, storedJson } from "./storage.js";

/** @import { OwnRoom } from "./rooms.js" */
/** @import { ResumePoint } from "./stream.js" */

/** @typedef {{ id: string, readerToken: string, beganAtMs: number }} SpokenSession by the Unix clock */

/**
 * @typedef {object} Tab
 * @property {string} id
 * @property {SpokenSession[]} sessions whose captions the page shows, the oldest first
 * @property {ResumePoint | null} running null: no session runs
 * @property {OwnRoom | null} event the room of the event that has begun, and was not ended
 */

const KEY = "livecaption.tab";
const SESSION = { id: "string", readerToken: "string", beganAtMs: "number" };
const RUNNING = { ready: "object", lastSeq: "number", sampleRateHz: "number", nChannels: "number" };
/**
 * A page that is loaded again waits so long for its own lock. Browsers may take seconds to end the page before; a
 * duplicated tab waits all of it.
 */
const MAX_WAIT_MS = 5000;

/** @returns {Tab} */
export function readTab() {
  const { id, sessions, running, event } = /** @type {Partial<Tab>} */ (storedJson("sessionStorage", KEY) ?? {});
  return {
    id: typeof id === "string" ? id : "",
    sessions: Array.isArray(sessions) ? sessions.filter((session) => hasTypes(session, SESSION)) : [],
    running: hasTypes(running, RUNNING) && hasTypes(running?.ready, { session: "string" }) ? (running ?? null) : null,
    event: isRoom(event) ? event : null,
  };
}

/** @param {Tab} tab */
export function keepTab(tab) {
  store("sessionStorage", KEY, JSON.stringify(tab));
}

/**
 * Return whether no other tab is open with what this one remembers. Browsers copy it into a duplicated tab, which gets an
 * id of its own: the session stays with the first one.
 *
 * @param {Tab} tab
 */
export async function claimTab(tab) {
  const isOnly = tab.id !== "" && (await holdLock(tab.id));
  if (!isOnly) {
    tab.id = String(Math.random()); // no secret
    holdLock(tab.id);
  }
  return isOnly;
}

/**
 * Hold the lock of this tab until its page is gone. Return whether it was free.
 *
 * @param {string} id
 * @returns {Promise<boolean>}
 */
function holdLock(id) {
  // Without locks, as at an address where the microphone is not allowed either, nothing is copied that matters.
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    const hold = () => {
      resolve(true);
      return new Promise(() => {});
    };
    const signal = AbortSignal.timeout(MAX_WAIT_MS);
    navigator.locks.request(`livecaption.tab.${id}`, { signal }, hold).catch(() => resolve(false));
  });
}
