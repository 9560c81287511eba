/**
 * Captions -> cues of at most two lines of 37 columns. No DOM, no clock.
 *
 * The rules, the costs and the words are those of livecaption/captions/layout.py and line_breaking.py, which say where
 * they come from; a test holds the two to the same cues. Here captions have no word times and lines one length.
 */

const LINE_LENGTH = 37;
const MAX_LINES = 2;
const MIN_CUE_MS = 833;
const GOAL_CUE_MS = 1000;
const MAX_CUE_MS = 7000;
const MAX_HANG_MS = 1500;
const MIN_GAP_MS = 80;
const CLOSED_GAP_MS = 500;
const READING_COLUMNS_PER_S = 17;

// Costs of a break, and what costs something beside.
const SENTENCE = 0;
const CLAUSE = 8;
const OPENER = 20;
const PLAIN = 40;
const BOUND = 160;
const NEVER = 2000;
const CUE = 60;
const CUE_BREAK_FACTOR = 2;
const UNUSED = 40;
const UNEVEN = 60;
const BAD_DURATION = 500;

/** Words that begin a phrase: a line may begin with them, but not end. */
export const OPENERS = {
  en:
    "and|or|but|nor|so|because|if|when|while|where|whether|although|though|unless|until|since|as|than|" +
    "that|which|who|whose|what|how|why|of|to|in|on|at|by|for|from|with|without|into|onto|over|under|" +
    "about|after|before|between|through|during|against|among|across|behind|towards?|upon|within",
  de:
    "und|oder|aber|denn|sondern|dass|daß|weil|wenn|als|ob|obwohl|während|damit|bevor|nachdem|bis|wie|wo|" +
    "wer|was|warum|von|vom|zu|zum|zur|in|im|ins|an|am|ans|auf|aufs|aus|bei|beim|mit|nach|seit|für|gegen|" +
    "ohne|um|durch|über|unter|vor|hinter|neben|zwischen|wegen|trotz",
  fr:
    "et|ou|mais|donc|or|ni|car|que|qu'.+|qui|quand|lorsque|puisque|(?:lors|puis)qu'.+|si|comme|dont|où|" +
    "parce|à|au|aux|de|du|des|d'une?|en|dans|par|pour|sur|sous|avec|sans|chez|vers|entre|contre|depuis|" +
    "pendant|avant|après",
  es:
    "y|e|o|u|pero|sino|ni|que|porque|pues|si|cuando|donde|como|aunque|mientras|quien|a|al|de|del|en|con|" +
    "sin|por|para|sobre|entre|hasta|desde|hacia|contra|según|tras|durante",
  it:
    "e|ed|o|od|ma|però|né|che|perché|se|quando|dove|come|mentre|anche|chi|cui|a|ad|al|allo|alla|ai|agli|" +
    "alle|di|del|dello|della|dei|degli|delle|da|dal|dallo|dalla|dai|dagli|dalle|in|nel|nello|nella|nei|" +
    "negli|nelle|su|sul|sullo|sulla|sui|sugli|sulle|con|per|tra|fra|senza|verso|dopo|prima|durante",
  pt:
    "e|ou|mas|nem|que|porque|pois|se|quando|onde|como|embora|enquanto|quem|a|ao|aos|à|às|de|do|da|dos|" +
    "das|em|no|na|nos|nas|num|numa|com|sem|por|pelo|pela|pelos|pelas|para|sobre|entre|até|desde|contra|" +
    "após|durante",
};

/** Words that belong to what follows. */
export const LEANERS = {
  en:
    "a|an|the|my|your|his|her|its|our|their|this|these|those|every|each|some|any|no|i|you|he|she|it|we|" +
    "they|there|is|are|was|were|be|been|being|am|have|has|had|do|does|did|will|would|shall|should|can|" +
    "could|may|might|must|cannot|not|never|very|[a-z]+(?:n't|'(?:m|re|ve|d|ll))|(?:he|she|it|that|there|" +
    "what|who)'s|mrs?\\.|ms\\.|dr\\.|prof\\.|st\\.",
  de:
    "der|die|das|des|dem|den|ein|eine|einen|einem|einer|eines|kein|keine|keinen|keinem|keiner|mein|" +
    "meine[nmrs]?|dein|deine[nmrs]?|sein|seine[nmrs]?|ihr|ihre[nmrs]?|unser|unsere[nmrs]?|diese[nmrs]?|" +
    "jede[nmrs]?|ich|du|er|sie|es|wir|man|bin|bist|ist|sind|war|waren|habe|hast|hat|haben|hatte|hatten|" +
    "werde|wird|werden|wurde|wurden|würde|kann|können|konnte|muss|müssen|soll|sollen|will|wollen|nicht|" +
    "nie|sehr|herr|frau|dr\\.|prof\\.",
  fr:
    "le|la|les|l'|un|une|mon|ma|mes|ton|ta|tes|son|sa|ses|notre|nos|votre|vos|leur|leurs|ce|cet|cette|" +
    "ces|chaque|je|tu|il|elle|on|nous|vous|ils|elles|ne|se|me|te|y|ai|as|a|avons|avez|ont|avait|avaient|" +
    "est|es|sommes|êtes|sont|était|étaient|sera|peut|doit|va|pas|[jncmts]'(?:ai|as|a|est|était|avait|" +
    "avais|ont|y|en)|très|m\\.|mme|dr\\.|prof\\.",
  es:
    "el|la|los|las|lo|un|una|unos|unas|mi|mis|tu|tus|su|sus|nuestr[oa]s?|est[ae]|est[oa]s|es[ae]|es[oa]s|" +
    "cada|yo|tú|él|ella|nosotros|ellos|ellas|usted|ustedes|me|te|se|nos|le|les|he|has|ha|hemos|han|había|" +
    "habían|es|son|era|eran|está|están|puede|debe|va|no|nunca|muy|sr\\.|sra\\.|dr\\.|don|doña",
  it:
    "il|lo|la|i|gli|le|l'|un|uno|una|mio|mia|miei|mie|tuo|tua|suo|sua|suoi|sue|nostr[oaie]|vostr[oaie]|" +
    "quest[oaie]|ogni|io|tu|lui|lei|noi|voi|loro|mi|ti|si|ci|vi|ne|ho|hai|ha|abbiamo|avete|hanno|aveva|" +
    "avevano|è|sono|era|erano|può|deve|va|non|mai|molto|sig\\.|dott\\.|signor|signora",
  pt:
    "o|os|as|um|uma|uns|umas|meu|minha|meus|minhas|seu|sua|seus|suas|noss[oa]s?|este|esta|estes|estas|" +
    "esse|essa|cada|eu|tu|ele|ela|nós|eles|elas|você|vocês|me|te|lhe|tenho|tem|temos|têm|tinha|tinham|é|" +
    "são|era|eram|está|estão|foi|pode|deve|vai|não|nunca|muito|sr\\.|sra\\.|dr\\.|dona",
};

const SENTENCE_ENDS = ".?!。．？！؟۔।॥";
const CLOSERS = /["'”’»)\]」』）】]+$/u;
const CLAUSE_END = /[.,;:…—–、，；：،؛]$/u;
const CLOSING_WORD = /^[)\]}»”’!?:;,.…%‰°–—-]+$/u;
const OPENING_WORD = /^[(\[{«“‘„¿¡]+$/u;
const QUOTED = /^["'“„«‘([¿¡]+/u;
const INITIAL = /^\p{L}\.$/u;
const ZERO_WIDTH = /^[\p{Mn}\p{Me}\p{Cf}]$/u;
const FULL_WIDTH = new RegExp(
  "^(?:\\p{Emoji_Presentation}|[\\u1100-\\u115f\\u2e80-\\u303e\\u3041-\\u33ff\\u3400-\\u4dbf\\u4e00-\\ua4cf" +
    "\\ua960-\\ua97c\\uac00-\\ud7a3\\uf900-\\ufaff\\ufe10-\\ufe19\\ufe30-\\ufe6b\\uff01-\\uff60\\uffe0-\\uffe6" +
    "\\u{20000}-\\u{3fffd}])$",
  "u",
);
const SPACELESS =
  /[\u2e80-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff01-\uff9f\u{20000}-\u{3fffd}]/u;
const NEVER_FIRST = /^[\p{Pe}\p{Pf}\p{Po}\p{Pd}ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶーｰ々〻ゝゞヽヾ～〜％%℃°]$/u;
const NEVER_LAST = /^[\p{Ps}\p{Pi}¿¡"'$¥￥£€]$/u;
const JOINER = "\u200d";

const NOTHING = /(?!)/u;
const wholeWords = (tables) =>
  Object.fromEntries(Object.entries(tables).map(([language, words]) => [language, new RegExp(`^(?:${words})$`, "iu")]));
const OPENERS_OF = wholeWords(OPENERS);
const LEANERS_OF = wholeWords(LEANERS);

/** Captions {text, start_ms, end_ms, language}, in spoken order -> cues [{start_ms, end_ms, lines}]. */
export function cues(captions) {
  const runs = [];
  for (const caption of captions) {
    if (caption.text.trim() === "") continue;
    const last = runs.at(-1)?.at(-1);
    if (last && last.end_ms === caption.start_ms && last.language === caption.language) runs.at(-1).push(caption);
    else runs.push([caption]);
  }
  const said = runs.flatMap((run, i) => cuesOfRun(run, runs[i + 1]?.[0].start_ms ?? null));
  let freeFrom_ms = 0;
  return said.map((cue, i) => {
    const start_ms = Math.max(cue.start_ms, freeFrom_ms);
    freeFrom_ms = endOf(start_ms, cue, said[i + 1]?.start_ms ?? null);
    return { start_ms, end_ms: freeFrom_ms, lines: cue.lines };
  });
}

/** Captions that touch: the cheapest way to cut them. */
function cuesOfRun(run, next_ms) {
  const atoms = atomsOf(run.map(({ text }) => text).join(" "));
  const breakCosts = atoms.map((atom, i) => (i === 0 ? 0 : breakCost(atoms[i - 1].text, atom.text, run[0].language)));
  const edges = [0];
  for (const { columns, spaced } of atoms) edges.push(edges.at(-1) + columns + (spaced ? 1 : 0));
  const columnsOf = (begin, end) => edges[end] - edges[begin] - (atoms[begin].spaced ? 1 : 0);
  const lineOf = (begin, end) =>
    atoms.slice(begin, end).map(({ text, spaced }, i) => (spaced && i > 0 ? " " : "") + text).join("");
  const times_ms = run.flatMap(characterTimes);
  let n = 0;
  const starts_ms = [];
  const ends_ms = [];
  for (const { text } of atoms) {
    starts_ms.push(times_ms[n][0]);
    n += length(text);
    ends_ms.push(times_ms[n - 1][1]);
  }
  starts_ms.push(next_ms ?? ends_ms.at(-1) + MAX_CUE_MS);

  const cheapestShape = (begin, end) => {
    if (columnsOf(begin, end) <= LINE_LENGTH) return { cost: 0, second: begin };
    let cheapest = { cost: Infinity, second: begin };
    for (let second = end - 1; second > begin; second -= 1) {
      const [upper, lower] = [columnsOf(begin, second), columnsOf(second, end)];
      if (lower > LINE_LENGTH) break;
      if (upper > LINE_LENGTH) continue;
      const uneven = ((upper - lower) / LINE_LENGTH) ** 2 * UNEVEN;
      const cost = breakCosts[second] + (upper > lower ? uneven : uneven / 2);
      if (cost <= cheapest.cost) cheapest = { cost, second };
    }
    return cheapest;
  };
  const costOf = (begin, end) => {
    let cost = CUE + UNUSED * (1 - columnsOf(begin, end) / LINE_LENGTH / MAX_LINES) ** 2;
    if (end < atoms.length) cost += CUE_BREAK_FACTOR * breakCosts[end];
    const tooShort = starts_ms[end] - starts_ms[begin] < MIN_CUE_MS;
    const tooLong = ends_ms[end - 1] - starts_ms[begin] > MAX_CUE_MS;
    return tooShort || tooLong ? cost + BAD_DURATION : cost;
  };

  // best[n]: what the first n atoms cost, and where their last cue and its second line begin.
  const best = [{ cost: 0 }];
  for (let end = 1; end <= atoms.length; end += 1) {
    let cheapest = { cost: Infinity };
    for (let begin = end - 1; begin >= 0 && columnsOf(begin, end) <= MAX_LINES * LINE_LENGTH + 1; begin -= 1) {
      const shape = cheapestShape(begin, end);
      const cost = best[begin].cost + shape.cost + costOf(begin, end);
      if (cost <= cheapest.cost) cheapest = { cost, begin, second: shape.second };
    }
    best.push(cheapest);
  }
  const made = [];
  for (let end = atoms.length; end > 0; end = best[end].begin) {
    const { begin, second } = best[end];
    const lines = second > begin ? [lineOf(begin, second), lineOf(second, end)] : [lineOf(begin, end)];
    made.unshift({ start_ms: starts_ms[begin], end_ms: ends_ms[end - 1], lines });
  }
  return made;
}

/** When a cue that is shown from `start_ms` goes: when it is said and read, unless the next one comes. */
function endOf(start_ms, { end_ms, lines }, next_ms) {
  const said_ms = Math.max(end_ms, start_ms);
  const read_ms = Math.ceil((lines.reduce((sum, line) => sum + width(line), 0) * 1000) / READING_COLUMNS_PER_S);
  const latest_ms = Math.min(said_ms + MAX_HANG_MS, start_ms + MAX_CUE_MS);
  const wanted_ms = Math.min(Math.max(said_ms, start_ms + Math.max(read_ms, GOAL_CUE_MS)), latest_ms);
  if (next_ms === null) return wanted_ms;
  if (next_ms <= Math.min(wanted_ms + CLOSED_GAP_MS, latest_ms)) return Math.max(next_ms, start_ms + MIN_CUE_MS);
  return Math.min(wanted_ms, next_ms - MIN_GAP_MS);
}

/** Start and end of each character that is no space: its share of the time. */
function characterTimes({ text, start_ms, end_ms }) {
  const total = length(text.replace(/\s+/gu, ""));
  const edge = (n) => start_ms + Math.floor(((end_ms - start_ms) * n) / total);
  return Array.from({ length: total }, (_, n) => [edge(n), edge(n + 1)]);
}

/** What no break cuts: words, or characters of a script without spaces and their punctuation. */
function atomsOf(text) {
  const words = text.split(/\s+/u).filter(Boolean).map(piecesOf);
  return words.flatMap((pieces, n) =>
    pieces.map((piece, i) => ({ text: piece, columns: width(piece), spaced: n > 0 && i === 0 })),
  );
}

function piecesOf(word) {
  if (width(word) <= LINE_LENGTH && !SPACELESS.test(word)) return [word];
  const clusters = [];
  for (const character of word) {
    if (clusters.length > 0 && (ZERO_WIDTH.test(character) || clusters.at(-1).endsWith(JOINER))) {
      clusters[clusters.length - 1] += character;
    } else clusters.push(character);
  }
  const pieces = [];
  let before = "";
  for (const cluster of clusters) {
    const [first] = cluster;
    if (before === "" || mayBreak(before, first) || width(pieces.at(-1) + cluster) > LINE_LENGTH) pieces.push(cluster);
    else pieces[pieces.length - 1] += cluster;
    before = first;
  }
  return pieces;
}

function mayBreak(before, after) {
  return (SPACELESS.test(before) || SPACELESS.test(after)) && !NEVER_FIRST.test(after) && !NEVER_LAST.test(before);
}

function breakCost(before, after, language) {
  if (CLOSING_WORD.test(after) || OPENING_WORD.test(before)) return NEVER;
  const openers = OPENERS_OF[language] ?? NOTHING;
  const leaners = LEANERS_OF[language] ?? NOTHING;
  const [word, nextWord] = [before, after].map((text) => text.replaceAll("’", "'").replace(QUOTED, ""));
  if (INITIAL.test(word) || (word.endsWith(".") && leaners.test(word))) return BOUND;
  if (endsSentence(word)) return SENTENCE;
  if (CLAUSE_END.test(word.replace(CLOSERS, ""))) return CLAUSE;
  const named = language in LEANERS && /^\p{Lu}/u.test(word) && /^\p{Lu}/u.test(nextWord);
  if (named || openers.test(word)) return BOUND;
  if (openers.test(nextWord)) return OPENER;
  return leaners.test(word) ? BOUND : PLAIN;
}

function endsSentence(text) {
  const stripped = text.replace(CLOSERS, "");
  return stripped === "" || (SENTENCE_ENDS.includes([...stripped].at(-1)) && !stripped.endsWith("..."));
}

/** Columns: two for a full-width character, none for one that combines. */
function width(text) {
  let columns = 0;
  for (const character of text) if (!ZERO_WIDTH.test(character)) columns += FULL_WIDTH.test(character) ? 2 : 1;
  return columns;
}

function length(text) {
  return [...text].length;
}
