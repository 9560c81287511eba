// @ts-check
/** The choices of the publisher's page about the sound: where it comes from, its language, and those of the readers. */

import { element, make } from "./dom.js";
import { DEFAULT_MICROPHONE, DISPLAY } from "./input.js";
import { language, t } from "./language.js";
import { listMicrophones } from "./microphone.js";
import { LANGUAGES, languageName } from "./words.js";

/** @import { Settings } from "./settings.js" */

/** There is no second source. */
export const NONE = "none";

const sources = element("source", HTMLSelectElement);
const secondSources = element("second-source", HTMLSelectElement);
const languages = element("language", HTMLSelectElement);

/**
 * Fill the lists of sources. A microphone that is not plugged in today stays in the settings for tomorrow.
 *
 * @param {Settings} settings
 * @param {boolean} inUse whether the sources that are shown are captured: then they stay, as long as they are there
 */
export async function refreshSources(settings, inUse) {
  const listed = await listMicrophones();
  // Before one is allowed, browsers list none. Then those of the settings may be there.
  const microphones = listed.length > 0 ? listed : keptMicrophones(settings);
  const options = () => [
    new Option(t("Default microphone"), DEFAULT_MICROPHONE),
    ...microphones.map(
      ({ label, deviceId }, i) => new Option(label || t("Microphone {number}", { number: i + 1 }), deviceId),
    ),
    new Option(t("Tab or screen sound"), DISPLAY),
  ];
  const [source, second] = inUse ? shown(settings) : kept(settings);
  list(sources, options(), source);
  list(secondSources, [new Option(t("None"), NONE), ...options()], second);
}

/**
 * Show these options, and choose one: the first if the wanted one is missing.
 *
 * @param {HTMLSelectElement} select
 * @param {HTMLOptionElement[]} options
 * @param {string} wanted
 */
function list(select, options, wanted) {
  select.replaceChildren(...options);
  select.value = options.some(({ value }) => value === wanted) ? wanted : options[0].value;
}

/** @param {Settings} settings */
function kept(settings) {
  return [settings.get("source"), settings.get("secondSource")];
}

/** @param {Settings} settings */
function keptMicrophones(settings) {
  const others = [DEFAULT_MICROPHONE, DISPLAY, NONE];
  const ids = new Set(kept(settings).filter((source) => !others.includes(source)));
  return [...ids].map((deviceId) => ({ deviceId, label: "" }));
}

/**
 * What the lists show. Until they are filled it is what the settings have.
 *
 * @param {Settings} settings
 */
function shown(settings) {
  return sources.length === 0 ? kept(settings) : [sources.value, secondSources.value];
}

/**
 * The sources that are captured: one, or two that are captioned apart.
 *
 * @param {Settings} settings
 */
export function chosenSources(settings) {
  return shown(settings).filter((source) => source !== NONE);
}

/** @param {string} code */
function ownName(code) {
  return LANGUAGES[code] ?? languageName(code);
}

/**
 * Fill the list of languages with those of the model. All are offered while it is not known.
 *
 * @param {readonly string[] | null} ofModel
 * @param {string} chosen the choice in the settings, which stays there for a day with another model
 */
export function offerLanguages(ofModel, chosen) {
  const offered = Object.keys(LANGUAGES).filter((code) => ofModel?.includes(code) ?? true);
  const byName = offered.sort((a, b) => ownName(a).localeCompare(ownName(b)));
  // A model of one language detects nothing. Of a language without a name in the list, it is offered all the same.
  const options = ofModel?.length === 1 ? [...ofModel] : ["", ...byName];
  languages.replaceChildren(...options.map((code) => new Option(code === "" ? t("Detect") : ownName(code), code)));
  for (const option of languages.options) if (option.value in LANGUAGES) option.lang = option.value;
  languages.value = options.includes(chosen) ? chosen : options[0];
}

/**
 * Offer the languages into which the server translates, each with a switch. A choice that is not offered today stays in
 * the settings for tomorrow.
 *
 * @param {readonly string[]} offered
 * @param {Settings} settings
 */
export function offerTracks(offered, settings) {
  const place = element("tracks");
  place.hidden = offered.length === 0;
  if (place.dataset.offered === offered.join()) return;
  place.dataset.offered = offered.join();
  const names = new Intl.DisplayNames(language, { type: "language" });
  const chosen = () => settings.get("tracks").split(",").filter(Boolean);
  place.replaceChildren(
    ...offered.map((code) => {
      const input = make("input");
      input.type = "checkbox";
      input.setAttribute("role", "switch");
      input.value = code;
      input.checked = chosen().includes(code);
      input.addEventListener("change", () => {
        const others = chosen().filter((each) => each !== code);
        settings.set("tracks", (input.checked ? [...others, code] : others).join());
      });
      const label = make("label", "", "switch");
      label.append(input, ` ${t("Also in {language}", { language: names.of(code) ?? code })}`);
      return label;
    }),
  );
}

/** The languages that are offered and chosen. */
export function chosenTracks() {
  const inputs = [...element("tracks").querySelectorAll("input")];
  return inputs.filter(({ checked }) => checked).map(({ value }) => value);
}
