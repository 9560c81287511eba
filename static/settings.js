/** What the reader has chosen, kept in this browser. Values that are not of the default's type are ignored. */

const KEY = "livecaption.settings";

const DEFAULTS = {
  theme: "auto",
  captionColors: "page",
  captionSize: 100,
  view: "transcript",
  position: "bottom",
  announce: false,
  shortcuts: true,
  source: "",
  language: "",
  private: false,
  echoCancellation: false,
  noiseSuppression: false,
  autoGainControl: true,
};

export class Settings {
  #values;

  constructor() {
    const stored = read();
    const valid = Object.entries(stored).filter(([name, value]) => typeof value === typeof DEFAULTS[name]);
    this.#values = { ...DEFAULTS, ...Object.fromEntries(valid) };
  }

  get(name) {
    return this.#values[name];
  }

  set(name, value) {
    this.#values[name] = value;
    // Storage may be full or forbidden; then the choice lasts until the page is closed.
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#values));
    } catch {}
  }
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}
