// @ts-check
/** The two lists of the publisher's page: where the sound comes from, and its language. */

import { element } from "./dom.js";
import { DEFAULT_MICROPHONE, DISPLAY, listMicrophones } from "./microphone.js";
import { LANGUAGES } from "./words.js";

/** @import { Settings } from "./settings.js" */

const sources = element("source", HTMLSelectElement);
const languages = element("language", HTMLSelectElement);

/**
 * Fill the list of sources.
 *
 * @param {Settings} settings
 */
export async function refreshSources(settings) {
  const microphones = await listMicrophones();
  sources.replaceChildren(
    new Option("Default microphone", DEFAULT_MICROPHONE),
    ...microphones.map(({ label, deviceId }, i) => new Option(label || `Microphone ${i + 1}`, deviceId)),
    new Option("Tab or screen sound", DISPLAY),
  );
  const known = [...sources.options].map(({ value }) => value);
  // A microphone that is not plugged in today stays in the settings for tomorrow.
  sources.value = known.includes(settings.get("source")) ? settings.get("source") : DEFAULT_MICROPHONE;
}

/** Fill the list of languages. */
export function fillLanguages() {
  const byName = Object.entries(LANGUAGES).sort(([, a], [, b]) => a.localeCompare(b));
  languages.append(new Option("Detect", ""), ...byName.map(([code, name]) => new Option(name, code)));
}

/** Hide the languages that the server's model does not support. All are offered while it is still loading. */
export async function offerSupportedLanguages() {
  const response = await fetch(new URL("v1/info", document.baseURI), { cache: "no-store" }).catch(() => null);
  /** @type {{ model?: { languages: string[] } | null }} */
  const { model } = response?.ok ? await response.json() : {};
  if (!model) return;
  for (const option of languages.options) {
    option.disabled = option.value !== "" && !model.languages.includes(option.value);
    option.hidden = option.disabled;
  }
  // The choice stays in the settings for a day with another model.
  if (languages.selectedOptions[0]?.disabled !== false) languages.value = "";
}
