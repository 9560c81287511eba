// @ts-check
/** The operator's access token: where a page keeps it, and how it is sent to the server. */

import { store, stored } from "./storage.js";

const KEY = "livecaption.token";
const SUBPROTOCOL = "livecaption.v1";

/**
 * The token of this tab, else the one that this device remembers, or "". One in the address (`#token=…`) is kept until
 * the tab is closed, and removed from the address bar, where an audience could read it.
 */
export function accessToken() {
  const inAddress = tokenInAddress();
  if (inAddress !== null) {
    store("sessionStorage", KEY, inAddress);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return stored("sessionStorage", KEY) ?? stored("localStorage", KEY) ?? "";
}

/** Whether the token is kept beyond this tab. */
export function isTokenRemembered() {
  return stored("localStorage", KEY) !== null;
}

/**
 * The token after `#token=` in the address, without spaces around it, and undecoded if its encoding is broken; null: there
 * is none.
 */
export function tokenInAddress() {
  const encoded = location.hash.match(/[#&]token=([^&]*)/)?.[1] ?? null;
  try {
    return encoded && decodeURIComponent(encoded).trim();
  } catch {
    return encoded;
  }
}

/**
 * Keep a token until the tab is closed or, to be remembered, on this device. "" forgets it in both places.
 *
 * @param {string} entered the token, perhaps with spaces around it: a header would lose them, a subprotocol would not
 * @param {boolean} remembered
 */
export function keepToken(entered, remembered) {
  const token = entered.trim();
  store("sessionStorage", KEY, token && !remembered ? token : null);
  store("localStorage", KEY, token && remembered ? token : null);
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
 * The WebSocket subprotocols to offer. A page cannot set headers on a WebSocket, so one of them carries the token.
 *
 * @param {string} token
 */
export function subprotocols(token) {
  if (!token) return [SUBPROTOCOL];
  return [SUBPROTOCOL, `token.${base64url(utf8Bytes(token))}`];
}

/**
 * Base64 that addresses and headers take (RFC 4648, 5), without `=`.
 *
 * @param {string} bytes one character for each byte
 */
export function base64url(bytes) {
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/**
 * The UTF-8 of a text as a string of one character for each byte, as headers and `btoa` need it.
 *
 * @param {string} text
 */
function utf8Bytes(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}
