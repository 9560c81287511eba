/** The operator's access token: where the page has it from, and how it is shown to the server. */

const KEY = "livecaption.token";

const ENTERED = "entered";

/** From `#token=…`, which is taken out of the address bar lest a hall reads it; kept until the tab is closed. */
export function accessToken() {
  const inAddress = tokenInAddress();
  if (inAddress !== null) {
    keepToken(inAddress);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(KEY) ?? "";
}

/** What stands behind `#token=`, as it is if it is badly encoded; null: nothing stands there. */
export function tokenInAddress() {
  const encoded = location.hash.match(/[#&]token=([^&]*)/)?.[1] ?? null;
  try {
    return encoded && decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
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
