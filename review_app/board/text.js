// Text as reviewers see it: hidden characters named by signs, code point offsets, and the difference between two wordings.
// Knows strings and ranges; writes into the page with textContent only.

import { BLANKS, pieces } from "./invisible.js";

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
 * Fills `element` with the stored text from margin to margin; `marks` are [{start, end}] in code points, `room` is how many code
 * points are shown at most. What is copied is the text itself: a sign stands in an attribute and is drawn by the style sheet.
 * Returns how many code points are shown and how many there are.
 */
export function write(element, text, { marks = [], onMark = null, room = SHOWN } = {}) {
  const { start, end } = margins(text);
  const points = firstPart(text, start, end, room);
  element.replaceChildren();
  const edges = new Set(marks.flatMap((mark) => [mark.start, mark.end]));
  let parent = element;
  for (const piece of split(pieces(points), start, edges)) {
    const mark = marks.find((one) => one.start <= piece.start && piece.start < one.end);
    if (mark !== (parent === element ? undefined : parent.mark)) {
      parent = element;
      if (mark) {
        parent = make("mark", { title: onMark ? "Click to take this mark away" : null, onclick: onMark ? () => onMark(mark) : null });
        parent.mark = mark;
        element.append(parent);
      }
    }
    parent.append(drawn(piece, points.slice(piece.start - start, piece.end - start).join(""), { "data-from": piece.start }));
  }
  element.dataset.until = start + points.length;
  return { shown: points.length, total: end - start };
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
    : make("span", { ...attributes, class: "hidden-sign", "data-sign": sign, title: `Hidden here: ${words}` }, text);
}

/** A short text with its signs, as elements: for what is no stored text, such as a wording under way. */
export function signed(text) {
  const points = Array.from(text);
  return pieces(points).map((piece) => drawn(piece, points.slice(piece.start, piece.end).join("")));
}

/** The code point range {start, end} selected in `element`, grown to whole words, or null. */
export function selected(root, element, text) {
  const selection = root.getSelection ? root.getSelection() : document.getSelection();
  if (!selection) return null;
  const composed = selection.getComposedRanges ? selection.getComposedRanges({ shadowRoots: [root] })[0] : null;
  const range = composed && element.contains(composed.startContainer) ? composed
    : selection.rangeCount ? selection.getRangeAt(0) : null;
  if (!range || range.collapsed || !element.contains(range.startContainer) || !element.contains(range.endContainer)) return null;
  let start = offset(element, range.startContainer, range.startOffset);
  let end = offset(element, range.endContainer, range.endOffset);
  const points = Array.from(text);
  const bounds = margins(text);
  const word = (at) => at >= bounds.start && at < bounds.end && /[\p{L}\p{N}\p{M}'’-]/u.test(points[at]);
  while (start < end && /\s/u.test(points[start])) start += 1;
  while (end > start && /\s/u.test(points[end - 1])) end -= 1;
  if (start >= end) return null;
  const spaced = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
  while (word(start) && word(start - 1) && !spaced.test(points[start - 1])) start -= 1;
  while (word(end - 1) && word(end) && !spaced.test(points[end])) end += 1;
  return { start, end };
}

/** Where a place in the page is in the stored text, in code points. */
function offset(element, node, within) {
  if (node.nodeType !== Node.TEXT_NODE) {
    const next = node.childNodes[within];
    if (next) return offset(element, firstText(next) ?? next, 0);
    return node === element || !node.lastChild ? Number(element.dataset.until) : offset(element, node.lastChild, ending(node.lastChild));
  }
  return Number(node.parentElement.dataset.from) + Array.from(node.data.slice(0, within)).length;
}

function firstText(node) {
  return node.nodeType === Node.TEXT_NODE ? node : document.createTreeWalker(node, NodeFilter.SHOW_TEXT).nextNode();
}

function ending(node) {
  return node.nodeType === Node.TEXT_NODE ? node.data.length : node.childNodes.length;
}

/** Word-by-word difference as [{kind: "same" | "gone" | "new", text}]; longest common subsequence. */
export function difference(before, after) {
  const one = before.match(/\s+|[^\s]+/g) ?? [];
  const other = after.match(/\s+|[^\s]+/g) ?? [];
  if (one.length * other.length > 1_000_000) return [{ kind: "gone", text: before }, { kind: "new", text: after }];
  const width = other.length + 1;
  const best = new Uint32Array((one.length + 1) * width);
  for (let row = one.length - 1; row >= 0; row -= 1)
    for (let column = other.length - 1; column >= 0; column -= 1)
      best[row * width + column] = one[row] === other[column] ? best[(row + 1) * width + column + 1] + 1
        : Math.max(best[(row + 1) * width + column], best[row * width + column + 1]);
  const steps = [];
  let [row, column] = [0, 0];
  while (row < one.length || column < other.length) {
    if (row < one.length && column < other.length && one[row] === other[column]) {
      steps.push({ kind: "same", text: one[row] });
      row += 1;
      column += 1;
    } else if (row < one.length && (column === other.length || best[(row + 1) * width + column] >= best[row * width + column + 1])) {
      steps.push({ kind: "gone", text: one[row] });
      row += 1;
    } else {
      steps.push({ kind: "new", text: other[column] });
      column += 1;
    }
  }
  return joined(steps);
}

/** Runs of changed words as one removal and one addition: "a b c" reads better than six fragments. */
function joined(steps) {
  const parts = [];
  let [gone, fresh] = ["", ""];
  const flush = () => {
    if (gone) parts.push({ kind: "gone", text: gone });
    if (fresh) parts.push({ kind: "new", text: fresh });
    [gone, fresh] = ["", ""];
  };
  steps.forEach((step, index) => {
    const between = step.kind === "same" && /^\s+$/.test(step.text) && (gone || fresh) && steps[index + 1]?.kind !== "same"
      && index + 1 < steps.length;
    if (between) {
      gone += step.text;
      fresh += step.text;
    } else if (step.kind === "same") {
      flush();
      if (parts.at(-1)?.kind === "same") parts.at(-1).text += step.text;
      else parts.push({ ...step });
    } else if (step.kind === "gone") gone += step.text;
    else fresh += step.text;
  });
  flush();
  return parts;
}
