// @ts-check
/** One caption on the page: a block for each turn. A block has the name of its speaker where that changes. */

import { make } from "./dom.js";

/** @import { Rename, SpeakerNames } from "./speaker-names.js" */
/** @import { ShownText } from "./tracks.js" */

/**
 * An element for words of one speaker. `head` is the place for the name in it.
 *
 * @typedef {object} Block
 * @property {HTMLElement} element
 * @property {HTMLElement} head
 * @property {(text: string, startMs: number, shown: ShownText) => void} show
 */

/** Make the place for the name of the one who speaks. */
export function makeHead() {
  const head = make("b", "", "head");
  head.hidden = true;
  return head;
}

export class CaptionBlocks {
  /** @type {Block[]} */
  #blocks = [];
  #makeBlock;
  #names;
  #session;
  #rename;

  /**
   * @param {() => Block} makeBlock
   * @param {SpeakerNames} names
   * @param {string} session
   * @param {Rename | null} rename null: nobody can give names here
   */
  constructor(makeBlock, names, session, rename = null) {
    this.#makeBlock = makeBlock;
    this.#names = names;
    this.#session = session;
    this.#rename = rename;
    this.#blocks.push(makeBlock());
  }

  get elements() {
    return this.#blocks.map(({ element }) => element);
  }

  /**
   * Show a text of the caption, in as many blocks as it has turns. `showHeads` then shows their names.
   *
   * @param {ShownText} shown
   * @param {number} startMs
   */
  show(shown, startMs) {
    if (shown.turns) this.#names.begin(this.#session);
    const turns = shown.turns?.length ? shown.turns : [{ speaker: null, text: shown.text, startMs }];
    for (const { element } of this.#blocks.splice(turns.length)) element.remove();
    while (this.#blocks.length < turns.length) {
      const block = this.#makeBlock();
      this.elements.at(-1)?.after(block.element);
      this.#blocks.push(block);
    }
    for (const [i, turn] of turns.entries()) {
      this.#blocks[i].show(turn.text, turn.startMs, shown);
      if (shown.turns) this.#attribute(this.#blocks[i], turn.speaker);
    }
  }

  /** Show the name where the speaker changes. Call it when the blocks have their place. */
  showHeads() {
    const last = this.elements.at(-1);
    for (const element of [...this.elements, last?.nextElementSibling]) showHead(element);
  }

  /**
   * @param {Block} block
   * @param {number | null} speaker
   */
  #attribute({ element, head }, speaker) {
    if (speaker === null) {
      head.replaceChildren();
      element.dataset.look = element.dataset.by = "";
      return;
    }
    const name = this.#names.element(this.#session, speaker, this.#rename);
    head.replaceChildren(name);
    element.dataset.look = name.dataset.look;
    element.dataset.by = name.dataset.speaker;
  }
}

/** @param {Element | null | undefined} block */
function showHead(block) {
  const head = block?.querySelector(".head");
  if (!(block instanceof HTMLElement && head instanceof HTMLElement)) return;
  const before = block.previousElementSibling;
  const goesOn = before instanceof HTMLElement && before.dataset.by === block.dataset.by;
  head.hidden = !block.dataset.by || goesOn;
}
