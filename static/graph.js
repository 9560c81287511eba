// @ts-check
/** One figure over time, as lines in SVG. The lines are for the eye; the key above them has the newest values as text. */

import { make } from "./dom.js";

/** @import { Stats } from "./messages.js" */

/** @typedef {(stats: Stats, history: readonly Stats[]) => number | null} Reading null: there is no value */

/**
 * @typedef {object} GraphOptions
 * @property {string} title
 * @property {(value: number | null) => string} format
 * @property {number} leastTop the smallest value that the scale ends with, so that noise does not look like a mountain
 * @property {[name: string, reading: Reading][]} lines one or two
 */

const SVG = "http://www.w3.org/2000/svg";

/** The page keeps and draws this much. */
export const HISTORY_S = 120;

export class Graph {
  #format;
  #leastTop;
  #lines;
  #newest;
  #top = make("span");
  #paths;

  /**
   * @param {HTMLElement} parent
   * @param {GraphOptions} options
   */
  constructor(parent, { title, format, leastTop, lines }) {
    this.#format = format;
    this.#leastTop = leastTop;
    this.#lines = lines;
    this.#paths = lines.map(() => svgElement("path", {}));
    this.#newest = lines.map(() => make("dd", format(null)));

    const keys = make("dl", "", "keys");
    lines.forEach(([name], i) => {
      const key = make("div");
      key.append(make("dt", name), this.#newest[i]);
      keys.append(key);
    });
    const svg = svgElement("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
    svg.append(...[0, 50, 100].map((y) => svgElement("line", { x1: "0", x2: "100", y1: `${y}`, y2: `${y}` })));
    svg.append(...this.#paths);
    const scale = make("div", "", "scale");
    scale.setAttribute("aria-hidden", "true");
    scale.append(this.#top, make("span", "0"));
    const frame = make("div", "", "frame");
    frame.append(svg, scale);
    const figure = make("figure", "", "graph");
    figure.append(make("figcaption", title), keys, frame);
    parent.append(figure);
  }

  /** @param {readonly Stats[]} history in order, with at least one entry */
  show(history) {
    const nowS = history[history.length - 1].at_s;
    const series = this.#lines.map(([, reading]) =>
      history.map((stats) => ({ ageS: nowS - stats.at_s, value: reading(stats, history) })),
    );
    const top = niceCeiling(Math.max(this.#leastTop, ...series.flat().map(({ value }) => value ?? 0)));
    this.#top.textContent = this.#format(top);
    series.forEach((points, i) => {
      this.#paths[i].setAttribute("d", pathOf(points, top));
      this.#newest[i].textContent = this.#format(points[points.length - 1].value);
    });
  }
}

/**
 * @param {{ ageS: number, value: number | null }[]} points
 * @param {number} top
 */
function pathOf(points, top) {
  let drawing = false;
  return points
    .map(({ ageS, value }) => {
      const x = (100 - (100 * ageS) / HISTORY_S).toFixed(2);
      const command = value === null ? "" : `${drawing ? "L" : "M"}${x} ${(100 - (100 * value) / top).toFixed(2)}`;
      drawing = value !== null;
      return command;
    })
    .join("");
}

/**
 * The next of 1, 2, 5, 10, 20 …, so that the scale does not change with every point.
 *
 * @param {number} value
 */
function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5].find((step) => step * power >= value * (1 - 1e-9)) ?? 10);
}

/**
 * @param {string} tag
 * @param {Record<string, string>} attributes
 */
function svgElement(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
