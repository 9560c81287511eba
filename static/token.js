// @ts-check
/** The operator's access token: where a page keeps it, and how it is sent to the server. */

const KEY = "livecaption.token";

/**
 * The token of this tab, or "". One in the address (`#token=…`) is kept until the tab is closed, and removed from the
 * address bar, where an audience could read it.
 */
export function accessToken() {
  const inAddress = tokenInAddress();
  if (inAddress !== null) {
    keepToken(inAddress);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(KEY) ?? "";
}

/** The token after `#token=` in the address, undecoded if its encoding is broken; null: there is none. */
export function tokenInAddress() {
  const encoded = location.hash.match(/[#&]token=([^&]*)/)?.[1] ?? null;
  try {
    return encoded && decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}

/** @param {string} token */
export function keepToken(token) {
  sessionStorage.setItem(KEY, token);
}

/**
 * Headers that carry the token. `fetch` takes one character for each byte, so the token's UTF-8 is spelled that way.
 *
 * @param {string} token
 * @returns {Record<string, string>}
 */
export function authorization(token) {
  return token ? { Authorization: `Bearer ${utf8Bytes(token)}` } : {};
}

/**
 * The UTF-8 of a text as a string of one character for each byte, as headers and `btoa` need it.
 *
 * @param {string} text
 */
export function utf8Bytes(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}
