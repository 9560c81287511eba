/** How captions look to this reader, on the page to speak and on the page to read along. */

const MIN_CAPTION_SIZE = 50;
const MAX_CAPTION_SIZE = 200;
const CAPTION_SIZE_STEP = 10;

/** Set the page as `settings` say. */
export function showAppearance(settings) {
  const root = document.documentElement;
  root.dataset.theme = settings.get("theme");
  root.dataset.captionColors = settings.get("captionColors");
  root.style.setProperty("--caption-scale", settings.get("captionSize") / 100);
  document.getElementById("caption-size").textContent = `${settings.get("captionSize")} %`;
}

/** One step larger (1) or smaller (-1), within bounds; kept, and not shown yet. */
export function stepCaptionSize(settings, direction) {
  const size = settings.get("captionSize") + direction * CAPTION_SIZE_STEP;
  settings.set("captionSize", Math.max(MIN_CAPTION_SIZE, Math.min(MAX_CAPTION_SIZE, size)));
}
