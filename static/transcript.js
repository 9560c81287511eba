// @ts-check
/**
 * Finals -> transcript -> WebVTT, SRT, plain text. No DOM, no clock, no network.
 *
 * Times are milliseconds since the start of the page's first session, unless a name of the wire says otherwise.
 * Subtitles are laid out by the server (`livecaption/captions/layout.py`), one session at a time; here they are joined.
 */

import { t } from "./language.js";
import { turnsOf } from "./turns.js";

/** @import { Final } from "./messages.js" */
/** @import { ShownTurn } from "./turns.js" */

/**
 * @typedef {object} Caption
 * @property {string} text
 * @property {number} startMs
 * @property {number} endMs
 * @property {string | null} language
 * @property {number} [channel]
 * @property {ShownTurn[]} [turns]
 */

/** @typedef {{ startMs: number, endMs: number, lines: string[] }} Cue */

/**
 * A session of this page, and what the page shows of it.
 *
 * @typedef {object} TranscribedSession
 * @property {string} id
 * @property {string} readerToken "": the session is public
 * @property {number} offsetMs when it began
 * @property {Caption[]} captions
 * @property {Set<number>} utterances those that it has. Of channels that are apart, a later one may come first
 */

/**
 * The name of an audio channel for people, who count from 1; "" if the channels are mixed.
 *
 * @param {number | undefined} channel
 */
export function channelName(channel) {
  return channel === undefined ? "" : t("Channel {number}", { number: channel + 1 });
}

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;

/** The finals of all sessions of this page, in spoken order. */
export class Transcript {
  /** Whether there are captions that have not been downloaded. */
  unsaved = false;
  /** @type {TranscribedSession[]} */
  #sessions = [];

  /** @returns {readonly TranscribedSession[]} */
  get sessions() {
    return this.#sessions;
  }

  get captions() {
    return this.#sessions.flatMap(({ captions }) => captions);
  }

  /**
   * The captions that follow belong to this session, which began `offsetMs` after the first one.
   *
   * @param {string} id
   * @param {string} readerToken
   * @param {number} offsetMs
   */
  beginSession(id, readerToken, offsetMs) {
    this.#sessions.push({ id, readerToken, offsetMs, captions: [], utterances: new Set() });
  }

  /**
   * Whether the final of this utterance of the newest session is known. A page that was loaded again gets some twice.
   *
   * @param {number} utterance
   */
  has(utterance) {
    return this.#sessions.at(-1)?.utterances.has(utterance) ?? false;
  }

  /**
   * Take a final of the newest session; return the caption, or null if its text is empty or it is known already.
   *
   * @param {Pick<Final, "utterance" | "text" | "start_ms" | "end_ms" | "language" | "channel" | "turns">} final
   * @returns {Caption | null}
   */
  add(final) {
    const { utterance, text, start_ms, end_ms, language, channel } = final;
    const session = this.#sessions.at(-1);
    if (!session || this.has(utterance)) return null;
    session.utterances.add(utterance);
    if (text.trim() === "") return null;
    const [startMs, endMs] = [start_ms + session.offsetMs, end_ms + session.offsetMs];
    const turns = turnsOf(final, session.offsetMs);
    /** @type {Caption} */
    const caption = { text: text.trim(), startMs, endMs, language };
    if (channel !== undefined) caption.channel = channel;
    if (turns) caption.turns = turns;
    session.captions.push(caption);
    this.unsaved = true;
    return caption;
  }

  /** Forget all captions. The newest session may still be running. */
  clear() {
    this.#sessions = this.#sessions.slice(-1).map((session) => ({ ...session, captions: [] }));
    this.unsaved = false;
  }
}

/**
 * The server's subtitles of one session, with the page's times.
 *
 * The server has the whole session. Cues that were over before the page's first caption were cleared from the page.
 *
 * @param {TranscribedSession} session with at least one caption
 * @param {string} srt
 * @returns {Cue[]}
 */
export function cuesOf({ offsetMs, captions }, srt) {
  return parseSrt(srt)
    .map(({ startMs, endMs, lines }) => ({ startMs: startMs + offsetMs, endMs: endMs + offsetMs, lines }))
    .filter(({ endMs }) => endMs > captions[0].startMs);
}

/**
 * @param {string} srt as the server writes it: no cue has an empty line in its text
 * @returns {Cue[]}
 */
function parseSrt(srt) {
  const blocks = srt.split("\n\n").filter(Boolean);
  return blocks.map((block) => {
    const [, times, ...lines] = block.split("\n");
    const [startMs, endMs] = times.split(" --> ").map(milliseconds);
    return { startMs, endMs, lines };
  });
}

/**
 * "01:02:03,004" -> 3723004.
 *
 * @param {string} timestamp
 */
function milliseconds(timestamp) {
  const [hours, minutes, seconds, ms] = timestamp.split(/[:,]/).map(Number);
  return hours * HOUR_MS + minutes * MINUTE_MS + seconds * 1000 + ms;
}

/**
 * WebVTT (W3C). `&`, `<` and `>` are escaped, so no text can look like markup or like a line of times.
 *
 * @param {readonly Cue[]} cues
 */
export function toVtt(cues) {
  const blocks = cues.map(
    ({ startMs, endMs, lines }) =>
      `${timestamp(startMs, ".")} --> ${timestamp(endMs, ".")}\n${lines.map(escapeVtt).join("\n")}\n`,
  );
  return ["WEBVTT\n", ...blocks].join("\n");
}

/** @param {string} line */
function escapeVtt(line) {
  return line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/**
 * SubRip. It has no escapes; the server has already replaced the arrows that would end a cue in some players.
 *
 * @param {readonly Cue[]} cues
 */
export function toSrt(cues) {
  const blocks = cues.map(
    ({ startMs, endMs, lines }, i) =>
      `${i + 1}\n${timestamp(startMs, ",")} --> ${timestamp(endMs, ",")}\n${lines.join("\n")}\n`,
  );
  return blocks.join("\n");
}

/**
 * One line for each caption, or each turn of it, without times. A turn has the name of its speaker where that changes,
 * also where nobody is certain any more.
 *
 * @param {readonly Pick<Caption, "text" | "channel" | "turns">[]} captions of one session
 * @param {(speaker: number | null) => string} nameOf
 */
export function toText(captions, nameOf = String) {
  /** @type {number | null} */
  let before = null;
  const lines = captions.flatMap(({ text, channel, turns }) => {
    if (!turns) return channel === undefined ? text : `${channelName(channel)}: ${text}`;
    return turns.map(({ speaker, text }) => {
      const head = speaker === before ? "" : `${nameOf(speaker)}: `;
      before = speaker;
      return head + text;
    });
  });
  return lines.map((line) => `${line}\n`).join("");
}

/**
 * @param {number} ms
 * @param {string} separator before the milliseconds
 */
function timestamp(ms, separator) {
  return `${clock(ms, { hours: true })}${separator}${pad(ms % 1000, 3)}`;
}

/**
 * 3723000 -> "1:02:03"; 63000 -> "1:03"; with `hours` always "00:01:03".
 *
 * @param {number} ms
 */
export function clock(ms, { hours = false } = {}) {
  const s = Math.floor(ms / 1000);
  const [h, min, rest] = [Math.floor(s / 3600), Math.floor(s / 60) % 60, pad(s % 60, 2)];
  if (hours) return `${pad(h, 2)}:${pad(min, 2)}:${rest}`;
  return h > 0 ? `${h}:${pad(min, 2)}:${rest}` : `${min}:${rest}`;
}

/**
 * "captions-2026-03-05-1432.vtt", in local time.
 *
 * @param {Date} date
 * @param {string} extension
 */
export function fileName(date, extension) {
  const day = [date.getFullYear(), pad(date.getMonth() + 1, 2), pad(date.getDate(), 2)].join("-");
  return `captions-${day}-${pad(date.getHours(), 2)}${pad(date.getMinutes(), 2)}.${extension}`;
}

/**
 * @param {number} number
 * @param {number} digits
 */
function pad(number, digits) {
  return String(number).padStart(digits, "0");
}
