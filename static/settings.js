// @ts-check
/** What the user has chosen, kept in this browser. A stored value whose type is not the default's is ignored. */

import { store, storedJson } from "./storage.js";

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
  secondSource: "none",
  language: "",
  tracks: "",
  speakers: false,
  expectedSpeakers: "",
  speakerMarks: true,
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
    this.#values = { ...DEFAULTS, ...(given ?? kept()) };
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
   * Use a value on this page alone, until it is changed here.
   *
   * @param {SettingName} name
   * @param {Values[SettingName]} value
   */
  useHere(name, value) {
    Object.assign(this.#values, { [name]: value });
  }

  /**
   * @param {SettingName} name
   * @param {Values[SettingName]} value
   */
  set(name, value) {
    this.useHere(name, value);
    // Other pages of this browser keep their choices in the same place.
    store("localStorage", KEY, JSON.stringify({ ...kept(), [name]: value }));
  }
}

/** @returns {Partial<Values>} */
function kept() {
  const valid = Object.entries(storedJson("localStorage", KEY) ?? {}).filter(
    ([name, value]) => typeof value === typeof defaultOf(name),
  );
  return Object.fromEntries(valid);
}

/**
 * @param {string} name
 * @returns {unknown}
 */
function defaultOf(name) {
  return new Map(Object.entries(DEFAULTS)).get(name);
}
