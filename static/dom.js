// @ts-check
/** What every page does with its elements. Text reaches the page through textContent alone. */

import { t } from "./language.js";

/** @import { Settings, SettingName } from "./settings.js" */

/** A button shows "Copied" for this long. */
const COPIED_MS = 2000;
/** Some browsers read the data only after the click has been handled, and do not report when they have. */
const KEEP_BLOB_MS = 60_000;

/**
 * Find an element of the page by its id. Throws if it is missing or of another kind.
 *
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {new () => T} [kind]
 * @returns {T}
 */
export function element(id, kind = /** @type {new () => any} */ (HTMLElement)) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new TypeError(`the page has no ${kind.name} with the id ${id}`);
  return found;
}

/**
 * Make an element with a text.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 */
export function make(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/**
 * Show a setting in a switch, a list or a field, and keep what the user chooses there. `applied` is called after each change.
 *
 * @param {string} id
 * @param {Settings} settings
 * @param {SettingName} name
 */
export function bind(id, settings, name, applied = () => {}) {
  const control = element(id);
  if (control instanceof HTMLInputElement && control.type === "checkbox") {
    control.checked = Boolean(settings.get(name));
    control.addEventListener("change", () => settings.set(name, control.checked));
  } else if (
    control instanceof HTMLSelectElement ||
    control instanceof HTMLInputElement ||
    control instanceof HTMLTextAreaElement
  ) {
    control.value = String(settings.get(name));
    control.addEventListener("change", () => settings.set(name, control.value));
  }
  control.addEventListener("change", applied);
}

/**
 * Open a dialog whose buttons close it with a value; call `closed` with that value, which is "" after Escape.
 *
 * @param {HTMLDialogElement} dialog
 * @param {(value: string) => void} closed
 */
export function ask(dialog, closed) {
  dialog.returnValue = "";
  dialog.addEventListener("close", () => closed(dialog.returnValue), { once: true });
  dialog.showModal();
}

/**
 * Copy a text, and say so on the button for a moment.
 *
 * @param {HTMLButtonElement} button
 * @param {string} text
 */
export async function copyFrom(button, text) {
  // Browsers have the clipboard only over https and on the server's own machine.
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else copyFromField(button, text);
  button.dataset.words ??= button.textContent ?? "";
  button.textContent = t("Copied");
  setTimeout(() => (button.textContent = button.dataset.words ?? ""), COPIED_MS);
}

/**
 * Copy a text as people do, from a field beside the button: in a dialog the rest of the page cannot be selected.
 *
 * @param {HTMLButtonElement} button
 * @param {string} text
 */
function copyFromField(button, text) {
  const field = make("textarea", text);
  field.value = text;
  button.after(field);
  field.select();
  document.execCommand("copy");
  field.remove();
  button.focus();
}

/**
 * Hand a file to the browser's downloads.
 *
 * @param {Blob} blob
 * @param {string} fileName
 */
export function save(blob, fileName) {
  const link = make("a");
  link.href = URL.createObjectURL(blob);
  link.download = fileName;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEEP_BLOB_MS);
}
