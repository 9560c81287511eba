// @ts-check
/** The services that get the captions of a room or session, for the operator: `docs/clients/sinks.md`. */

import { element, make } from "./dom.js";
import { t } from "./language.js";
import { authorization } from "./token.js";
import { needsToken } from "./token-dialog.js";
import { Problem, problemWords, refusalCode } from "./words.js";

/** @import { Refusal } from "./messages.js" */

/**
 * As `livecaption/delivery/sinks.py`, without what the page does not show.
 *
 * @typedef {object} SinkStatus
 * @property {string} name
 * @property {string} service
 * @property {string} host
 * @property {"waiting" | "sending" | "failing" | "stopped"} state
 * @property {string | null} problem
 * @property {number} sent
 * @property {number} dropped
 */

/**
 * @typedef {object} SinksOptions
 * @property {() => string} place the path of the room or session
 * @property {() => string} token the operator's
 * @property {(again: () => void, code: string) => void} askForToken
 */

const LOOK_MS = 2000;
const TIMEOUT_MS = 15_000;
/** @type {Record<string, string>} */
const SERVICES = { zoom: "Zoom", youtube: "YouTube Live", streamtext: "StreamText", obs: "OBS" };
const STATES = {
  waiting: t("nothing to send"),
  sending: t("sending"),
  failing: t("does not take the captions"),
  stopped: t("stopped"),
};
/** @type {Record<string, string>} */
const REFUSALS = {
  invalid_message: t("This is no address of that service."),
  local_only: t("Without an access token, this works only on the server's own machine, at localhost."),
};

const panel = element("sinks", HTMLDetailsElement);

export class SinksPanel {
  #options;
  #list = Object.assign(make("ul"), { id: "sink-list" });
  #service = Object.assign(make("select"), { id: "sink-service" });
  #url = secretField("sink-url", 2000);
  #password = secretField("sink-password", 200);
  #passwordLabel = labelled(t("Password of OBS"), this.#password);
  #problem = Object.assign(make("p", "", "failure"), { id: "sink-problem", role: "alert" });
  /** The time of the next look. */
  #timer = 0;
  /** Whether the problem that is shown is that of a look, and ends with it. */
  #looksFail = false;

  /** @param {SinksOptions} options */
  constructor(options) {
    this.#options = options;
    panel.addEventListener("toggle", () => this.#toggle());
    panel.closest("dialog")?.addEventListener("close", () => (panel.open = false));
    this.#service.append(...Object.entries(SERVICES).map(([code, name]) => new Option(name, code)));
    this.#service.addEventListener("change", () => this.#choose());
    const add = make("button", t("Send captions there"), "quiet");
    add.type = "button";
    add.addEventListener("click", () => this.#add());
    const tools = make("p", "", "share-tools");
    tools.append(add);
    for (const field of [this.#url, this.#password]) {
      // Enter would press the first button of the dialog.
      field.addEventListener("keydown", (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        this.#add();
      });
    }
    panel.append(
      make("summary", t("Send captions to Zoom, YouTube or OBS")),
      this.#list,
      labelled(t("Service"), this.#service),
      labelled(t("Address that the service gives"), this.#url),
      this.#passwordLabel,
      tools,
      this.#problem,
    );
    this.#choose();
  }

  #choose() {
    this.#passwordLabel.hidden = this.#service.value !== "obs";
  }

  #toggle() {
    clearTimeout(this.#timer);
    this.#list.replaceChildren(); // the sinks of another session
    this.#showProblem("");
    if (panel.open) this.#look();
  }

  /** Look now, and again and again while the panel is open. Without the token that the server wants, it is useless. */
  async #look() {
    try {
      const place = this.#options.place();
      const { sinks } = await (await this.#request("GET", "")).json();
      if (place === this.#options.place()) this.#show(sinks);
      if (this.#looksFail) this.#showProblem("");
    } catch (error) {
      this.#looksFail = true;
      if (needsToken(this.#report(error))) return;
    }
    clearTimeout(this.#timer);
    if (panel.open) this.#timer = setTimeout(() => this.#look(), LOOK_MS);
  }

  async #add() {
    const service = this.#service.value;
    const body = {
      service,
      url: this.#url.value.trim(),
      password: service === "obs" ? this.#password.value : "",
    };
    await this.#try(async () => {
      await this.#request("PUT", `/${service}`, body);
      this.#url.value = "";
      this.#password.value = "";
    });
  }

  /** @param {string} name */
  async #remove(name) {
    await this.#try(() => this.#request("DELETE", `/${name}`));
  }

  /** @param {SinkStatus[]} sinks */
  #show(sinks) {
    const focused = document.activeElement?.getAttribute("data-sink");
    this.#list.replaceChildren(...sinks.map((sink) => this.#item(sink)));
    for (const button of this.#list.querySelectorAll("button")) if (button.dataset.sink === focused) button.focus();
  }

  /** @param {SinkStatus} sink */
  #item(sink) {
    const item = make("li");
    const state = sink.problem ? `${STATES[sink.state]} (${sink.problem})` : STATES[sink.state];
    const { sent, dropped, host } = sink;
    const name = SERVICES[sink.service] ?? sink.service;
    item.append(
      t("{service} at {host}: {state}. {sent} sent, {dropped} left out.", {
        service: name,
        host,
        state,
        sent,
        dropped,
      }),
    );
    const remove = make("button", t("Stop sending"), "quiet");
    Object.assign(remove, { type: "button" });
    remove.dataset.sink = sink.name;
    remove.addEventListener("click", () => this.#remove(sink.name));
    item.append(" ", remove);
    return item;
  }

  /** @param {() => Promise<unknown>} change */
  async #try(change) {
    this.#showProblem("");
    try {
      await change();
      await this.#look();
    } catch (error) {
      this.#looksFail = false;
      this.#report(error);
    }
  }

  /**
   * Show why something failed, and ask for a token where that helps; return the code.
   *
   * @param {unknown} error
   */
  #report(error) {
    const problem = Problem.from(error);
    const { title, text } = problemWords(problem, location);
    this.#showProblem(REFUSALS[problem.code] ?? t("{title}. {text}", { title, text }));
    if (needsToken(problem.code)) {
      clearTimeout(this.#timer);
      this.#options.askForToken(() => this.#toggle(), problem.code);
    }
    return problem.code;
  }

  /** @param {string} words */
  #showProblem(words) {
    if (this.#problem.textContent !== words) this.#problem.textContent = words; // a screen reader announces each change
  }

  /**
   * Throws Problem.
   *
   * @param {string} method
   * @param {string} path below the sinks of the place
   * @param {object} [body]
   */
  async #request(method, path, body) {
    const response = await fetch(new URL(`${this.#options.place()}/sinks${path}`, document.baseURI), {
      method,
      headers: { ...authorization(this.#options.token()), "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      cache: "no-store",
    }).catch((error) => {
      throw new Problem("unreachable", String(error));
    });
    if (response.ok) return response;
    const { code, message } = /** @type {Refusal} */ (await response.json().catch(() => ({})));
    throw new Problem(refusalCode(response.status, code), message);
  }
}

/**
 * @param {string} words
 * @param {HTMLElement} control
 */
function labelled(words, control) {
  const label = make("label", words, "stacked");
  label.append(control);
  return label;
}

/**
 * A field whose text nobody sees: addresses of these services have a key.
 *
 * @param {string} id
 * @param {number} maxLength
 */
function secretField(id, maxLength) {
  return Object.assign(make("input"), { id, type: "password", maxLength, autocomplete: "off", spellcheck: false });
}
