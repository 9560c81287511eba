// @ts-check
/** `<token-dialog action="What the button does">`: the dialog that asks for the operator's access token. */

import { ask, make } from "./dom.js";
import { accessToken, keepToken } from "./token.js";

const ENTERED = "entered";

/**
 * Ask the user for the token; call `entered` unless they cancel.
 *
 * @param {() => void} entered
 */
export function askForToken(entered) {
  const dialog = document.querySelector("token-dialog");
  if (dialog instanceof TokenDialog) dialog.ask(entered);
}

class TokenDialog extends HTMLElement {
  #dialog = make("dialog");
  #field = make("input");
  #refused = make("p", "This token was not accepted.", "hint");

  connectedCallback() {
    const title = make("h2", "This server requires an access token");
    title.id = "token-title";
    this.#dialog.setAttribute("aria-labelledby", title.id);
    Object.assign(this.#field, { type: "password", autocomplete: "off", spellcheck: false, required: true });
    const label = make("label", "Access token", "stacked");
    label.append(this.#field);
    const cancel = make("button", "Cancel", "quiet");
    Object.assign(cancel, { value: "cancel", formNoValidate: true });
    const enter = make("button", this.getAttribute("action") ?? "", "primary");
    enter.value = ENTERED;
    const buttons = make("p", "", "dialog-tools");
    buttons.append(cancel, enter);
    const form = make("form");
    form.method = "dialog";
    form.append(title, label, this.#refused, buttons);
    this.#dialog.append(form);
    this.append(this.#dialog);
  }

  /** @param {() => void} entered */
  ask(entered) {
    this.#refused.hidden = accessToken() === "";
    this.#field.value = "";
    ask(this.#dialog, (value) => {
      if (value !== ENTERED) return;
      keepToken(this.#field.value);
      entered();
    });
  }
}

customElements.define("token-dialog", TokenDialog);
