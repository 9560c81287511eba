// @ts-check
/** What a reader has of a room: the captions of its parts, each once. No DOM, no network. */

import { t } from "./language.js";
import { channelName, toText } from "./transcript.js";

/** @import { Caption, RoomPart, Snapshot } from "./messages.js" */

export class Reading {
  /** @type {Map<string, Caption[]>} Those with text, of each part. */
  #captions = new Map();
  #session = "";

  get isEmpty() {
    return [...this.#captions.values()].every((captions) => captions.length === 0);
  }

  /**
   * Take a snapshot, to whose part belongs what follows. Return the captions to show: those that are missing or, if
   * `replaces`, all.
   *
   * @param {Snapshot} snapshot
   * @returns {{ captions: Caption[], replaces: boolean }}
   */
  begin({ session, finals }) {
    const known = this.#captions.get(session) ?? [];
    this.#session = session;
    this.#captions.set(session, [...finals]);
    const replaces = known.some(({ utterance }, i) => finals[i]?.utterance !== utterance);
    return { captions: replaces ? finals : finals.slice(known.length), replaces };
  }

  /**
   * Take a final; return whether it is to be shown. After a reconnection it may come again.
   *
   * @param {Caption} final
   */
  take(final) {
    const captions = this.#captions.get(this.#session);
    if (!captions || captions.some(({ utterance }) => utterance === final.utterance)) return false;
    if (final.text.trim() !== "") captions.push(final);
    return true;
  }

  /**
   * All of it as text, a caption in each line, with the titles of parts if there are several.
   *
   * @param {readonly RoomPart[]} parts
   * @param {string} language
   */
  text(parts, language) {
    const read = parts.filter(({ session }) => this.#captions.get(session)?.length);
    const blocks = read.map((part) => {
      const lines = toText(
        (this.#captions.get(part.session) ?? []).map(({ text, channel }) => ({
          text: channel === undefined ? text : `${channelName(channel)}: ${text}`,
        })),
      );
      return read.length > 1 ? `${partTitle(part, parts, language)}\n\n${lines}` : lines;
    });
    return blocks.join("\n");
  }
}

/**
 * The name of a part and when it began: "Morning · 10:05", with the day if it is not today.
 *
 * @param {RoomPart} part
 * @param {readonly RoomPart[]} parts
 * @param {string} language
 */
export function partTitle(part, parts, language) {
  const began = new Date(part.started_at_ms);
  const isToday = began.toDateString() === new Date().toDateString();
  const time = began.toLocaleString(language, isToday ? { timeStyle: "short" } : DAY_AND_TIME);
  const title = part.title || t("Part {number}", { number: parts.indexOf(part) + 1 });
  return t("{title} · {time}", { title, time });
}

/** @type {Intl.DateTimeFormatOptions} */
const DAY_AND_TIME = { dateStyle: "medium", timeStyle: "short" };
