// @ts-check
/** `<token-dialog action="What the button does">`: the dialog that asks for the operator's access token. */

import { ask, element, make } from "./dom.js";
import { t } from "./language.js";
import { accessToken, isTokenRemembered, keepToken } from "./token.js";

const ENTERED = "entered";

/** @type {Record<string, string>} Why the present token was refused, by the server's codes. */
const REFUSED = {
  unauthorized: t("This token was not accepted."),
  forbidden_role: t("This token does not allow that. Enter one that does, or ask the operator of the server."),
  too_many_attempts: t("This token was not accepted. Many wrong ones came from your network."),
};

/**
 * Whether another token helps.
 *
 * @param {string} code of the server's refusal
 */
export function needsToken(code) {
  return code in REFUSED;
}

/**
 * Ask the user for the token; call `entered` unless they cancel.
 *
 * @param {() => void} entered
 * @param {{ code?: string, action?: string }} options why the present one was refused, "" if it was not; and what the
 *   button does, where it is not what it usually does
 */
export function askForToken(entered, { code = "unauthorized", action } = {}) {
  const dialog = document.querySelector("token-dialog");
  if (dialog instanceof TokenDialog) dialog.ask(entered, { code, action });
}

/**
 * Ask for the token that a request lacks. If the user cancels, the button `#enter-token` of the page asks again.
 *
 * @param {() => void} entered
 * @param {string} code of the server's refusal
 */
export function requireToken(entered, code) {
  const button = element("enter-token", HTMLButtonElement);
  button.hidden = false;
  button.onclick = () => requireToken(entered, code);
  askForToken(
    () => {
      button.hidden = true;
      entered();
    },
    { code },
  );
}

class TokenDialog extends HTMLElement {
  #dialog = make("dialog");
  #field = make("input");
  #remember = make("input");
  #enter = make("button", "", "primary");
  #refused = make("p", "", "failure");

  connectedCallback() {
    const title = make("h2", t("This server requires an access token"));
    title.id = "token-title";
    this.#dialog.setAttribute("aria-labelledby", title.id);
    Object.assign(this.#field, { type: "password", autocomplete: "off", spellcheck: false, required: true });
    this.#refused.id = "token-refused";
    const label = make("label", t("Access token"), "stacked");
    label.append(this.#field);
    Object.assign(this.#remember, { type: "checkbox", role: "switch" });
    const remember = make("label", "", "switch");
    remember.append(this.#remember, ` ${t("Remember on this device")}`);
    // A button of type `submit` before this one would be pressed by Enter.
    const cancel = make("button", t("Cancel"), "quiet");
    cancel.type = "button";
    cancel.addEventListener("click", () => this.#dialog.close());
    this.#enter.value = ENTERED;
    const buttons = make("p", "", "dialog-tools");
    buttons.append(cancel, this.#enter);
    const form = make("form");
    form.method = "dialog";
    form.append(title, label, this.#refused, remember, buttons);
    this.#dialog.append(form);
    this.append(this.#dialog);
  }

  /**
   * @param {() => void} entered
   * @param {{ code: string, action?: string }} options
   */
  ask(entered, { code, action }) {
    const wasRefused = code !== "" && accessToken() !== "";
    this.#refused.textContent = wasRefused ? (REFUSED[code] ?? REFUSED.unauthorized) : "";
    this.#refused.hidden = !wasRefused;
    this.#field.setAttribute("aria-invalid", String(wasRefused));
    // A hidden text would still be read as the description.
    if (wasRefused) this.#field.setAttribute("aria-describedby", this.#refused.id);
    else this.#field.removeAttribute("aria-describedby");
    this.#field.value = "";
    this.#remember.checked = isTokenRemembered();
    this.#enter.textContent = action ?? this.getAttribute("action") ?? "";
    ask(this.#dialog, (value) => {
      if (value !== ENTERED) return;
      keepToken(this.#field.value, this.#remember.checked);
      entered();
    });
  }
}

customElements.define("token-dialog", TokenDialog);
