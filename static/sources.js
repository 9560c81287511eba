// @ts-check
/** The two lists of the publisher's page: where the sound comes from, and its language. */

import { element } from "./dom.js";
import { t } from "./language.js";
import { DEFAULT_MICROPHONE, DISPLAY, listMicrophones } from "./microphone.js";
import { LANGUAGES, languageName } from "./words.js";

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
    new Option(t("Default microphone"), DEFAULT_MICROPHONE),
    ...microphones.map(
      ({ label, deviceId }, i) => new Option(label || t("Microphone {number}", { number: i + 1 }), deviceId),
    ),
    new Option(t("Tab or screen sound"), DISPLAY),
  );
  const known = [...sources.options].map(({ value }) => value);
  // A microphone that is not plugged in today stays in the settings for tomorrow.
  sources.value = known.includes(settings.get("source")) ? settings.get("source") : DEFAULT_MICROPHONE;
}

/**
 * Fill the list of languages with those of the model. All are offered while it is not known.
 *
 * @param {readonly string[] | null} ofModel
 * @param {string} chosen the choice in the settings, which stays there for a day with another model
 */
export function offerLanguages(ofModel, chosen) {
  const offered = Object.keys(LANGUAGES).filter((code) => ofModel?.includes(code) ?? true);
  const byName = offered.sort((a, b) => languageName(a).localeCompare(languageName(b)));
  // A model of one language detects nothing. Of a language without a name in the list, it is offered all the same.
  const options = ofModel?.length === 1 ? [...ofModel] : ["", ...byName];
  languages.replaceChildren(...options.map((code) => new Option(code === "" ? t("Detect") : languageName(code), code)));
  languages.value = options.includes(chosen) ? chosen : options[0];
}
