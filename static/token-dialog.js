// @ts-check
/** `<token-dialog action="What the button does">`: the dialog that asks for the operator's access token. */

import { ask, element, make } from "./dom.js";
import { t } from "./language.js";
import { accessToken, isTokenRemembered, keepToken } from "./token.js";

const ENTERED = "entered";

/**
 * Ask the user for the token; call `entered` unless they cancel.
 *
 * @param {() => void} entered
 * @param {{ isRefused?: boolean, action?: string }} options whether the present one was refused, and what the button
 *   does, where it is not what it usually does
 */
export function askForToken(entered, { isRefused = true, action } = {}) {
  const dialog = document.querySelector("token-dialog");
  if (dialog instanceof TokenDialog) dialog.ask(entered, { isRefused, action });
}

/**
 * Ask for the token that a request lacks. If the user cancels, the button `#enter-token` of the page asks again.
 *
 * @param {() => void} entered
 */
export function requireToken(entered) {
  const button = element("enter-token", HTMLButtonElement);
  button.hidden = false;
  button.onclick = () => requireToken(entered);
  askForToken(() => {
    button.hidden = true;
    entered();
  });
}

class TokenDialog extends HTMLElement {
  #dialog = make("dialog");
  #field = make("input");
  #remember = make("input");
  #enter = make("button", "", "primary");
  #refused = make("p", t("This token was not accepted."), "failure");

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
   * @param {{ isRefused: boolean, action?: string }} options
   */
  ask(entered, { isRefused, action }) {
    const wasRefused = isRefused && accessToken() !== "";
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
