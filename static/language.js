// @ts-check
/**
 * The words of the pages, in the language of the page. Code and HTML have them in English.
 *
 * `languages/CODE.json` maps English texts to translations. It is loaded before a module that imports this one runs, so
 * that `t` can be called anywhere. What a catalogue does not have stays English.
 */

import { Settings } from "./settings.js";

/** Each has a catalogue. */
const TRANSLATED = ["de", "es", "fr", "zh"];
const RIGHT_TO_LEFT = ["ar", "fa", "he", "ur"];

const TIMEOUT_MS = 5000;

/** `action` is that of `<token-dialog>`. */
const ATTRIBUTES = ["action", "alt", "aria-label", "aria-valuetext", "placeholder", "title"];
/** Elements inside a sentence. */
const INLINE = "a, code, kbd, strong";

const wished = chooseLanguage([new Settings().get("pageLanguage"), ...navigator.languages], TRANSLATED);
const loaded = wished === "en" ? null : await load(wished);
/** @type {Map<string, string>} */
const catalogue = loaded ?? new Map();

/** The language of the page, as a code for `Intl` too. */
export const language = loaded ? wished : "en";

document.documentElement.lang = language;
document.documentElement.dir = RIGHT_TO_LEFT.includes(language) ? "rtl" : "ltr";
translate(document.documentElement);
// Until now, `style.css` hides the page.
document.documentElement.toggleAttribute("data-translated", true);

/**
 * Return a text in the language of the page, with values in place of `{name}`. Numbers are written as in that language.
 *
 * @param {string} english
 * @param {Record<string, string | number>} values
 */
export function t(english, values = {}) {
  const words = catalogue.get(english) ?? english;
  return words.replace(/\{(\w+)\}/g, (placeholder, name) => {
    const value = values[name] ?? placeholder;
    return typeof value === "number" ? decimal(value) : value;
  });
}

/**
 * Write a number as in the language of the page: 1234.5 -> "1,234.5" or "1.234,5".
 *
 * @param {number} value
 * @param {number} digits after the decimal point
 */
export function decimal(value, digits = 0) {
  return value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/**
 * Choose the first wish that there is: "de-AT" is "de" where Austria has no catalogue of its own. Otherwise "en".
 *
 * @param {readonly string[]} wishes of the reader, the best first, as `navigator.languages`
 * @param {readonly string[]} translated
 */
export function chooseLanguage(wishes, translated) {
  const codes = wishes.flatMap((wish) => [wish, wish.split("-")[0]]);
  return codes.find((code) => code === "en" || translated.includes(code)) ?? "en";
}

/**
 * Add the languages to a list, by their own names.
 *
 * @param {HTMLSelectElement} list
 */
export function offerPageLanguages(list) {
  const offered = [...TRANSLATED, "en"].map((code) => {
    const name = new Intl.DisplayNames(code, { type: "language" }).of(code);
    return Object.assign(new Option(name, code), { lang: code });
  });
  list.append(...offered.sort((a, b) => a.text.localeCompare(b.text)));
}

/**
 * @param {string} code
 * @returns {Promise<Map<string, string> | null>} null: the catalogue cannot be read
 */
async function load(code) {
  try {
    const url = new URL(`languages/${code}.json`, import.meta.url);
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    return response.ok ? new Map(Object.entries(await response.json())) : null;
  } catch {
    return null;
  }
}

/** @param {Element} element */
function translate(element) {
  for (const name of ATTRIBUTES) {
    const english = element.getAttribute(name);
    if (english) element.setAttribute(name, t(english));
  }
  const texts = [...element.childNodes].filter((node) => node instanceof Text && node.data.trim() !== "");
  const marked = [...element.children].filter((child) => child.matches(INLINE));
  if (texts.length > 0 && marked.length > 0) {
    translateSentence(element, marked);
    return;
  }
  for (const node of texts) {
    // The space beside it separates it from a control.
    node.textContent = (node.textContent ?? "").replace(/\S(.*\S)?/s, (words) => t(oneLine(words)));
  }
  for (const child of element.children) translate(child);
}

/**
 * Translate a sentence with elements in it, which may come in another order. In the catalogue the first of them is
 * `<1>…</1>`.
 *
 * @param {Element} element
 * @param {Element[]} marked
 */
function translateSentence(element, marked) {
  const english = [...element.childNodes].map((node) => {
    const number = marked.indexOf(/** @type {Element} */ (node)) + 1;
    return number > 0 ? `<${number}>${node.textContent}</${number}>` : node.textContent;
  });
  // Text before, number, text inside, text between, number, …
  const parts = t(oneLine(english.join("").trim())).split(/<(\d)>(.*?)<\/\1>/);
  const nodes = parts.map((part, i) => {
    if (i % 3 === 0) return part;
    if (i % 3 === 1) return marked[Number(part) - 1];
    marked[Number(parts[i - 1]) - 1].textContent = part;
    return "";
  });
  element.replaceChildren(...nodes);
}

/** @param {string} text */
function oneLine(text) {
  return text.replace(/\s+/g, " ");
}
