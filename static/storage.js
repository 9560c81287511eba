// @ts-check
/**
 * What the browser keeps for a page. It may forbid that, or be full; then a value lasts until the page is closed. What
 * is kept may be from another version or from anybody else, so whoever reads it checks it.
 */

/** @typedef {"localStorage" | "sessionStorage"} Place on this device, or until the tab is closed */

/** @type {Map<string, string | null>} What the browser did not take. */
const unstored = new Map();

/**
 * @param {Place} place
 * @param {string} key
 * @returns {string | null} null: there is none
 */
export function stored(place, key) {
  const value = unstored.get(`${place} ${key}`);
  if (value !== undefined) return value;
  try {
    return globalThis[place].getItem(key);
  } catch {
    return null;
  }
}

/**
 * @param {Place} place
 * @param {string} key
 * @param {string | null} value null removes it
 */
export function store(place, key, value) {
  unstored.delete(`${place} ${key}`);
  try {
    if (value === null) globalThis[place].removeItem(key);
    else globalThis[place].setItem(key, value);
  } catch {
    unstored.set(`${place} ${key}`, value);
  }
}

/**
 * A value that was stored as JSON; null: there is none, or it is no JSON.
 *
 * @param {Place} place
 * @param {string} key
 * @returns {unknown}
 */
export function storedJson(place, key) {
  try {
    return JSON.parse(stored(place, key) ?? "null");
  } catch {
    return null;
  }
}

/**
 * Whether it is an object with such values: `{ id: "string" }`.
 *
 * @param {unknown} value
 * @param {Record<string, string>} types as of `typeof`
 */
export function hasTypes(value, types) {
  if (typeof value !== "object" || value === null) return false;
  const fields = new Map(Object.entries(value));
  return Object.entries(types).every(([name, type]) => typeof fields.get(name) === type);
}
