// @ts-check
/** Keyboard shortcuts of one key each. */

/**
 * Call the action of a key when it is pressed, unless the control that has the focus needs the key itself.
 * A key that is held calls it once.
 *
 * @param {Record<string, () => void>} actions by the lower-case name of their key
 * @param {() => boolean} enabled
 */
export function onKeys(actions, enabled) {
  document.addEventListener("keydown", (event) => {
    const action = actions[event.key.toLowerCase()];
    if (!action || !enabled() || event.ctrlKey || event.altKey || event.metaKey || isNeeded(event)) return;
    event.preventDefault();
    if (!event.repeat) action();
  });
}

/**
 * Space presses, scrolls or ticks the control that has the focus; letters choose in lists and write in fields.
 *
 * @param {KeyboardEvent} event
 */
function isNeeded({ key, target }) {
  if (key === " ") return document.activeElement !== document.body;
  return target instanceof Element && target.closest("select, input, textarea, dialog") !== null;
}
