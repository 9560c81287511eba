// @ts-check
/**
 * Codes -> words for people. No DOM, no state.
 *
 * The codes are the server's error codes, and the page's own for what happens in the browser.
 */

import { language, t } from "./language.js";

/** @import { Info, Status } from "./messages.js" */

/**
 * See the diagram in `session.js`.
 *
 * @typedef {keyof typeof STATES} SessionState
 */

/** A failure to show to the user. `code` is a key of PROBLEMS, `message` the technical cause or "". */
export class Problem extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {number | null} retryAfterS null: the server names no time
   */
  constructor(code, message = "", retryAfterS = null) {
    super(message);
    this.code = code;
    this.retryAfterS = retryAfterS;
  }

  /**
   * @param {unknown} error
   * @returns {Problem}
   */
  static from(error) {
    return error instanceof Problem ? error : new Problem("unexpected", String(error));
  }
}

/** Statuses with which a proxy answers during a restart of the server, and when too many clients come back after it. */
const PROXY_STATUSES = [429, 502, 503, 504];

/**
 * The code of a refused request. `code`: that of the server; undefined: the answer is not the server's.
 *
 * @param {number} status
 * @param {string | undefined} code
 */
export function refusalCode(status, code) {
  return code ?? (PROXY_STATUSES.includes(status) ? "unreachable" : `http_${status}`);
}

/** @type {Record<string, string>} Languages that Whisper transcribes well enough to be read, by their own names. */
export const LANGUAGES = {
  ar: "العربية",
  ca: "Català",
  cs: "Čeština",
  da: "Dansk",
  de: "Deutsch",
  el: "Ελληνικά",
  en: "English",
  es: "Español",
  fi: "Suomi",
  fr: "Français",
  he: "עברית",
  hi: "हिन्दी",
  hu: "Magyar",
  id: "Bahasa Indonesia",
  it: "Italiano",
  ja: "日本語",
  ko: "한국어",
  nl: "Nederlands",
  no: "Norsk",
  pl: "Polski",
  pt: "Português",
  ro: "Română",
  ru: "Русский",
  sv: "Svenska",
  th: "ไทย",
  tr: "Türkçe",
  uk: "Українська",
  vi: "Tiếng Việt",
  zh: "中文",
};

const STATES = {
  idle: t("Ready"),
  break: t("Paused"),
  asking: t("Waiting for permission"),
  connecting: t("Connecting"),
  loading: t("The server is loading its model"),
  busy: t("The server is busy"),
  live: t("Live"),
  recovering: t("Recovering"),
  reconnecting: t("Reconnecting"),
  overloaded: t("Live, delayed"),
  draining: t("The server is stopping"),
  finishing: t("Finishing…"),
  failed: t("Not started"),
  lost: t("Connection lost"),
  ended: t("Ended by the server"),
  replaced: t("Taken over"),
};

/**
 * @param {SessionState} state
 * @param {{ retryAfterS?: number }} detail
 */
export function stateWords(state, { retryAfterS }) {
  const words = STATES[state];
  if (!retryAfterS) return words;
  return t("{state}, trying again in {seconds} s", { state: words, seconds: Math.ceil(retryAfterS) });
}

/**
 * One sentence for the server's condition, or "" when all is well.
 *
 * @param {Pick<Status, "state" | "partials">} status
 */
export function statusWords({ state, partials }) {
  if (state === "recovering")
    return t("The recognizer is restarting. Your speech is kept, and its captions will appear in a moment.");
  if (state === "draining") return t("The server is being stopped. It still captions your current sentence.");
  if (partials === "paused") return t("The server is very busy. Captions appear when a sentence is complete.");
  if (partials === "slow" || state === "overloaded") return t("The server is busy. Captions are updated less often.");
  return "";
}

/**
 * What the server keeps of the captions, for those who speak.
 *
 * @param {Info["transcripts"]} transcripts
 * @param {boolean} keep whether this event is to be kept
 */
export function keepingWords({ kept, keep_days }, keep) {
  if (!kept) return t("This server keeps no transcripts, and no sound. Captions are gone five minutes after they end.");
  if (!keep) return t("The server keeps neither sound nor transcript. Captions are gone five minutes after they end.");
  if (keep_days === null) return t("The server keeps the transcript until somebody deletes it. It keeps no sound.");
  if (keep_days === 1) return t("The server keeps the transcript for a day. It keeps no sound.");
  return t("The server keeps the transcript for {days} days. It keeps no sound.", { days: keep_days });
}

/**
 * The model and its languages.
 *
 * @param {NonNullable<Info["model"]>} model
 */
export function modelWords({ name, languages }) {
  if (languages.length === 1)
    return t("Model {model}, for {language} only.", { model: name, language: languageName(languages[0]) });
  return t("Model {model}, for {n} languages.", { model: name, n: languages.length });
}

/**
 * The captions are doubtful, and the model knows one language only.
 *
 * @param {string} code
 */
export function otherModelWords(code) {
  return t(
    "Is this {language}? The captions may be wrong, and this model knows no other language. The command " +
      "livecaption models lists models for more; livecaption serve --model NAME takes one. README.md compares them " +
      "under “Which model for which machine”.",
    { language: languageName(code) },
  );
}

/**
 * The captions are doubtful, and the model knows other languages too.
 *
 * @param {string} code
 */
export function otherLanguageWords(code) {
  return t("Is this {language}? The captions may be wrong. Pause, choose another language, and continue.", {
    language: languageName(code),
  });
}

/**
 * The name of a language in a sentence of the page. In the list of languages, each has its own name.
 *
 * @param {string} code
 */
export function languageName(code) {
  return new Intl.DisplayNames(language, { type: "language" }).of(code) ?? code;
}

/** @type {Record<string, [title: string, text: string]>} */
const PROBLEMS = {
  microphone_denied: [
    t("The microphone is not allowed"),
    t(
      "This page may not use the microphone. Allow it in the address bar (the microphone or lock symbol) or in the " +
        "system's privacy settings, then start again.",
    ),
  ],
  no_microphone: [t("No microphone was found"), t("Plug one in, or choose another source, then start again.")],
  microphone_busy: [
    t("The microphone is in use"),
    t("Another program is using it, or the system does not release it. Close the other program, then start again."),
  ],
  microphone_failed: [t("The microphone could not be opened"), t("Choose another source, or start again.")],
  no_display_capture: [
    t("This browser cannot share sound"),
    t("Tab and screen audio works in Chrome and Edge on a computer. The microphone works in every browser."),
  ],
  sharing_refused: [t("Nothing was shared"), t("Start again and choose a tab, a window or a screen.")],
  no_shared_audio: [
    t("The share has no sound"),
    t(
      "Start again, choose a tab (or, on Windows, the entire screen) and switch on “Also share audio” in the same " +
        "window.",
    ),
  ],
  source_ended: [
    t("The sound source has ended"),
    t("The microphone was unplugged, or sharing was stopped. Choose a source, then start again."),
  ],
  one_source_ended: [
    t("One of the two sounds has ended"),
    t("Captions of the other one go on. To use both again, press Pause captions, then Continue captions."),
  ],
  unsupported_channels: [
    t("The server does not take a second sound"),
    t("Choose none in the options, then start again."),
  ],
  unsupported_language: [
    t("The server's model does not support this language"),
    t("Choose “Detect” or another language, then start again."),
  ],
  unsupported_translation: [
    t("The server does not translate into this language"),
    t("Load this page again: it then offers the languages that there are."),
  ],
  unsupported_speakers: [
    t("This server does not tell speakers apart"),
    t("Switch “Tell speakers apart” off, then start again. The operator of the server can allow it."),
  ],
  unsupported_sample_rate: [
    t("The sample rate of this sound device is not supported"),
    t("The server accepts 8 to 96 kHz. Set the device to 48 kHz in the system's sound settings, or choose another."),
  ],
  overloaded: [t("The server is busy"), t("It cannot take more streams now. Start again in a moment.")],
  failed: [
    t("The server cannot caption now"),
    t("Its recognizer does not start. The reason is in the server's log, which its operator can read."),
  ],
  unauthorized: [t("This server requires an access token"), t("The link works once you have entered it.")],
  forbidden_role: [
    t("Your access token does not allow that"),
    t("Enter one that does, or ask the operator of the server."),
  ],
  too_many_attempts: [
    t("Your access token was not accepted"),
    t("Many wrong ones came from your network. Enter the right one."),
  ],
  too_many_streams: [
    t("Your access token has as many streams as it may have"),
    t("End one of them, then start again."),
  ],
  minutes_used_up: [
    t("Your access token has no more captions today"),
    t("Its time for this day is used up. The captions so far are kept. Start again tomorrow, or enter another token."),
  ],
  unreachable: [
    t("The server does not answer"),
    t("It may be stopped, or the network is down. Start again when it is back."),
  ],
  no_websocket: [
    t("The server answers, but no sound gets through to it"),
    t(
      "No WebSocket could be opened. A reverse proxy in front of the server must pass on the headers Upgrade and " +
        "Connection. A firewall or an extension of the browser can be the cause too.",
    ),
  ],
  lost: [
    t("The connection was lost"),
    t("The captions so far are kept below. Start again to continue; times continue too."),
  ],
  server_stopped: [
    t("The server was stopped"),
    t("All your speech until then is in the transcript. Start again when the server is back."),
  ],
  replaced: [
    t("Somebody else speaks now"),
    t(
      "Another page has taken this event over. The captions so far are kept. To speak here again, continue and take over.",
    ),
  ],
  room_taken: [t("Somebody speaks in this event already"), t("Only one page can speak at a time.")],
  room_of_others: [
    t("This link belongs to somebody else"),
    t("Its name was chosen in another browser. Choose another link name under Share."),
  ],
  room_kind: [
    t("This name is in use"),
    t(
      "You have used it for an event that was private, or for one that was not. That cannot change. Choose another name.",
    ),
  ],
  room_name: [t("This is no name for a link"), t("Use up to 64 letters, digits, dots, hyphens and underscores.")],
  refused: [t("The server closed the connection"), t("It did not accept the messages of this page.")],
  slow_reader: [t("This computer is too slow"), t("The page could not read the captions in time. Start again.")],
  idle_timeout: [t("No sound arrived at the server for too long"), t("Start again.")],
  engine_error: [t("The recognizer failed"), t("The captions so far are kept. Start again in a moment.")],
  internal: [
    t("The server had an error"),
    t("The captions so far are kept. Start again. The reason is in the server's log, which its operator can read."),
  ],
  store_failed: [
    t("The server cannot read its transcripts now"),
    t("Start again. If it happens again, reload the page."),
  ],
  no_subtitles: [
    t("Subtitles are not available"),
    t(
      "The server makes the subtitles. It does not answer, or it no longer has this session. You can still download Text.",
    ),
  ],
  unexpected: [t("That did not work"), t("Start again. If it happens again, reload the page.")],
};

/** @typedef {{ hostname: string, port: string, href: string }} Place */

/** @type {Record<string, string>} Codes for which people need the words of another one. */
const SAME_WORDS = {
  cut_off: "store_failed",
  draining: "server_stopped",
  invalid_message: "refused",
  loading: "overloaded",
  message_too_big: "refused",
  session_ended: "lost",
  start_timeout: "refused",
  unknown_session: "lost",
  unknown_type: "refused",
  unsupported_resume: "lost",
  wrong_state: "refused",
  wrong_token: "room_of_others",
};

/** @type {Record<string, string>} Faults after which captions go on. */
const FAULTS = {
  invalid_name: t("This cannot be a name. It has 1 to 80 characters, and no invisible ones."),
  unknown_speaker: t("The server does not know this speaker. The name was not given."),
  transcription_failed: t("The recognizer failed at a sentence. Some of its words may be missing."),
  worker_died: t("The recognizer failed at a sentence. Some of its words may be missing."),
  quarantined: t("The recognizer failed at a sentence. Some of its words may be missing."),
  non_finite_audio: t("The sound that arrives at the server is damaged. Captions go on."),
  truncated_audio: t("The sound that arrives at the server is damaged. Captions go on."),
  wrong_encoding: t("The sound that arrives at the server is damaged. Captions go on."),
};

/** @type {Record<string, string>} Refusals of a request for transcripts. */
const REFUSALS = {
  invalid_name: t("This cannot be a name. It has 1 to 80 characters, and no invisible ones."),
  local_only: t(
    "Without an access token, transcripts are listed and changed only on the server's own machine, at localhost",
  ),
  forbidden_origin: t("The server does not accept pages from this address"),
  no_store: t("This server stores no transcripts"),
  overloaded: t("The server is busy. Try again in a moment"),
  store_failed: t("The server cannot read its transcripts now. Try again later"),
  unknown_session: t("This transcript no longer exists"),
};

/**
 * A fault of a stream that goes on.
 *
 * @param {string} code
 */
export function faultWords(code) {
  return FAULTS[code] ?? t("The server reports a fault. Captions go on.");
}

/**
 * Why a request for transcripts was refused. The server's own words, which are English, are shown where there are no others.
 *
 * @param {string} code
 * @param {number} status
 * @param {string} message
 */
export function refusalWords(code, status, message) {
  if (REFUSALS[code]) return REFUSALS[code];
  return message
    ? t("The server answers {status}: {message}", { status, message })
    : t("The server answers {status}", { status });
}

/**
 * What to show for a problem. `fixes` lists the ways out where there is a choice, with what to type in backticks;
 * `detail` is the technical cause or "".
 *
 * @param {Problem} problem
 * @param {Place} place the page's location
 * @returns {{ title: string, text: string, fixes: string[], detail: string }}
 */
export function problemWords({ code, message }, place) {
  if (code === "insecure_context") return insecureContextWords(place);
  const detail = message ? `${code}: ${message}` : "";
  if (code === "forbidden_origin" || code === "forbidden_host") return { ...originWords(place), detail };
  const [title, text] = PROBLEMS[SAME_WORDS[code] ?? code] ?? [
    t("The server refused the stream"),
    t("Start again, or ask its operator."),
  ];
  return { title, text, fixes: [], detail };
}

/** @param {Place} place */
function originWords({ href }) {
  const page = new URL(".", href);
  return {
    title: t("The server does not accept pages from this address"),
    text: t("Open the page at the server's own address, or ask its operator to allow this one:"),
    fixes: [
      t("If a reverse proxy serves the page here, start the server with `--public-url {address}`", {
        address: page.href,
      }),
      t("If the page is part of another site, start the server with `--allowed-origin {origin}`", {
        origin: page.origin,
      }),
    ],
  };
}

/** @param {Place} place */
function insecureContextWords({ hostname, port }) {
  const localPort = port || "8080";
  return {
    title: t("Browsers do not allow the microphone at this address"),
    text: t("They allow it with https, or on the server's own machine. There are three ways:"),
    fixes: [
      t(
        "On the server's own machine, open `http://localhost:{port}/`. On another one, open a tunnel first: " +
          "`ssh -N -L {port}:127.0.0.1:{port} {host}`",
        { port: localPort, host: hostname },
      ),
      t(
        "Give the server a certificate: start it with `--tls-self-signed`, or with `--tls-cert cert.pem --tls-key " +
          "key.pem`, and open `{address}`.",
        { address: `https://${hostname}${port && `:${port}`}/` },
      ),
      t("Put a reverse proxy with https, such as Caddy or nginx, in front of the server."),
    ],
    detail: "",
  };
}
