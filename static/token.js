/** The operator's access token: where the page has it from, and how it is shown to the server. */

const KEY = "livecaption.token";

const ENTERED = "entered";

/** From `#token=…`, which is taken out of the address bar lest a hall reads it; kept until the tab is closed. */
export function accessToken() {
  const inAddress = location.hash.match(/[#&]token=([^&]*)/);
  if (inAddress) {
    keepToken(decodeURIComponent(inAddress[1]));
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(KEY) ?? "";
}

function keepToken(token) {
  sessionStorage.setItem(KEY, token);
}

/** Ask in the page's dialog, and call `then` once a token was entered; not at all if nobody enters one. */
export function askForToken(then) {
  const [dialog, field, refused] = ["token-dialog", "token", "token-refused"].map((id) => document.getElementById(id));
  refused.hidden = accessToken() === "";
  field.value = "";
  dialog.returnValue = "";
  const close = () => {
    if (dialog.returnValue !== ENTERED) return;
    keepToken(field.value);
    then();
  };
  dialog.addEventListener("close", close, { once: true });
  dialog.showModal();
}

/** Headers that show the token, as UTF-8, one character a byte, which is what `fetch` takes. */
export function authorization(token) {
  return token ? { Authorization: `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}` } : {};
}
