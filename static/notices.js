// @ts-check
/** The two places that report trouble: standing notices under the controls, and the one problem that ended a session. */

import { make } from "./dom.js";
import { problemWords } from "./words.js";

/** @import { Problem } from "./words.js" */

/** @typedef {"level" | "second_level" | "server" | "network" | "sound" | "suspended" | "language"} Topic */

/** One sentence for each topic, as long as it is true. */
export class Notices {
  #box;
  /** @type {Map<Topic, string>} */
  #standing = new Map();

  /** @param {HTMLElement} box */
  constructor(box) {
    this.#box = box;
  }

  /**
   * Show a sentence until the next one on its topic; "" removes it.
   *
   * @param {Topic} topic
   * @param {string} words
   */
  show(topic, words) {
    // A screen reader would announce unchanged notices again.
    if ((this.#standing.get(topic) ?? "") === words) return;
    this.#standing.set(topic, words);
    this.#write();
  }

  clear() {
    this.#standing.clear();
    this.#write();
  }

  #write() {
    const sentences = [...this.#standing.values()].filter(Boolean);
    this.#box.replaceChildren(...sentences.map((words) => make("p", words)));
  }
}

export class ProblemPanel {
  #box;

  /** @param {HTMLElement} box */
  constructor(box) {
    this.#box = box;
  }

  /** @param {Problem} problem */
  show(problem) {
    const { title, text, fixes, detail } = problemWords(problem, location);
    /** @type {HTMLElement[]} */
    const parts = [make("h2", title), make("p", text)];
    if (fixes.length > 0) {
      const list = make("ol");
      list.append(...fixes.map(fixItem));
      parts.push(list);
    }
    if (detail) parts.push(make("p", detail, "detail"));
    this.#box.replaceChildren(...parts);
    this.#box.hidden = false;
  }

  hide() {
    this.#box.hidden = true;
  }
}

/** @param {string} fix has what is to be typed in backticks */
function fixItem(fix) {
  const item = make("li");
  item.append(...fix.split("`").map((part, i) => (i % 2 === 1 ? make("code", part) : part)));
  return item;
}
