// @ts-check
/** The dialog that asks for the name of a speaker. */

import { ask, make } from "./dom.js";
import { t } from "./language.js";

/** As the server: docs/protocol.md. */
const MAX_NAME_CHARACTERS = 80;
const SAVE = "save";

/**
 * Ask for the name of a speaker; call `named` with it unless the user cancels.
 *
 * @param {string} present what the speaker is called now
 * @param {(name: string) => void} named
 */
export function askForName(present, named) {
  const title = make("h2", t("Who is {name}?", { name: present }));
  title.id = "speaker-title";
  const field = make("input");
  Object.assign(field, {
    type: "text",
    maxLength: MAX_NAME_CHARACTERS,
    required: true,
    autocomplete: "off",
    dir: "auto",
  });
  const label = make("label", t("Name"), "stacked");
  label.append(field);
  const hint = make("p", t("All captions of this speaker then show the name, also to readers."), "hint");
  // A button of type `submit` before the other one would be pressed by Enter.
  const cancel = make("button", t("Cancel"), "quiet");
  cancel.type = "button";
  const save = make("button", t("Save"), "primary");
  save.value = SAVE;
  const buttons = make("p", "", "dialog-tools");
  buttons.append(cancel, save);
  const form = make("form");
  form.method = "dialog";
  form.append(title, label, hint, buttons);
  const dialog = make("dialog", "", "speaker-dialog");
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.append(form);
  cancel.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  ask(dialog, (value) => {
    dialog.remove();
    const name = field.value.trim();
    if (value === SAVE && name !== "") named(name);
  });
  field.focus();
}
