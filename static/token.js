/** The operator's access token: where the page has it from, and how it is shown to the server. */

const KEY = "livecaption.token";

/** From `#token=…`, which is taken out of the address bar lest a hall reads it; kept until the tab is closed. */
export function accessToken() {
  const inAddress = location.hash.match(/[#&]token=([^&]*)/);
  if (inAddress) {
    keepToken(decodeURIComponent(inAddress[1]));
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(KEY) ?? "";
}

export function keepToken(token) {
  sessionStorage.setItem(KEY, token);
}

/** Headers that show the token, as UTF-8, one character a byte, which is what `fetch` takes. */
export function authorization(token) {
  return token ? { Authorization: `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}` } : {};
}
