// @ts-check
/** The names of speakers, and the elements that show them. Names are text, also if they look like HTML. */

import { make } from "./dom.js";
import { t } from "./language.js";
import { channelName } from "./transcript.js";

/** @import { SpeakerName } from "./messages.js" */

/** As many differ in color and shape: `style.css`. */
const N_LOOKS = 6;

/** Owns the names. A number means nothing outside of its session. */
export class SpeakerNames {
  /** @type {Map<string, string>} By session and number. */
  #given = new Map();
  /** @type {Set<string>} Sessions whose speakers are distinguished. */
  #sessions = new Set();
  /** @type {string | null} The session whose speakers can be given a name. */
  #renamable = null;

  /**
   * The speakers of this session are distinguished, and some may have names.
   *
   * @param {string} session
   * @param {readonly SpeakerName[]} names
   */
  begin(session, names = []) {
    this.#sessions.add(session);
    for (const { speaker, name } of names) this.give(session, speaker, name);
  }

  /**
   * @param {string} session
   * @param {number} speaker
   */
  of(session, speaker) {
    return this.#given.get(key(session, speaker)) ?? t("Speaker {number}", { number: speaker });
  }

  /**
   * Give a speaker a name, which all captions show at once.
   *
   * @param {string} session
   * @param {number} speaker
   * @param {string} name
   */
  give(session, speaker, name) {
    this.#sessions.add(session);
    this.#given.set(key(session, speaker), name);
    const shown = document.querySelectorAll(`[data-speaker="${CSS.escape(key(session, speaker))}"]`);
    for (const element of shown) element.textContent = name;
  }

  /**
   * Give the speakers of a stored session their names.
   *
   * @param {string} session
   * @param {Record<string, string>} names by the numbers of speakers
   */
  giveAll(session, names = {}) {
    for (const [speaker, name] of Object.entries(names)) this.give(session, Number(speaker), name);
  }

  /**
   * Let the names of this session be clicked, and no others.
   *
   * @param {string | null} session
   */
  letRename(session) {
    this.#renamable = session;
    for (const button of document.querySelectorAll("button.speaker")) {
      if (button instanceof HTMLButtonElement) button.disabled = button.dataset.session !== session;
    }
  }

  /**
   * Make the name of a speaker: a button if `rename` is called with the number when it is pressed.
   *
   * @param {string} session
   * @param {number} speaker
   * @param {Rename | null} rename
   */
  element(session, speaker, rename = null) {
    const shown = make(rename ? "button" : "bdi", this.of(session, speaker), "speaker");
    shown.dir = "auto";
    shown.dataset.speaker = key(session, speaker);
    shown.dataset.look = String(((speaker - 1) % N_LOOKS) + 1);
    if (rename && shown instanceof HTMLButtonElement) {
      shown.type = "button";
      shown.title = t("Give this speaker a name");
      shown.dataset.session = session;
      shown.disabled = session !== this.#renamable;
      shown.addEventListener("click", () => rename(session, speaker));
    }
    return shown;
  }

  /**
   * Make the label of a channel: where channels are speakers, their names.
   *
   * @param {string} session
   * @param {number} channel
   */
  ofChannel(session, channel) {
    const label = make("span", "", "channel");
    if (this.#sessions.has(session)) label.append(this.element(session, channel + 1));
    else label.textContent = channelName(channel);
    return label;
  }
}

/** @typedef {(session: string, speaker: number) => void} Rename */

/**
 * @param {string} session
 * @param {number} speaker
 */
function key(session, speaker) {
  return `${session} ${speaker}`;
}
