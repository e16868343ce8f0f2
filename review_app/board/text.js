// Text as reviewers see it: hidden characters named by signs, code point offsets, and the difference between two wordings.
// Knows strings and ranges; writes into the page with textContent only.

import { BLANKS, pieces } from "./invisible.js";
import { stored, tr } from "./words.js";

/** Code points and lines of a text that are shown before anyone asks for more: a line of a megabyte would hold up the browser. */
export const SHOWN = 20_000;
const LINES = 500;
const LEADING = new RegExp(`^[${BLANKS}]*`, "u");
const TRAILING = new RegExp(`[${BLANKS}]*$`, "u");

/** An element with attributes and children; strings become text, never markup. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** How many code points stand before and after what is shown: blanks alone, since a hidden character there is shown. */
export function margins(text) {
  const total = length(text);
  const start = LEADING.exec(text)[0].length;
  return start === text.length ? { start: total, end: total } : { start, end: total - trailing(text) };
}

/** A text without the blanks that it begins and ends with. */
export function core(text) {
  const { start, end } = margins(text);
  return Array.from(text).slice(start, end).join("");
}

/** A wording between the blanks that the stored text begins and ends with. */
export function within(text, wording) {
  const points = Array.from(text);
  const { start, end } = margins(text);
  return points.slice(0, start).join("") + wording.trim() + points.slice(end).join("");
}

/** Whether two wordings differ in nothing but blanks. */
export function sameWords(one, other) {
  return one.trim().split(/\s+/).join(" ") === other.trim().split(/\s+/).join(" ");
}

/** What of a wording cannot be seen, in words, or "". */
export function unseen(wording) {
  const signs = pieces(Array.from(wording)).flatMap(({ sign }) => sign ?? []);
  const named = { signs: signs.slice(0, 5).join(tr(", ")) };
  return !signs.length ? "" : signs.length > 5 ? tr("What is in the box holds what cannot be seen: {signs} and more.", named)
    : tr("What is in the box holds what cannot be seen: {signs}.", named);
}

/** A regular expression that looks for blanks at the end would try every blank of a long text. */
function trailing(text) {
  const tail = text.slice(-1000);
  const blank = TRAILING.exec(tail)[0].length;
  return blank === tail.length && tail.length < text.length ? blank + trailing(text.slice(0, -1000)) : blank;
}

function length(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** A first part of a text, at most `room` code points and not too many lines. */
function firstPart(text, start, end, room) {
  const points = [];
  let at = 0;
  let lines = 0;
  for (const point of text) {
    if (at >= end || points.length >= room || lines >= (LINES * room) / SHOWN) break;
    if (at >= start) {
      points.push(point);
      if (point === "\n") lines += 1;
    }
    at += 1;
  }
  return points;
}

/**
 * Fills `element` with the stored text from margin to margin; `marks` are [{start, end, cursor?}] in code points and may overlap,
 * `room` is how many code points are shown at most. What is copied is the text itself: a sign stands in an attribute and is drawn
 * by the style sheet. Returns how many code points are shown and how many there are.
 */
export function write(element, text, { marks = [], onMark = null, room = SHOWN } = {}) {
  const { start, end } = margins(text);
  const points = firstPart(text, start, end, room);
  element.replaceChildren();
  const edges = new Set(marks.flatMap((mark) => [mark.start, mark.end]));
  let parent = element;
  let before = "";
  for (const piece of split(pieces(points), start, edges)) {
    const over = marks.filter((one) => one.start <= piece.start && piece.start < one.end);
    const name = over.map((one) => marks.indexOf(one)).join();
    if (name !== before) {
      before = name;
      parent = over.length ? marked(over, onMark) : element;
      if (over.length) element.append(parent);
    }
    parent.append(drawn(piece, points.slice(piece.start - start, piece.end - start).join(""), { "data-from": piece.start }));
  }
  element.dataset.until = start + points.length;
  return { shown: points.length, total: end - start };
}

/** A passage under one or more marks; a click takes the shortest of them away. */
function marked(over, onMark) {
  const own = over.filter((one) => !one.cursor).sort((one, other) => one.end - one.start - (other.end - other.start));
  const kind = [own.length ? "" : "bare", own.length > 1 ? "deep" : "", own.length < over.length ? "cursor" : ""].filter(Boolean).join(" ");
  const act = onMark && own.length ? () => onMark(own[0]) : null;
  return make("mark", { class: kind || null, title: act ? tr("Click to take this mark away") : null, onclick: act });
}

/** The pieces in places of the stored text, cut where a mark begins or ends; the parts of a cut sign each keep it. */
function split(found, start, edges) {
  return found.flatMap((piece) => {
    const cuts = [...edges].filter((edge) => edge > piece.start + start && edge < piece.end + start).sort((one, other) => one - other);
    const bounds = [piece.start + start, ...cuts, piece.end + start];
    return cuts.length ? bounds.slice(1).map((end, index) => ({ ...piece, start: bounds[index], end }))
      : [{ ...piece, start: bounds[0], end: bounds[1] }];
  });
}

function drawn({ sign, words }, text, attributes = {}) {
  return sign === null ? make("span", attributes, text)
    : make("span", { ...attributes, class: "hidden-sign", "data-sign": sign, title: tr("Hidden here: {words}", { words: stored(words) }) }, text);
}

/** A short text with its signs, as elements: for what is no stored text, such as a wording under way. */
export function signed(text) {
  const points = Array.from(text);
  return pieces(points).map((piece) => drawn(piece, points.slice(piece.start, piece.end).join("")));
}
