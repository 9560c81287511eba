// @ts-check
/** What this tab was doing, so that it goes on after it was loaded again. Kept until the tab is closed. */

/** @import { ResumePoint } from "./stream.js" */

/** @typedef {{ id: string, readerToken: string, beganAtMs: number }} SpokenSession by the Unix clock */

/**
 * @typedef {object} Tab
 * @property {SpokenSession[]} sessions whose captions the page shows, the oldest first
 * @property {ResumePoint | null} running null: no session runs
 * @property {boolean} inBreak whether the event goes on although no session runs
 */

const KEY = "livecaption.tab";

/** @type {Tab} */
const NOTHING = { sessions: [], running: null, inBreak: false };

/** @returns {Tab} */
export function readTab() {
  try {
    return { ...NOTHING, ...JSON.parse(sessionStorage.getItem(KEY) ?? "{}") };
  } catch {
    return NOTHING;
  }
}

/** @param {Tab} tab */
export function keepTab(tab) {
  // Storage may be full or forbidden; then a page that is loaded again begins afresh.
  try {
    sessionStorage.setItem(KEY, JSON.stringify(tab));
  } catch {}
}
