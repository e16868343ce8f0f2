// Which characters of a text cannot be seen or deceive the eye, and what they are called where a text is shown.
// Knows strings only. The rule and its reasons are written in flagback/storage/invisible.py; a test holds the two together.

/** Blanks around a text that need not be shown; a hidden character there is not among them. */
export const BLANKS = " \\t\\n\\r\\u00a0\\u2000-\\u200a\\u202f\\u205f\\u3000";
const MOST_ACCENTS = 5;
const NEAR = 40;

const DIRECTION = "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u206f";
const CONTROL = "\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u2028\\u2029";
const MEANINGLESS = "\\ud800-\\uf8ff\\ufdd0-\\ufdef\\ufff9-\\ufffc\\ufffe\\uffff\\u{f0000}-\\u{10ffff}"
  + Array.from({ length: 14 }, (_, plane) => `\\u{${(plane + 1).toString(16)}fffe}\\u{${(plane + 1).toString(16)}ffff}`).join("");
const NO_ROOM = "\\u00ad\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200d\\u2060-\\u2065\\u2800\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0"
  + "\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}";
const one = (set) => new RegExp(`^[${set}]$`, "u");
const CANDIDATE = one(DIRECTION + CONTROL + MEANINGLESS + NO_ROOM);
const TAG = one("\\u{e0000}-\\u{e007f}");
const KINDS = [
  [one(DIRECTION), "changes the direction of the text unseen"],
  [one(CONTROL), "a control character"],
  [TAG, "letters that cannot be seen"],
  [one(MEANINGLESS), "a character without a meaning of its own"],
  [one(NO_ROOM), "takes no room and cannot be seen"],
];
const TOO_MANY_ACCENTS = "more accents than one letter bears";

const JOINING = one("\\u0600-\\u07ff\\u0840-\\u085f\\u0870-\\u0dff\\u1000-\\u109f\\u1780-\\u17ff\\u1800-\\u18af\\u1b00-\\u1b7f\\ua980-\\ua9df\\uabc0-\\uabff"
  + "\\ufb50-\\ufdcf\\ufe70-\\ufefc\\u{11000}-\\u{11fff}");
const EMOJI = one("\\u00a9\\u00ae\\u203c\\u2049\\u2122\\u2139\\u2190-\\u21ff\\u2300-\\u23ff\\u24c2\\u25a0-\\u27bf\\u2900-\\u297f\\u2b00-\\u2bff\\u3030\\u303d"
  + "\\u3297\\u3299\\u{1f000}-\\u{1faff}");
const KEYCAP = one("0-9#*");
const HAN = one("\\u3400-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{3fffd}");
const VARIED = one("\\u1000-\\u109f\\u2200-\\u22ff\\u2a00-\\u2aff\\u3000-\\u303f\\ua840-\\ua87f\\uff01-\\uff9f");
const MONGOLIAN = one("\\u1820-\\u18aa");
const SPACELESS = one("\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff");
const RIGHT_TO_LEFT = one("\\u0590-\\u08ff\\ufb1d-\\ufdff\\ufe70-\\ufefc\\u{10800}-\\u{10fff}\\u{1e800}-\\u{1efff}");
const JAMO = one("\\u1100-\\u115e\\u1161-\\u11ff\\ua960-\\ua97f\\ud7b0-\\ud7ff");
const BRAILLE = one("\\u2801-\\u28ff");
const LETTER = /^\p{L}$/u;
const ACCENT = /^[\p{Mn}\p{Me}]$/u;
const TIBETAN = one("\\u0f00-\\u0fff");
/** England, Scotland and Wales: the black flag with the region in tags. */
const FLAGS = new Set(["gbeng", "gbsct", "gbwls"].map((region) =>
  Array.from(region, (letter) => String.fromCodePoint(0xe0000 + letter.charCodeAt(0))).join("") + "\u{e007f}"));

/** The text as [{start, end, sign, words}] in code points; `sign` is null for what is shown as it is. `points` is Array.from(text). */
export function pieces(points) {
  const found = [];
  let start = 0;
  for (const [first, last] of runs(hiddenPlaces(points))) {
    if (start < first) found.push({ start, end: first, sign: null, words: "" });
    found.push({ start: first, end: last, ...signOf(points.slice(first, last)) });
    start = last;
  }
  if (start < points.length) found.push({ start, end: points.length, sign: null, words: "" });
  return found;
}

/** The text with hidden characters by name, as <U+202E>: for what is read aloud. */
export function visible(text) {
  const points = Array.from(text);
  return pieces(points).map(({ start, end, sign }) => (sign === null ? points.slice(start, end).join("") : `<${sign}>`)).join("");
}

function runs(places) {
  const found = [];
  for (const place of places) {
    if (found.length && found.at(-1)[1] === place) found.at(-1)[1] = place + 1;
    else found.push([place, place + 1]);
  }
  return found;
}

function hiddenPlaces(points) {
  const found = [];
  let accents = 0;
  let quietUntil = 0;
  points.forEach((point, at) => {
    if (point >= " " && point <= "~") accents = 0;
    else if (CANDIDATE.test(point)) {
      if (point === "\u{e0067}" && points[at - 1] === "\u{1f3f4}") {
        let end = at;
        while (end < points.length && TAG.test(points[end])) end += 1;
        if (FLAGS.has(points.slice(at, end).join(""))) quietUntil = end;
      }
      if (at >= quietUntil && !isHonest(points, at)) found.push(at);
    } else if (ACCENT.test(point) && !TIBETAN.test(point)) {
      accents += 1;
      if (accents > MOST_ACCENTS) found.push(at);
    } else accents = 0;
  });
  return found;
}

/** Whether a candidate stands where honest writing has it. */
function isHonest(points, at) {
  const point = points[at];
  const before = points[at - 1] ?? "";
  const after = points[at + 1] ?? "";
  if (point === "\r") return after === "\n";
  const alone = after === "" || after === "\r" || !CANDIDATE.test(after);
  if (point === "\u200b") return SPACELESS.test(before) && SPACELESS.test(after);
  if (point === "\u200d" && EMOJI.test(after)) return EMOJI.test(before) || before === "\ufe0f";
  if (point === "\u200c" || point === "\u200d") return alone && JOINING.test(before);
  if (point === "\u061c" || point === "\u200e" || point === "\u200f")
    return alone && !CANDIDATE.test(before) && beside(points, at, (near) => LETTER.test(near), RIGHT_TO_LEFT);
  if (point === "\ufe0e" || point === "\ufe0f") return EMOJI.test(before) || KEYCAP.test(before);
  if (point >= "\ufe00" && point <= "\ufe0d") return HAN.test(before) || VARIED.test(before);
  const number = point.codePointAt(0);
  if (number >= 0xe0100 && number <= 0xe01ef) return HAN.test(before);
  if (point >= "\u180b" && point <= "\u180f") return MONGOLIAN.test(before);
  if (point === "\u115f" || point === "\u1160") return JAMO.test(before) || JAMO.test(after);
  return point === "\u2800" && beside(points, at, (near) => near !== "\u2800" && near !== "\n", BRAILLE);
}

/** Whether the nearest character that counts, on one side or the other, is one that is wanted. */
function beside(points, at, counts, wanted) {
  const near = [points.slice(Math.max(0, at - NEAR), at).reverse(), points.slice(at + 1, at + 1 + NEAR)];
  return near.some((side) => wanted.test(side.find(counts) ?? ""));
}

/** What stands on the sign of a hidden run, and what it means. */
function signOf(run) {
  const words = KINDS.find(([kind]) => kind.test(run[0]))?.[1] ?? TOO_MANY_ACCENTS;
  if (words === TOO_MANY_ACCENTS) return { sign: `${run.length} accents`, words };
  if (run.length > 1 && run.every((point) => TAG.test(point))) {
    const letters = run.slice(0, 200).map((point) => String.fromCodePoint(point.codePointAt(0) - 0xe0000)).join("");
    return { sign: `tags “${letters.replace(/[^ -~]|[<>]/g, "")}”`, words };
  }
  const counted = [];
  for (const point of run) {
    if (counted.length && counted.at(-1)[0] === point) counted.at(-1)[1] += 1;
    else counted.push([point, 1]);
  }
  const named = counted.map(([point, count]) =>
    `U+${point.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}${count > 1 ? ` ×${count}` : ""}`);
  return { sign: (named.length <= 3 ? named : [...named.slice(0, 2), `… ${run.length} hidden`]).join(" "), words };
}
