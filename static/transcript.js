/**
 * Finals -> transcript -> WebVTT, SRT, plain text. No DOM, no clock.
 *
 * A caption is {text, start_ms, end_ms, language}; times count from the start of the first session.
 */

import { cues } from "./layout.js";

/** The finals of all sessions of this page, in spoken order. */
export class Transcript {
  captions = [];
  /** Whether there is something that was not yet downloaded. */
  unsaved = false;
  #sessionStart_ms = 0;

  /** Captions added from now on belong to a stream that began `start_ms` after the first one. */
  beginSession(start_ms) {
    this.#sessionStart_ms = start_ms;
  }

  /** Take a `final` event; return the caption, or null if nothing was said. */
  add({ text, start_ms, end_ms, language }) {
    if (text.trim() === "") return null;
    const caption = {
      text: text.trim(),
      start_ms: start_ms + this.#sessionStart_ms,
      end_ms: end_ms + this.#sessionStart_ms,
      language,
    };
    this.captions.push(caption);
    this.unsaved = true;
    return caption;
  }

  clear() {
    this.captions = [];
    this.unsaved = false;
  }
}

/** WebVTT (W3C). `&`, `<` and `>` are escaped, so no text can look like markup or like a time line. */
export function toVtt(captions) {
  const escape = (line) => line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const blocks = cues(captions).map(
    ({ start_ms, end_ms, lines }) =>
      `${timestamp(start_ms, ".")} --> ${timestamp(end_ms, ".")}\n${lines.map(escape).join("\n")}\n`,
  );
  return ["WEBVTT\n", ...blocks].join("\n");
}

/** SubRip. It knows no escapes: an arrow in the text, which would end the cue in some players, becomes `→`. */
export function toSrt(captions) {
  const blocks = cues(captions).map(
    ({ start_ms, end_ms, lines }, i) =>
      `${i + 1}\n${timestamp(start_ms, ",")} --> ${timestamp(end_ms, ",")}\n` +
      `${lines.join("\n").replaceAll("-->", "→")}\n`,
  );
  return blocks.join("\n");
}

/** One caption a line, without times. */
export function toText(captions) {
  return captions.map(({ text }) => `${text}\n`).join("");
}

function timestamp(ms, separator) {
  return `${clock(ms, { hours: true })}${separator}${pad(ms % 1000, 3)}`;
}

/** 3723000 -> "1:02:03"; 63000 -> "1:03"; with `hours` always "00:01:03". */
export function clock(ms, { hours = false } = {}) {
  const s = Math.floor(ms / 1000);
  const [h, min, rest] = [Math.floor(s / 3600), Math.floor(s / 60) % 60, pad(s % 60, 2)];
  if (hours) return `${pad(h, 2)}:${pad(min, 2)}:${rest}`;
  return h > 0 ? `${h}:${pad(min, 2)}:${rest}` : `${min}:${rest}`;
}

/** "captions-2026-03-05-1432.vtt", in local time. */
export function fileName(date, extension) {
  const day = [date.getFullYear(), pad(date.getMonth() + 1, 2), pad(date.getDate(), 2)].join("-");
  return `captions-${day}-${pad(date.getHours(), 2)}${pad(date.getMinutes(), 2)}.${extension}`;
}

function pad(number, digits) {
  return String(number).padStart(digits, "0");
}
