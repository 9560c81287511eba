// @ts-check
/** What the server says about itself. */

import { authorization } from "./token.js";

/** @import { Info } from "./messages.js" */

/**
 * Ask the server; null if it does not answer. Addresses of its network are for its operator, whose token this is.
 *
 * @param {string} token
 * @returns {Promise<Info | null>}
 */
export async function serverInfo(token) {
  const url = new URL("v1/info", document.baseURI);
  const response = await fetch(url, { headers: authorization(token), cache: "no-store" }).catch(() => null);
  return response?.ok ? response.json().catch(() => null) : null;
}
