// @ts-check
/** What the user has chosen, kept in this browser. A stored value whose type is not the default's is ignored. */

const KEY = "livecaption.settings";

const DEFAULTS = {
  theme: "auto",
  pageLanguage: "",
  captionColors: "page",
  captionSize: 100,
  view: "transcript",
  position: "bottom",
  font: "sans",
  spacing: "normal",
  track: "",
  announce: false,
  shortcuts: true,
  source: "",
  language: "",
  tracks: "",
  private: false,
  title: "",
  hotwords: "",
  pace: "",
  keep: true,
  eventOpen: false,
  echoCancellation: false,
  noiseSuppression: false,
  autoGainControl: true,
};

/** @typedef {typeof DEFAULTS} Values */
/** @typedef {keyof Values} SettingName */

export class Settings {
  /** @type {Values} */
  #values;

  /** @param {Partial<Values> | null} given used instead of what is kept, as by a page that nobody can operate */
  constructor(given = null) {
    if (given) {
      this.#values = { ...DEFAULTS, ...given };
      return;
    }
    const valid = Object.entries(read()).filter(([name, value]) => typeof value === typeof defaultOf(name));
    this.#values = { ...DEFAULTS, ...Object.fromEntries(valid) };
  }

  /**
   * @template {SettingName} Name
   * @param {Name} name
   * @returns {Values[Name]}
   */
  get(name) {
    return this.#values[name];
  }

  /**
   * @param {SettingName} name
   * @param {Values[SettingName]} value
   */
  set(name, value) {
    Object.assign(this.#values, { [name]: value });
    // Storage may be full or forbidden; then the choice lasts until the page is closed.
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#values));
    } catch {}
  }
}

/**
 * @param {string} name
 * @returns {unknown}
 */
function defaultOf(name) {
  return new Map(Object.entries(DEFAULTS)).get(name);
}

/** @returns {Record<string, unknown>} */
function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") ?? {};
  } catch {
    return {};
  }
}
