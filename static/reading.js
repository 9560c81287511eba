// @ts-check
/** What a reader has of a room: the captions of its parts with their translations, each once. No DOM, no network. */

import { t } from "./language.js";
import { inTrack } from "./tracks.js";
import { toText } from "./transcript.js";

/** @import { Caption, RoomPart, Snapshot, Translation } from "./messages.js" */
/** @import { ShownText } from "./tracks.js" */

export class Reading {
  /** @type {Map<string, Caption[]>} Those with text, of each part. */
  #captions = new Map();
  /** @type {Map<string, string[]>} Languages into which each part is translated. */
  #tracks = new Map();
  #session = "";

  get isEmpty() {
    return [...this.#captions.values()].every((captions) => captions.length === 0);
  }

  /** The part to which belongs what comes. */
  get session() {
    return this.#session;
  }

  /** Languages into which any part is translated. */
  get tracks() {
    return [...new Set([...this.#tracks.values()].flat())].sort();
  }

  /**
   * Whether a part is translated into this language.
   *
   * @param {string} session
   * @param {string} track
   */
  isTranslated(session, track) {
    return this.#tracks.get(session)?.includes(track) ?? false;
  }

  /**
   * The text of a caption of a part, in a track. Parts that are not translated into it are as they were said.
   *
   * @param {string} session
   * @param {Caption} caption
   * @param {string} track
   * @returns {ShownText}
   */
  shown(session, caption, track) {
    return inTrack(caption, this.isTranslated(session, track) ? track : "");
  }

  /**
   * All captions, with their parts.
   *
   * @returns {[session: string, caption: Caption][]}
   */
  all() {
    return [...this.#captions].flatMap(([session, captions]) =>
      captions.map((caption) => /** @type {[string, Caption]} */ ([session, caption])),
    );
  }

  /**
   * Take a snapshot, to whose part belongs what follows. Return the captions to show: those that are missing or, if
   * `replaces`, all; and the known ones to show again, because they have more translations now.
   *
   * @param {Snapshot} snapshot
   * @returns {{ captions: Caption[], translated: Caption[], replaces: boolean }}
   */
  begin({ session, finals, tracks = [] }) {
    const known = this.#captions.get(session) ?? [];
    this.#session = session;
    this.#tracks.set(session, tracks);
    const replaces = known.some(({ utterance }, i) => finals[i]?.utterance !== utterance);
    if (replaces) {
      this.#captions.set(session, [...finals]);
      return { captions: finals, translated: [], replaces };
    }
    const captions = finals.slice(known.length);
    this.#captions.set(session, [...known, ...captions]);
    const translated = [];
    for (const [i, caption] of known.entries()) {
      const { translations = [] } = finals[i];
      if (translations.length <= (caption.translations?.length ?? 0)) continue;
      caption.translations = translations;
      translated.push(caption);
    }
    return { captions, translated, replaces };
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
   * Take a translation; return its caption, or null if that is not known or has it already.
   *
   * @param {Translation} translation
   */
  translate({ utterance, language, text }) {
    const caption = this.#captions.get(this.#session)?.find((each) => each.utterance === utterance);
    if (!caption || caption.translations?.some((each) => each.language === language)) return null;
    caption.translations = [...(caption.translations ?? []), { language, text }];
    return caption;
  }

  /**
   * Forget the parts that are not listed any more: they were deleted, or another event has begun at the link. Return
   * whether there was one.
   *
   * @param {ReadonlySet<string | null>} listed
   */
  keep(listed) {
    const gone = [...this.#captions.keys()].filter((session) => !listed.has(session));
    for (const session of gone) {
      this.#captions.delete(session);
      this.#tracks.delete(session);
    }
    return gone.length > 0;
  }

  /**
   * All of it as text, a caption in each line, with the titles of parts if there are several.
   *
   * @param {readonly RoomPart[]} parts
   * @param {string} language that of the titles
   * @param {string} track
   * @param {(session: string, speaker: number | null) => string} nameOf
   */
  text(parts, language, track, nameOf) {
    const read = parts.filter(({ session }) => this.#captions.get(session)?.length);
    const blocks = read.map((part) => {
      const captions = (this.#captions.get(part.session) ?? []).map((caption) => ({
        ...this.shown(part.session, caption, track),
        channel: caption.channel,
      }));
      const lines = toText(captions, (speaker) => nameOf(part.session, speaker));
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

/**
 * How long after the first part one began, by the clock on the wall, as in the files. Audio of a recording is sent
 * faster than it lasts, so no part begins before the end of the one before it.
 *
 * @param {readonly RoomPart[]} parts
 * @param {string} session
 */
export function beganAfterMs(parts, session) {
  let endMs = 0;
  for (const part of parts) {
    const beganMs = Math.max(part.started_at_ms, endMs);
    if (part.session === session) {
      return beganMs - parts[0].started_at_ms;
    }
    endMs = beganMs + part.duration_ms;
  }
  return 0;
}

/** @type {Intl.DateTimeFormatOptions} */
const DAY_AND_TIME = { dateStyle: "medium", timeStyle: "short" };
