// @ts-check
/** The words of the pages, in the language of the page. The code has them in English. */

/**
 * Return a text in the language of the page, with values in place of `{name}`.
 *
 * @param {string} english
 * @param {Record<string, string | number>} values
 */
export function t(english, values = {}) {
  return english.replace(/\{(\w+)\}/g, (placeholder, name) => String(values[name] ?? placeholder));
}
